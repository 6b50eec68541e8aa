# Managed by Sansō: changes made here are lost on the next run.
# Source: roles/uwsgi/files/usr/local/lib/sanso/sanso_app/venv.py
"""What releases run with: one venv for each lock file and Python, which all of them share that have the same."""

import hashlib
import platform
import shutil
import tempfile
from pathlib import Path

from sanso_app import history, system

WHOLE = ".whole"


def digest(release):
    """By what is to be installed, and for which Python of this server."""
    named = f"{platform.python_version().rpartition('.')[0]} {platform.machine()}\n"
    return hashlib.sha256(named.encode() + (release / "requirements.txt").read_bytes()).hexdigest()[:12]


def install(app, release):
    """Let the release have its venv, from the wheels that came along where there is none like it."""
    folder = app.home / "venvs" / digest(release)
    if not (folder / WHOLE).exists():
        folder.parent.mkdir(mode=0o751, exist_ok=True)
        system.succeed("chgrp", app.name, folder.parent)
        make(app, folder, release)
    link = release / "venv"
    if link.is_dir() and not link.is_symlink():
        shutil.rmtree(link)
    # It lies in a release, where it is the same from all of its folders.
    system.replace(link, lambda path: path.symlink_to(Path("../../venvs") / folder.name))
    shutil.rmtree(release / "wheels", ignore_errors=True)  # none came along where nothing is needed


def make(app, folder, release):
    """At its own place, which its programs name: a part of one has no marker, and is made anew."""
    try:
        system.succeed("python3", "-m", "venv", "--clear", folder, umask=0o027)
        command = [folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
        command += [f"--find-links={release / 'wheels'}", "--no-deps", "--require-hashes", "--no-cache-dir"]
        command += [f"--requirement={release / 'requirements.txt'}"]
        # What it unpacks meanwhile lies where there has to be room for it anyway.
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            system.succeed(*command, umask=0o027, env={"PATH": "/usr/bin:/bin", "TMPDIR": scratch, "HOME": scratch})
        system.succeed("chgrp", "-R", app.name, folder)
        system.write(folder / WHOLE, "")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def prune(app):
    """Remove those that no release runs with."""
    used = {(path / "venv").resolve() for path in history.folders(app)}
    folder = app.home / "venvs"
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.resolve() not in used:
            (path / WHOLE).unlink(missing_ok=True)  # first: a part of it is no venv
            shutil.rmtree(path)
