"""The file that spans go to."""

import logging
import os
from collections.abc import Mapping, Sequence

from .spans import Span, export

_warned_in: int | None = None


class Writer:
    """Appends a line of OTLP/JSON for each sampled request to `file`; without a file, spans are dropped.

    The file is opened for each line, and a line is one write: whoever rotates it may rename or truncate it, and
    workers share it. Whatever goes wrong, the request goes on.
    """

    def __init__(self, file: str | None, service: str):
        self.file = file
        self.service = service

    def write(self, spans: Mapping[str, Sequence[Span]]) -> None:
        """Write the spans, by their scope, on one line."""
        if self.file is None:
            return
        try:
            resource = {"service.name": self.service, "process.pid": os.getpid()}  # this worker's, not the master's
            line = export(spans, resource).encode() + b"\n"
            descriptor = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                if os.write(descriptor, line) != len(line):
                    raise OSError("the disk is full")  # what write() says when only a part fits: nothing
            finally:
                os.close(descriptor)
        except Exception as error:
            warn_once(f"spans are not written to {self.file}: {error}")


def warn_once(problem: str) -> None:
    """Log a line about it, the first in this process only: a full disk must not fill the log as well."""
    global _warned_in
    if _warned_in != os.getpid():
        _warned_in = os.getpid()
        logging.getLogger("sanso_tracing").warning("sanso_tracing: %s", problem)
