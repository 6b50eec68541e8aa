"""The smallest app: a WSGI callable, and nothing to install."""

import os


def application(environ, start_response):
    """Greet, in plain text, and be stricter than nginx would be."""
    strict = ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8"), strict])
    return [f"{os.environ['GREETING']}, {environ['HTTP_HOST']}\n".encode()]
