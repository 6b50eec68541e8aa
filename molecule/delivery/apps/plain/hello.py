"""A WSGI file: a module with an `application`, and one package that its requirements.txt names."""

import os

import humanize

HEADERS = [
    ("Content-Type", "text/plain; charset=utf-8"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
]


def application(environ, start_response):
    """Say where it is, as far as WSGI told it."""
    found = environ["PATH_INFO"] in ("", "/", "/deep")
    start_response("200 OK" if found else "404 Not Found", HEADERS)
    where = f"script {environ['SCRIPT_NAME']!r}, path {environ['PATH_INFO']!r}"
    return [f"{os.environ['GREETING']}, {humanize.intcomma(10**6)} times: {where}\n".encode()]
