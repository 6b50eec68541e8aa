"""How many requests a second a stack answers: measure.py ADDRESS NAME FILE writes it there, for the exercise "tune it".

Eight clients ask from this computer for some seconds, three GETs to one POST, after as many seconds in which nothing is
counted. The client's share of the computer is part of the figure: only figures of one computer can be compared.
"""

from __future__ import annotations

import json
import secrets
import sys
import time
from pathlib import Path

from sanso.load import Load

SECONDS, WARM = 4, 1


def measure(address: str, name: str) -> dict:
    """rate: good answers a second; acknowledged: what `project` has to hold; problems: what went wrong, in words."""
    project = f"tune-{secrets.token_hex(4)}"
    reports = f"/api/projects/{project}/errors"
    load = Load(address, 443, name, page="/", reports=reports, pause=0)
    with load.on() as account:
        time.sleep(WARM)
        before, began = account.good(), time.monotonic()
        time.sleep(SECONDS)
        rate = (account.good() - before) / (time.monotonic() - began)
    account.check()
    problems = sorted({f"{problem.method}: {problem.what}" for problem in account.problems})
    return {"rate": rate, "project": project, "acknowledged": sorted(account.acknowledged), "problems": problems}


if __name__ == "__main__":
    Path(sys.argv[3]).write_text(json.dumps(measure(*sys.argv[1:3])))
