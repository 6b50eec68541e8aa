"""A web server and a sanso-evidence on this computer: together they are a server that can be traced."""

from __future__ import annotations

import http.server
import json
import ssl
import sys
import threading
import time
from pathlib import Path

import trace_builder

from sanso.ssh import Way
from sanso.tracing.case import Ids

NAME = "faults.test"
SECRET = "5ec2e7" * 5

# Speaks sanso-evidence's language: what it is to say of a trace lies in <folder>/<trace id>.json.
TOOL = """
import json, sys, time
from pathlib import Path

folder = Path(sys.argv[1])
for line in sys.stdin:
    question, config = json.loads(line), json.loads((folder / "config.json").read_text())
    if question["ask"] == "hello":
        answer = config["hello"]
    elif question["ask"] == "time":
        set_by = config["set_by"] if (folder / "was_asked").exists() else 0
        answer = {"time": time.time_ns() + config["offset"] + set_by}
    else:
        file = folder / (question["id"] + ".json")
        answer = json.loads(file.read_text()) if file.exists() else {"nginx": [], "notes": config["notes"]}
    print(json.dumps(answer), flush=True)
"""


class LocalWay(Way):
    """A way that leads to the fake tool, or to any other Python program, on this computer."""

    def automatic(self, script: str, *extra: str) -> list[str]:
        return [sys.executable, "-IS", *self.options]


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as nginx and the tiers behind it would, and leaves their evidence."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        server = self.server.traced
        length = int(self.headers.get("Content-Length", 0))
        server.received.append((self.command, self.path, dict(self.headers.items()), self.rfile.read(length)))
        ids = Ids(*self.headers["traceparent"].split("-")[1:3])
        (server.folder / "was_asked").touch()
        if server.writes:
            seen = trace_builder.evidence(ids, time.time_ns() + server.config["offset"], scale=0)
            server.edit(seen)
            (server.folder / f"{ids.trace}.json").write_text(json.dumps(seen))
        server.respond(self, ids)

    do_GET = do_POST = do_PUT = do_HEAD = answer

    def well(self, ids: Ids, status: int = 200, body: bytes = b"fine", **headers: str):
        self.send_response(status)
        self.send_header("traceresponse", f"00-{ids.trace}-{trace_builder.NGINX}-01")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    def log_message(self, *words):
        pass


class TracedServer:
    """edit(evidence) breaks what the tiers write, respond(handler, ids) what is answered; `received` is what came."""

    def __init__(self, folder: Path, ca: Path, tls: bool = True):
        self.folder, self.ca, self.received = folder, ca, []
        self.edit, self.respond, self.writes = (lambda seen: None), Handler.well, True
        self.config = {
            "hello": {"version": 1, "secret": SECRET, "apps": ["faults"]},
            "offset": 0,
            "set_by": 0,
            "notes": [],
        }
        self.tool = folder / "tool.py"
        self.tool.write_text(TOOL)
        self.configure()
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.traced = self
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(ca, ca.with_suffix(".key"))
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.http.handle_error = lambda request, address: None  # a client that doesn't like the certificate

    def configure(self, **changes):
        self.config |= changes
        (self.folder / "config.json").write_text(json.dumps(self.config))

    @property
    def port(self) -> int:
        return self.http.server_port

    @property
    def way(self) -> Way:
        return LocalWay("192.0.2.1", "sanso", options=(str(self.tool), str(self.folder)))

    def url(self, path: str = "/") -> str:
        return f"https://{NAME}:{self.port}{path}"

    def __enter__(self):
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,))
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()
