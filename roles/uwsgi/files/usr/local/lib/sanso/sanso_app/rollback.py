# Managed by Sansō: changes made here are lost on the next run.
# Source: roles/uwsgi/files/usr/local/lib/sanso/sanso_app/rollback.py
"""Let an earlier release serve again."""

from sanso_app import database, history, lock, system
from sanso_app.app import CANDIDATE, CURRENT, App
from sanso_app.release import Change
from sanso_app.system import PROBLEMS, Failed


class Rollback(Change):
    """An app on its way back to a release that has served before."""

    action = "rollback"
    with_database, lost = False, ""

    def steps(self):
        yield "Name it the candidate", lambda: self.app.link(CANDIDATE, self.folder)
        if self.with_database:
            yield "Go back with the database", self.go_back
        yield "Know its units", lambda: self.app.know_units(self.folder)
        yield "Try it on a socket of its own", self.try_it
        yield "Serve it", self.serve

    def go_back(self):
        self.lost = database.go_back(self.app, self.before, self.folder)

    def back(self):
        """First the database: the release that served before would run with one that isn't its own."""
        try:
            said = database.settle(self.app)
        except PROBLEMS as error:
            said = f"The database could not be put back: {error}"
        return f"{said}\n{super().back()}".lstrip()

    def withdraw(self):
        """What somebody goes back from is not released again by a run that finds nothing newer."""
        if self.before and self.before != self.folder:
            history.note(self.before, state=history.WITHDRAWN, withdrawn_by=self.by, withdrawn_why=self.why or None)
            history.mark(self.before, "withdrawn")
        self.tell(self.action)


def find(app, id):
    """The release to go back to, or why there is none."""
    current = app.linked(CURRENT)
    records = {said["id"]: said for said in history.releases(app)}
    if not current:
        raise Failed(f"{app.name}: no release serves, so there is nothing to go back from.")
    if not id:
        at = records[current.name].get("at", "")
        older = (said for said in records.values() if said["id"] != current.name and said.get("at", "") <= at)
        found = next((said["id"] for said in older if said["state"] == history.SERVED), None)
        if not found:
            raise Failed(f"{app.name}: no release that has served is older than {current.name}, which serves.")
        return found
    if not (matching := [known for known in records if known.startswith(id)]):
        raise Failed(f"{app.name} has no release {id}. Those that are kept: {', '.join(records)}.")
    if len(matching) > 1:
        raise Failed(f"{app.name} has several releases {id}…: {', '.join(matching)}.")
    (found,) = matching
    if found == current.name:
        raise Failed(f"{app.name}: release {found} serves already.")
    if (state := records[found]["state"]) != history.SERVED:
        why = {
            history.FAILED: "it failed, and has never served",
            history.PREPARED: "it was never tried",
            history.WITHDRAWN: "somebody went back from it",
        }.get(state, state)
        good = [
            said["id"] for said in records.values() if said["state"] == history.SERVED and said["id"] != current.name
        ]
        others = f"What can serve again: {', '.join(good)}." if good else "Nothing that is kept can serve again."
        raise Failed(f"{app.name} can't go back to release {found}: {why}. {others}")
    return found


@system.verb
def restore(options):
    """Done once a snapshot has taken the database's place."""
    app = App(options.app)
    with lock.held(app, f"restore {options.snapshot}", options.by, options.why):
        said = database.restore(app, options.snapshot)
        current = app.linked(CURRENT)
        told = {"release": current.name if current else None, "by": options.by, "why": options.why or None}
        history.add(app, "restore", **told, snapshot=options.snapshot)
    return said


@system.verb
def rollback(options):
    """Done once the earlier release serves; if it can't, or must not, what serves keeps serving."""
    app = App(options.app)
    with lock.held(app, f"roll back to {options.id or 'the release before'}", options.by, options.why):
        app.settle()
        target = Rollback(app, find(app, options.id), options.by, options.why)
        target.with_database = options.with_database
        if not options.with_database and (said := database.refusal(app, target.before, target.folder)):
            raise Failed(f"{said}\nNothing was changed; release {target.before.name} serves.")
        target.go()
        database.keep(app)
        target.withdraw()
        target.finish()
    said = f"{app.name}: release {target.id} serves again ({target.seconds} s); {target.before.name} is withdrawn."
    return f"{target.lost}\n{said}".lstrip()
