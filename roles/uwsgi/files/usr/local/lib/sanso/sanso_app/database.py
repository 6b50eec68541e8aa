# Managed by Sansō: changes made here are lost on the next run.
# Source: roles/uwsgi/files/usr/local/lib/sanso/sanso_app/database.py
"""An app's database: which revision its schema has, and the way back.

A revision is what the migrations' own tool says of the schema (Alembic, Django), or else a digest of it. With a release
it is noted in record.json: `revision`, to which its migration led, and `left`, with which it served last.
"""

import hashlib
from datetime import datetime

from sanso_app import history, system, uwsgi
from sanso_app.app import how
from sanso_app.mysql import MySQL
from sanso_app.snapshots import Snapshots, Swap, marker_of
from sanso_app.sqlite import SQLite
from sanso_app.system import PROBLEMS, Failed

KINDS = {"mysql": MySQL, "sqlite": SQLite}
# Folders, and files by their name, that hold migrations or say which there are.
FOLDERS, FILES = {"migrations", "alembic", "versions"}, {"alembic.ini"}
DJANGOS_OWN = {"admin", "auth", "contenttypes", "flatpages", "redirects", "sessions", "sites"}


def kind(folder):
    """What release.json says; one of an earlier version doesn't, but what the app is told does."""
    environment = folder / "environment"
    if told := how(folder, "database", ""):
        return told
    return "mysql" if environment.exists() and "mysql+pymysql://" in environment.read_text() else "none"


def of(app, folder):
    """The database of an app, as that release of it has one; None if it has none."""
    found = KINDS.get(kind(folder))
    return found and found(app)


def digest(texts):
    return hashlib.sha256("\n".join(sorted(texts)).encode()).hexdigest()


class State:
    """What a schema is like at this moment."""

    def __init__(self, database):
        parts = database.parts()
        self.objects = {label: digest(texts) for label, texts in parts.items()}
        self.digest = digest(f"{label} {text}" for label, text in self.objects.items())[:12]
        self.tool = next((tool for tool in TOOLS if f"table {tool}" in parts), "")
        self.revision = TOOLS[self.tool](database) if self.tool else f"schema-{self.digest}" if parts else "empty"


def alembic(database):
    """Its heads, of which there may be several."""
    return "+".join(sorted(name for (name,) in database.rows("alembic_version", ["version_num"]))) or "base"


def django(database):
    """The last migration of each app that isn't Django's own, and a digest of all that are applied."""
    applied = sorted(map(tuple, database.rows("django_migrations", ["app", "name"])))
    last = dict(applied)  # of each app, the last name
    names = "+".join(f"{app}.{name}" for app, name in sorted(last.items()) if app not in DJANGOS_OWN)
    return f"{names[:80] or 'django'}-{digest(map('.'.join, applied))[:8]}"


TOOLS = {"alembic_version": alembic, "django_migrations": django}


def revision(app, folder):
    """The revision that the database has now; empty where there is none."""
    database = of(app, folder)
    return State(database).revision if database else ""


def migrations(folder):
    """All that says which migrations a release has and how they are run: of two with the same, none is pending."""
    app, found = folder / "app", {"command": how(folder, "migrate", "")}
    for name in (
        "requirements.txt",
        "environment",
        "secrets.digest",
    ):  # packages bring migrations, settings choose them
        found[name] = (folder / name).read_bytes() if (folder / name).exists() else b""
    for path in sorted(app.rglob("*")) if app.is_dir() else []:
        within = path.relative_to(app)
        if path.is_file() and (FOLDERS.intersection(within.parts[:-1]) or path.name in FILES or chooses(path)):
            found[str(within)] = path.read_bytes()
    return found


def chooses(path):
    """Whether a module says which apps a Django project is made up of."""
    return path.suffix == ".py" and b"INSTALLED_APPS" in path.read_bytes()


