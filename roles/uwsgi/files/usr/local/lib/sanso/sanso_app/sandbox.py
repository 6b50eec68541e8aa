# Managed by Sansō: changes made here are lost on the next run.
# Source: roles/uwsgi/files/usr/local/lib/sanso/sanso_app/sandbox.py
"""Commands that are run as an app's own processes are: its user, its release's environment, and its sandbox."""

import os
import subprocess
import sys

from sanso_app import system
from sanso_app.app import App, how

START = "/usr/local/lib/sanso/start"


def command(app_name, release_folder, words, *, unit, tty=False, writable=(), network=None, wait=True):
    """The words which let systemd run a command as the app does.

    writable: further folders that it may write to; network: whether it may use the network, if that isn't as with the
    app; wait: until it has ended, with what it says, and its exit code.
    """
    ways = ["--wait", "--collect", "--pty" if tty else "--pipe"] if wait else ["--collect", "--no-block"]
    properties = [f"EnvironmentFile={release_folder}/environment", f"EnvironmentFile={release_folder}/secrets"]
    properties += lines(app_name, release_folder, network)
    properties += [f"ReadWritePaths={folder}" for folder in writable]
    words = [str(word).replace("$", "$$") for word in words]  # or systemd would fill in variables of its own
    return [
        *("systemd-run", "--quiet", "--service-type=exec", f"--unit={unit}", *ways),
        *(f"--property={each}" for each in properties),
        *([f"--setenv=TERM={os.environ.get('TERM', 'dumb')}"] if tty else []),
        *("--", START, str(release_folder), *words),
    ]


def lines(app_name, release_folder, network=None):
    """What the release's own file says a process of the app may, as lines of [Service]."""
    file = release_folder / "sandbox"
    if not file.exists():  # a release of an earlier version
        groups = system.shown(f"app-{app_name}@current.service", "SupplementaryGroups")
        return [f"User={app_name}", f"SupplementaryGroups={groups}"]
    if network is None:
        network = how(release_folder, "network", False)
    wanted = ["Service", "Network" if network else "No network", "Extra"]
    found = parts(file.read_text())
    return [line for name in wanted for line in found[name]]


def parts(text):
    """Section to its lines; one that goes on after a backslash is one line."""
    found = {}
    for line in text.replace("\\\n", " ").splitlines():
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            lines = found.setdefault(line[1:-1], [])
        elif line and not line.startswith(("#", ";")):
            lines.append(line)
    return found


def run(options):
    """The command's own exit code; 1 where there is no such release."""
    app = App(options.app)
    release = app.home / "releases" / options.release if options.release else app.linked("current")
    if release is None or not (release / "venv").exists():
        what = f"no release {options.release}" if options.release else "no release that serves"
        print(f"{options.app} has {what}. Those that it has: sanso-app releases {options.app}", file=sys.stderr)
        return 1
    tty = sys.stdin.isatty() and sys.stdout.isatty()
    unit = f"app-{options.app}-run-{os.getpid()}"
    return subprocess.run(command(options.app, release, options.words, unit=unit, tty=tty), check=False).returncode
