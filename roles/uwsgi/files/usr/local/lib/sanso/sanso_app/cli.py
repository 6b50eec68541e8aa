# Managed by Sansō: changes made here are lost on the next run.
# Source: roles/uwsgi/files/usr/local/lib/sanso/sanso_app/cli.py
"""The tool's words."""

import argparse

import sanso_app
from sanso_app import release, sandbox, uwsgi


def main():
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="sanso-app", description=sanso_app.__doc__, formatter_class=layout)
    verbs = parser.add_subparsers(required=True)
    verb = verbs.add_parser("get", help="ask for a page, and print the answer")
    verb.add_argument("socket")
    verb.add_argument("path")
    verb.add_argument("host", nargs="?", default="localhost")
    verb.set_defaults(run=uwsgi.get)
    verb = verbs.add_parser("release", help="install what lies in /srv/APP/releases/ID, try it, and serve it")
    verb.add_argument("app")
    verb.add_argument("id")
    verb.add_argument("--host", required=True, help="whose health is asked for")
    verb.add_argument("--seconds", type=int, required=True, help="within which it has to be healthy")
    verb.add_argument("--kept", type=int, required=True, help="how many others stay")
    verb.set_defaults(run=release.release)
    verb = verbs.add_parser("run", help="run a command as the app's own: run APP -- WORD…")
    verb.add_argument("app")
    verb.add_argument("--release", help="default is the one that serves")
    verb.add_argument("words", nargs="+")
    verb.set_defaults(run=sandbox.run)
    options = parser.parse_args()
    return options.run(options)
