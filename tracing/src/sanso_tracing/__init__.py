"""Traces a WSGI app's requests, down to the database's statements.

One line puts it around any WSGI app:

    app.wsgi_app = sanso_tracing.install(app.wsgi_app)       # Flask
    application = sanso_tracing.install(application)         # Django, or any other

or none: see the module `serve`.
"""

import os
from collections.abc import Callable

from . import drivers
from .middleware import Middleware
from .writer import Writer

__all__ = ["install"]


def install(
    app: Callable, *, file: str | None = None, service: str | None = None, server_timing: bool | None = None
) -> Callable:
    """Return `app`, a WSGI callable, traced. Twice is as good as once: the outer one counts.

    file           where a line of OTLP/JSON is appended for each sampled request; default: SANSO_TRACING_FILE. With
                   neither, no spans are written, and all else works.
    service        the app's name in its spans; default: SANSO_TRACING_SERVICE, or "app"
    server_timing  whether every response has the header Server-Timing; default: unless SANSO_TRACING_SERVER_TIMING
                   is "off"

    Nothing is opened, and no thread started: a server may fork after it. A file that can't be written is logged once
    for each process, and raises nothing.
    """
    drivers.patch_all()
    if server_timing is None:
        server_timing = os.environ.get("SANSO_TRACING_SERVER_TIMING", "").lower() != "off"
    file = file or os.environ.get("SANSO_TRACING_FILE") or None
    service = service or os.environ.get("SANSO_TRACING_SERVICE") or "app"
    return Middleware(app, Writer(file, service), server_timing)