class Migration:
    """The database while a release migrates it."""

    def __init__(self, app, folder, before):
        self.app, self.folder, self.before = app, folder, before
        self.database, self.state, self.snapshot, self.at = of(app, folder), None, "", ""

    def begin(self):
        """Note what it is like, and keep it where it may change."""
        if not self.database:
            return
        settle(self.app)
        self.state, self.at = State(self.database), system.now()
        if self.before and kind(self.before) == kind(self.folder):
            history.note(self.before, left=self.state.revision)
        if how(self.folder, "migrate", "") and not self.nothing_is_pending() and self.database.exists():
            snapshots = Snapshots(self.app)
            snapshots.prune(needed(self.app))
            serving = self.before.name if self.before else ""
            about = {"revision": self.state.revision, "schema": self.state.digest, "release": serving}
            self.snapshot = snapshots.take(self.database, self.folder.name, kind=kind(self.folder), **about)

    def nothing_is_pending(self):
        noted = history.record(self.before) if self.before else {}
        return bool(
            self.state.tool
            and (noted.get("revision"), noted.get("schema")) == (self.state.revision, self.state.digest)
            and migrations(self.before) == migrations(self.folder)
        )

    def done(self):
        """What is noted with the release."""
        if not self.database:
            return {"revision_before": "", "revision": "", "snapshot": ""}
        state = State(self.database)
        return {
            "revision_before": self.state.revision,
            "revision": state.revision,
            "schema": state.digest,
            "snapshot": self.snapshot,
        }

    def stays(self):
        """Where the release fails after its migration: what state the database is in, and the way back."""
        if not self.state or not differs(self.state, after := State(self.database)):
            return ""
        what = f"Its migration stays: the database is at revision {after.revision}, and was at {self.state.revision}."
        return f"{what}{self.health()}{self.way_back()}"

    def failed(self, error):
        """The error, with what state the database is in, and the way back."""
        if not self.state:  # it didn't even begin
            return Failed(str(error))
        try:
            after = State(self.database)
        except PROBLEMS as problem:
            return Failed(f"{error}\n\nWhat it left can't be seen: {problem}{self.way_back()}")
        changes = differences(self.state.objects, after.objects)
        if not changes and after.revision == self.state.revision:
            left = "It changed no table's definition; rows, it may have."
            return Failed(f"{error}\n\n{left} The revision is {after.revision}, as before.{self.way_back()}")
        what = f"It had begun: {'; '.join(changes)}. {self.database.undo}" if changes else "It had begun."
        still = "still" if after.revision == self.state.revision else f"not {self.state.revision} any more, but"
        return Failed(f"{error}\n\n{what} The revision is {still} {after.revision}.{self.health()}{self.way_back()}")

    def health(self):
        return f"\n{health(self.app, self.before)}" if self.before else ""

    def way_back(self):
        wanted = self.snapshot and Snapshots(self.app).named(self.snapshot)
        if self.before and (found := best(Snapshots(self.app).all(), self.before)) and wanted:
            # What an earlier run left that failed halfway is nothing to go back to.
            has, noted = found.get("schema"), history.record(self.before).get("schema")
            wanted = found if noted == has != wanted["schema"] else wanted
        if not wanted:
            return ""
        return (
            f"\nTo have the database as it was at {clock(wanted['at'])}, without what was written since:\n"
            f"    sudo sanso-app restore {self.app.name} {wanted['name']}"
        )


def differs(before, after):
    return (before.revision, before.digest) != (after.revision, after.digest)


def health(app, release):
    """A sentence: whether the release that serves works with the database as it is."""
    path, sockets = how(release, "health_path", "/"), system.SOCKETS / f"app-{app.name}"
    # An app of an earlier version has no such link.
    at = next(
        (sockets / name for name in ("app.sock", "current.sock") if (sockets / name).exists()), sockets / "app.sock"
    )
    status, _ = uwsgi.ask(path, str(at), app.host)
    says = "still answers 200" if status == 200 else f"doesn't answer 200 any more, but {status or 'nothing at all'},"
    return f"Release {release.name} {says} on {path} with the database as it is now."


def differences(before, after):
    """What a schema's objects have become: ["table error was changed", …]."""
    gone = [f"{label} is gone" for label in sorted(before.keys() - after.keys())]
    new = [f"{label} is new" for label in sorted(after.keys() - before.keys())]
    changed = [
        f"{label} was changed" for label in sorted(before.keys() & after.keys()) if before[label] != after[label]
    ]
    return [*changed, *new, *gone]


def clock(at):
    return f"{datetime.fromisoformat(at):%Y-%m-%d %H:%M:%S} UTC"


def best(snapshots, release):
    """The snapshot of a schema that a release has served with: the newest one, rather of what its migration left."""
    noted, own = history.record(release), kind(release)
    revisions = {noted.get("revision"), noted.get("left")} - {None, ""}
    fitting = [said for said in snapshots if said["kind"] == own and said["revision"] in revisions]
    exact = [said for said in fitting if said["schema"] == noted.get("schema")]
    return next(iter(exact or fitting), None)


