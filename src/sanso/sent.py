"""Programs of this package that a server runs as root: sent as text, so that nothing has to be installed there."""

from __future__ import annotations

import base64
import gzip
import importlib.util
import json
from collections.abc import Iterable
from pathlib import Path

from sanso.ssh import Way

SECONDS = 120
# Python that has modules and a request in its own text, and prints packed JSON. The modules keep their names there.
SENT = """
import base64, gzip, json, sys, types
for name, source in {modules!r}:
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name, "exec"), module.__dict__)
answer = module.main(json.loads({request!r}))
print(base64.b64encode(gzip.compress(json.dumps(answer).encode(), 1)).decode())
"""


class Unanswered(Exception):
    """sentence: why a server gave no answer; next_step: what may help."""

    def __init__(self, sentence: str, next_step: str = ""):
        super().__init__(sentence)
        self.sentence, self.next_step = sentence, next_step


def ask(name: str, way: Way, modules: Iterable[str], request: dict) -> dict:
    """Run the last of these modules, which may import the others, on a server, and return what its main() does."""
    done = way.run("sudo -n python3 -", given=script(modules, request).encode(), seconds=SECONDS)
    if done.returncode == 255:
        raise Unanswered(*way.explain(done.stderr))
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise Unanswered(f"{name} can't be asked: {last}", f"ssh {way.name} sudo python3 --version")
    return json.loads(gzip.decompress(base64.b64decode(done.stdout)))


def script(modules: Iterable[str], request: dict) -> str:
    """The text of a program with all that it needs."""
    names = list(dict.fromkeys(modules))
    packages = dict.fromkeys(["sanso", *(name.rpartition(".")[0] for name in names)])
    sources = [(name, Path(importlib.util.find_spec(name).origin).read_text()) for name in names]
    return SENT.format(modules=[(package, "") for package in packages] + sources, request=json.dumps(request))
