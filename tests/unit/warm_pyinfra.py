"""pyinfra and Ansible's templates, loaded once: each line of standard input is a run, in a process of its own.

Loading them takes several times as long as such a run. What runs is a fork of this process, which has run nothing yet:
its words, folder and environment are its own, and it ends as the program itself does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


class WarmPyinfra:
    """With it, run() is what subprocess.run(["pyinfra", …]) is."""

    def __init__(self, folder: Path):
        self._said = [folder / name for name in ("stdout", "stderr")]

    def __enter__(self):
        command = [sys.executable, __file__]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_):
        self._process.communicate()  # the end of its input is its own

    def run(self, words: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
        asked = {"words": words, "folder": str(folder), "environment": dict(os.environ), "said": self._said}
        print(json.dumps(asked, default=str), file=self._process.stdin, flush=True)
        code = self._process.stdout.readline()
        assert code, "the process that has loaded pyinfra has ended"
        return subprocess.CompletedProcess(words, int(code), *(path.read_text() for path in self._said))


def wait_for_a_run() -> dict | None:
    """What is to run, in a child that is to run it; None at the end."""
    from gevent import reinit
    from gevent.monkey import get_original

    # gevent's own would run its loop here, and this process has nothing for it to do.
    fork, waitpid = get_original("os", ["fork", "waitpid"])
    for line in sys.stdin:
        child = fork()
        if not child:
            reinit()  # both had one loop (loading Ansible asks ldconfig), and the end of a process could be missed
            return json.loads(line)
        _, status = waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    return None


def become(asked: dict):
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    for number, path in enumerate([os.devnull, *asked["said"]]):
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.argv = ["pyinfra", *asked["words"]]


if __name__ == "__main__":
    from pyinfra_cli.main import main  # first: it changes what others import

    from sanso.project import ROOT

    sys.path.append(str(ROOT))
    import deploys._shared  # noqa: F401
    import sanso.connector  # noqa: F401

    if asked := wait_for_a_run():
        become(asked)
        sys.exit(main())
