# Managed by Sansō: changes made here are lost on the next run.
# Source: roles/uwsgi/files/usr/local/lib/sanso/sanso_app/cli.py
"""The tool's words."""

import argparse
import re

import sanso_app
from sanso_app import listing, release, remove, rollback, sandbox, system, uwsgi


def matching(pattern, what):
    """A type of words: what reaches a path or a unit's name is nothing else than such a name."""

    def check(text):
        if not re.fullmatch(pattern, text):
            raise argparse.ArgumentTypeError(f"{text!r} is no {what}")
        return text

    return check


APP = matching("[a-z][a-z0-9_]{0,30}", "name of an app")
ID = matching("[0-9a-f]{1,64}", "release's id")


def parser():
    layout = argparse.RawDescriptionHelpFormatter
    words = argparse.ArgumentParser(prog="sanso-app", description=sanso_app.__doc__, formatter_class=layout)
    verbs = words.add_subparsers(required=True)
    asking(verbs)
    releasing(verbs)
    return words


def asking(verbs):
    verb = verbs.add_parser("get", help="ask for a page, and print the answer")
    verb.add_argument("socket")
    verb.add_argument("path")
    verb.add_argument("host", nargs="?", default="localhost")
    verb.set_defaults(run=uwsgi.get)
    verb = verbs.add_parser("releases", help="list an app's releases")
    verb.add_argument("app", type=APP)
    verb.add_argument("--json", action="store_true")
    verb.set_defaults(run=listing.releases)
    verb = verbs.add_parser("revision", help="say which revision an app's database has")
    verb.add_argument("app", type=APP)
    verb.set_defaults(run=listing.revision)
    verb = verbs.add_parser("run", help="run a command as the app's own: run APP -- WORD…")
    verb.add_argument("app", type=APP)
    verb.add_argument("--release", type=ID, help="default is the one that serves")
    verb.add_argument("words", nargs="+")
    verb.set_defaults(run=sandbox.run)


def releasing(verbs):
    verb = verbs.add_parser("release", help="install what lies in /srv/APP/incoming, try it, and let it serve")
    named(verb)
    verb.add_argument("id", type=ID)
    verb.add_argument("--host", help="whose health is asked for")
    verb.add_argument("--seconds", type=int, help="within which it has to be healthy")
    verb.add_argument("--kept", type=int, help="how many others stay")
    verb.add_argument("--again", action="store_true", help="though somebody has gone back from it")
    verb.set_defaults(run=release.release)
    verb = verbs.add_parser("rollback", help="let an earlier release serve again")
    named(verb)
    verb.add_argument("id", type=ID, nargs="?", help="the one that served before, unless said otherwise")
    verb.add_argument(
        "--with-database", action="store_true", help="put the database back, too: what came later is lost"
    )
    verb.set_defaults(run=rollback.rollback)
    verb = verbs.add_parser("restore", help="put the database back as a snapshot has it")
    named(verb)
    verb.add_argument("snapshot", type=matching("[0-9A-Za-z][0-9A-Za-z._-]*", "name of a snapshot"))
    verb.set_defaults(run=rollback.restore)
    verb = verbs.add_parser("remove", help="take an app off this server")
    named(verb)
    verb.add_argument("--delete-data", action="store_true", help="its schema, shared folder and snapshots, too")
    verb.set_defaults(run=remove.remove)


def named(verb):
    verb.add_argument("app", type=APP)
    verb.add_argument(
        "--by",
        default="",
        type=lambda text: text or system.account(),
        help="who wants it, for the history; else the account that sudo came from",
    )
    verb.add_argument("--why", default="", help="for the history")


def main():
    options = parser().parse_args()
    return options.run(options)
