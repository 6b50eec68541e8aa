"""One app, asked by three callers: as a WSGI callable, over its uWSGI socket, and over HTTPS."""

import json
from typing import NamedTuple

from judge import NotMet

PATH = "/readyz"  # what a release has to answer before it serves: it asks MySQL
TOOL = "/usr/local/sbin/sanso-app"
# As a WSGI server would: the callable gets a dictionary, and a function for the status.
CALL = """
import json
from wsgiref.util import setup_testing_defaults
from sample_app import create_app
environ, statuses = {"PATH_INFO": "/readyz"}, []
setup_testing_defaults(environ)
body = b"".join(create_app()(environ, lambda status, headers, *more: statuses.append(status)))
print(json.dumps({"status": int(statuses[-1].split()[0]), "body": body.decode()}))
"""


class Said(NamedTuple):
    status: int
    body: str

    def __str__(self):
        return f"{self.status} {self.body.strip()}"


def test_wsgi(lab):
    is_ready(lab, called(lab))


def test_socket(lab):
    is_ready(lab, over_socket(lab))


def test_https(lab):
    lab.page()


def test_same(lab):
    said = {"wsgi": called(lab), "socket": over_socket(lab), "https": over_https(lab)}
    found = ", ".join(f"{name}: {each}" for name, each in said.items())
    lab.expect("three times the same, 200", found, len(set(said.values())) == 1 and said["https"].status == 200)


def is_ready(lab, said: Said):
    lab.expect(f"200 for {PATH}", said, said.status == 200 and '"status":"ok"' in said.body)


def called(lab) -> Said:
    done = lab.server.host.run(f"{TOOL} run %s -- python -c %s", lab.app.name, CALL)
    if done.failed:
        raise NotMet("the app can be called in the environment of its release", last(done.stderr or done.stdout))
    return Said(**json.loads(done.stdout.splitlines()[-1]))


def over_socket(lab) -> Said:
    done = lab.server.host.run(f"{TOOL} get %s %s %s", lab.app.socket, PATH, lab.name)
    head, _, body = done.stdout.replace("\r\n", "\n").partition("\n\n")
    if done.rc not in (0, 1) or not body:
        raise NotMet(f"{lab.app.socket} answers", last(done.stderr or done.stdout))
    return Said(int(head.split()[1]), body.rstrip("\n") + "\n")


def over_https(lab) -> Said:
    answer = lab.ask(PATH)
    return Said(answer.status, answer.text)


def last(said: str) -> str:
    """The last line of what a command said."""
    return (said.strip().splitlines() or ["nothing"])[-1]
