"""What tracing costs a request, in µs of CPU: a WSGI app that makes one query on a connection that answers at once.

    .venv/bin/python tracing/bench.py

Each figure is the median of some runs, and the difference to the same app without tracing.
"""

import statistics
import time

import pymysql

import sanso_tracing

RUNS = 15
REQUESTS = 20_000
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0"


class Connection(pymysql.connections.Connection):
    """Connected to nothing: a query costs what PyMySQL's first lines cost."""

    def _execute_command(self, command, sql):
        pass

    def _read_query_result(self, unbuffered=False):
        return 0


def app(environ, start_response):
    connection.query("SELECT 1")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def start_response(status, headers, exc_info=None):
    return None


def micros(application, environ):
    started = time.process_time()
    for _ in range(REQUESTS):
        application(environ, start_response)
    return (time.process_time() - started) / REQUESTS * 1e6


connection = Connection(unix_socket="/nowhere", defer_connect=True)
environ = {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/a"}
unsampled = environ | {"HTTP_TRACEPARENT": TRACEPARENT + "0"}
sampled = environ | {"HTTP_TRACEPARENT": TRACEPARENT + "1"}

# Before install(), which patches PyMySQL.
nothing = statistics.median(micros(app, unsampled) for _ in range(RUNS))
cases = {
    "unsampled, without Server-Timing": (sanso_tracing.install(app, server_timing=False), unsampled),
    "unsampled": (sanso_tracing.install(app), unsampled),
    "sampled, to no file": (sanso_tracing.install(app), sampled),
    "sampled, to /dev/null": (sanso_tracing.install(app, file="/dev/null"), sampled),
}
print(f"{'without tracing':34} {nothing:6.2f}")
for name, (application, request) in cases.items():
    cost = statistics.median(micros(application, request) for _ in range(RUNS)) - nothing
    print(f"{name:34} {cost:+6.2f}")