def needed(app):
    """The names of the snapshots that releases which are here may want."""
    snapshots = Snapshots(app).all()
    releases = history.folders(app)
    found = [best(snapshots, folder) for folder in releases]
    # Those of releases that failed are in no record.
    found += [next((said for said in snapshots if said["why"] == folder.name), None) for folder in releases]
    return {said["name"] for said in found if said}


def refusal(app, current, target):
    """Why the target can't serve with the database as it is; empty if it can."""
    settle(app)
    database = of(app, target)
    if not database:
        return ""
    has, noted = State(database).revision, history.record(target)
    if has in (noted.get("revision"), noted.get("left")):
        return ""
    if not noted.get("revision") and current and migrations(current) == migrations(target):
        return ""
    wanted = noted.get("left") or noted.get("revision") or ""
    # Whoever brought the schema to where it is says what else works with it.
    authors = [folder for folder in history.folders(app) if history.record(folder).get("revision") == has]
    if wanted and any(wanted in how(folder, "compatible_revisions", []) for folder in authors):
        return ""
    if not wanted:
        why = f"The database is at revision {has}; with which one release {target.name} works is not known here."
    else:
        why = f"The database is at revision {has}, and release {target.name} works with {wanted}."
        why += (
            f'\nIf it works with {has} too, say so: compatible_revisions: ["{wanted}"] in the description of '
            f"{app.name}, and release that."
        )
    found = best(Snapshots(app).all(), target)
    if not found:
        return f"{why}\nThere is no snapshot of the database for it."
    return (
        f"{why}\nOr give up what was written since {clock(found['at'])}: "
        f"./sanso rollback {app.name} {target.name} --with-database\n"
        f"restores the snapshot {found['name']}, which was taken then."
    )


def go_back(app, current, target):
    """Give the target its database back: the newest snapshot with a schema that it has served with.

    Returns a sentence about what is lost; empty where nothing had to be done. Once the target serves, keep() says so;
    if it doesn't, settle() puts everything back.
    """
    if not (why := refusal(app, current, target)):
        return ""
    found = best(Snapshots(app).all(), target)
    if not found:
        raise Failed(why)
    if current and kind(current) == kind(target):
        history.note(current, left=revision(app, current))
    return restored(app, target, found, target.name)


def keep(app):
    """The release serves for which the database went back."""
    marker_of(app).unlink(missing_ok=True)


def settle(app):
    """Put back what a run changed that was killed, or whose release doesn't serve. Returns a sentence, if it did."""
    said = system.read_json(marker_of(app))
    if not said:
        return ""
    target = app.home / "releases" / said["target"]
    if said["target"] and app.linked("current") == target and history.is_served(target):
        keep(app)
        return ""
    Swap(app, KINDS[said["kind"]](app)).take_back()
    return f"The database is again what it was before snapshot {said['safety']} was taken."


def restored(app, folder, said, target=""):
    """Let a snapshot take the place of what is there, which is kept as another. Returns a sentence."""
    database = of(app, folder)
    swap, state = Swap(app, database), State(database)
    serving = app.linked("current")
    about = {"revision": state.revision, "schema": state.digest, "release": serving.name if serving else ""}
    safety = swap.go(said, target, kind=kind(folder), **about)
    return (
        f"The database is as it was at {clock(said['at'])}, at revision {said['revision']}. What was written since is "
        f"not in it, but in the snapshot {safety}: sudo sanso-app restore {app.name} {safety}"
    )


def restore(app, name):
    """Let the snapshot of that name take the place of what is there. Returns what to say of it."""
    settle(app)
    said = Snapshots(app).named(name)
    serving = app.linked("current")
    folders = [folder for folder in [serving, *history.folders(app)] if folder and kind(folder) == said["kind"]]
    if not folders:
        raise Failed(f"{app.name} has no release with a {said['kind']} database: nothing was changed.")
    sentence = restored(app, folders[0], said)
    return f"{sentence}\n{health(app, serving)}" if serving else sentence


def delete(app):
    """Remove all of an app's data: its schema and its account, or its file; and its snapshots."""
    for found in KINDS.values():
        database = found(app)
        if found is not MySQL or has_mysql():
            database.drop()


def close(app):
    """Remove what may use the data of an app that is no more; the data stays."""
    if has_mysql():
        MySQL(app).forget()


def has_mysql():
    return system.systemctl("is-active", "--quiet", "mysql.service")
