# Managed by Sansō: changes made here are lost on the next run.
# Source: roles/uwsgi/files/usr/local/lib/sanso/sanso_app/assets.py
"""An app's static files: of one release as it names them, and of all kept ones together."""

import contextlib
import os
import shutil
from pathlib import Path

from sanso_app import history, system
from sanso_app.app import how
from sanso_app.system import Failed

BUILD = "$APP_BUILD"


def source(release, prefix, named):
    """The folder that a URL prefix stands for: one of the source, or one that `build` wrote."""
    built, name = release / "build", named.strip("/")
    if name == BUILD or name.startswith(f"{BUILD}/"):
        name, places = name.removeprefix(BUILD).strip("/"), [built]
    else:
        places = [release / "app", built]
    for place in places:
        found = (place / name).resolve()
        if found.is_dir() and found.is_relative_to(release.resolve()):
            return place / name
    said = f"static says {prefix}: {named}, and there is no such folder"
    raise Failed(f"{said} in the release" + (", nor did `build` write one." if how(release, "build", "") else "."))


def publish(release):
    """Lay out public/: the folders of static at their URL prefixes."""
    public = release / "public"
    if public.is_symlink():
        public.unlink()
    shutil.rmtree(public, ignore_errors=True)
    static = {prefix.strip("/"): named for prefix, named in (how(release, "static", {}) or {}).items()}
    places = {prefix: source(release, f"/{prefix}", named) for prefix, named in static.items()}
    for place in places.values():
        if place.is_relative_to(release / "build"):
            reachable(place, release)
    public.mkdir(mode=0o755)
    public.chmod(0o755)
    within = [prefix for prefix in places if any(is_below(other, prefix) for other in places)]
    for prefix in sorted(places):  # the outer one of two first
        target = public / prefix
        if within or not prefix:
            gather(places[prefix], target, release)
        else:
            make_folders(target.parent, public)
            target.symlink_to(os.path.relpath(places[prefix], target.parent))


def is_below(prefix, other):
    return prefix != other and (not other or prefix.startswith(f"{other}/"))


def reachable(place, release):
    """What `build` wrote for everyone's eyes: nginx passes through to it, and reads it."""
    for folder in [place, *place.parents]:
        if folder == release:
            break
        folder.chmod(0o755 if folder == place else folder.stat().st_mode | 0o001)
    for found in place.rglob("*"):
        if not found.is_symlink():
            found.chmod(0o755 if found.is_dir() else 0o644)


def make_folders(folder, top):
    """One that nginx reads, with those above it."""
    if folder != top:
        make_folders(folder.parent, top)
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)


def gather(place, target, top, keep=False, seen=()):
    """The files of a folder below another: the same files, by other names. keep: what is there stays."""
    real = place.resolve()
    if real in seen or not real.is_relative_to(top.resolve()):  # a link in circles, or out of the release
        return
    target.mkdir(parents=True, exist_ok=True)
    target.chmod(0o755)
    for entry in sorted(os.scandir(place), key=lambda entry: entry.name):
        found, other = Path(entry.path), target / entry.name
        if entry.is_dir():
            if not other.exists() or other.is_dir():
                gather(found, other, top, keep, (*seen, real))
        elif entry.is_file() and found.resolve().is_relative_to(top.resolve()):
            if other.exists() and (keep or other.is_dir()):
                continue
            other.unlink(missing_ok=True)
            link(found.resolve(), other)


def link(path, other):
    try:
        other.hardlink_to(path)
    except OSError as error:
        if system.is_full(error):
            raise
        shutil.copyfile(path, other)  # another filesystem, or more names than one file may have
        other.chmod(0o644)


def collect(app, new):
    """Let assets hold what all kept releases have: a page that was loaded before still finds its scripts."""
    kept = [said["id"] for said in history.releases(app) if said["state"] in (history.SERVED, history.WITHDRAWN)]
    folders = [new, *(app.home / "releases" / id for id in kept if id != new.name)]
    assets = app.home / "assets"
    beside = app.home / f".assets-{new.name}"
    other = app.home / f".assets-{new.name}-again"
    old = assets.resolve() if assets.is_symlink() else None
    place = other if beside == old else beside
    shutil.rmtree(place, ignore_errors=True)
    try:
        place.mkdir()
        place.chmod(0o755)
        for folder in folders:
            if (folder / "public").is_dir():
                gather(folder / "public", place, folder, keep=True)
        system.replace(assets, lambda path: path.symlink_to(place.name))
    except BaseException:
        if assets.resolve() != place:
            shutil.rmtree(place, ignore_errors=True)
        raise
    for path in app.home.glob(".assets-*"):
        if path != place:
            with contextlib.suppress(OSError):
                shutil.rmtree(path)
