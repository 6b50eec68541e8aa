"""A full disk: nightly dumps fill the one that has MySQL's data."""

import json

import pytest

PERCENT = 10  # of the disk that are to be free
NIGHTS = 25  # more than the disk has room for, if nothing else changes
ERRORS = "/api/projects/checkout/errors"
REPORT = {"type": "KeyError", "message": "Does it fit?", "context": {"basket": "tea " * 4000}}
ACCEPTED = """grep -F '"method":"POST","uri":"/api/' /var/log/sanso/nginx/access.jsonl | grep -cF '"status":201,'"""
# A night goes by: every dump is a day older, and the job runs.
NIGHT = """
import os, pathlib, subprocess, sys
def systemctl(verb):
    return subprocess.run(["systemctl", verb, "nightly-dump.service"], capture_output=True).returncode
for night in range(int(sys.argv[1])):
    for folder in ("/var/lib/mysql", "/var/backups", "/srv", "/root", "/home"):
        for file in pathlib.Path(folder).rglob("*.sql*"):
            os.utime(file, (file.stat().st_mtime - 86400,) * 2)
    failed = systemctl("start")
    systemctl("reset-failed")  # nights go by too fast for systemd; and what failed in them is no fault of today
    if failed:
        sys.exit(f"it failed in night {night + 1}")
print("it ran each night")
"""


def test_request(lab):
    lab.page()


def test_report(lab):
    answer = lab.ask(ERRORS, method="POST", body=REPORT)
    lab.expect("201", f"{answer.status}: {answer.text.strip()}", answer.status == 201)
    data = json.dumps(REPORT).encode()
    lab.page(ERRORS, 201, method="POST", data=data, headers=(("Content-Type", "application/json"),))


def test_data(lab):
    accepted = int(lab.run(ACCEPTED) or 0)
    ((kept,),) = lab.mysql("SELECT COUNT(*) FROM error", "faults")
    lab.expect(f"{accepted} reports or more, as many as were accepted", f"{kept} of them", int(kept) >= accepted)


def test_room(lab):
    has_room(lab)


@pytest.mark.lasting
def test_nights(lab):
    lab.expect("enabled", lab.run("systemctl is-enabled nightly-dump.timer"))
    lab.expect("it ran each night", lab.run(f"python3 -c %s {NIGHTS}", NIGHT))
    has_room(lab)
    test_report(lab)


def has_room(lab):
    size, free = map(int, lab.run("df --output=size,avail /var/lib/mysql | tail -n 1").split())
    found = f"{free // 1024} of {size // 1024} MiB"
    lab.expect(f"{PERCENT} % of MySQL's disk are free", found, free * 100 >= size * PERCENT)
