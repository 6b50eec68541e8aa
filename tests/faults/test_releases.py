"""A release that is no good never replaces one that is, and the run shows what the app itself said."""

from pathlib import Path

import pytest


def append(text, path="src/sample_app/__init__.py"):
    def change(source):
        with (source / path).open("a") as file:
            file.write(text)

    return change


def edit(path, old, new):
    def change(source):
        text = (source / path).read_text()
        assert old in text
        (source / path).write_text(text.replace(old, new))

    return change


# What is done to the source, what is said of it, and what the run must show.
BROKEN = {
    "syntax error": (append("\ndef broken(:\n"), {}, "SyntaxError"),
    "wrong callable": (None, {"wsgi": "sample_app:nothing"}, "callable not found or import error"),
    "failing migration": (None, {"migrate": "echo out of ideas >&2; exit 7"}, "out of ideas"),
    "health never 200": (None, {"health_path": "/nowhere"}, "404 NOT FOUND"),
    "no requirements": (lambda source: (source / "requirements.txt").unlink(), {}, "requirements.txt is missing"),
}


@pytest.fixture
def release(server, app):
    """release() tells which release serves."""
    return lambda: server.host.check_output(f"readlink {app.current}")


@pytest.mark.parametrize("name", BROKEN)
def test_broken_release_leaves_the_last_good_one_serving(server, app, play, description, release, ready, name):
    change, said, shown = BROKEN[name]
    if change:
        change(Path(description["source"]))
    before = release()
    # Of a good app, nothing but the one broken thing differs; 5 s are enough for an app that never gets healthy.
    done = play("app", apps=[description | said], app_health_seconds=5)
    assert done.failed, done.said
    assert shown in done.said
    assert release() == before
    assert ready().status == 200
    assert not server.host.service(f"app-{app.name}@candidate.service").is_running


ONLY_ONCE = """
from pathlib import Path
seen = Path("/srv/faults/shared/seen")
if seen.exists():
    raise RuntimeError("only once")
seen.touch()
"""


def test_release_that_answers_as_candidate_only_is_taken_back(server, play, description, release, ready):
    append(ONLY_ONCE)(Path(description["source"]))
    before = release()
    try:
        done = play("app", apps=[description | {"migrate": ""}], app_health_seconds=5)
    finally:
        server.host.check_output("rm -f /srv/faults/shared/seen")
    assert done.failed, done.said
    assert "only once" in done.said
    assert release() == before
    assert ready().status == 200


def test_unit_in_which_the_app_does_not_start_is_taken_back(server, app, play, description, release, ready):
    """The good release would not come back from the next restart."""
    before = release()
    done = play("app", apps=[description | {"extra_unit": "ExecStartPre=/bin/false\n"}])
    assert done.failed, done.said
    assert 'failed at "Release | Try it on a socket of its own"' in done.said
    assert f"Release {Path(before).name} keeps serving." in done.said
    server.host.check_output(f"systemctl restart app-{app.name}@current.service")
    assert ready().status == 200
    # The source is a copy, the description the same: nothing is left to be done.
    assert play("app", apps=[description]).changed == 0


def test_release_that_was_current_but_had_not_answered_is_tried_again(server, app, play, description, release):
    """As a run leaves it that is killed between the two."""
    before = release()
    server.host.check_output(f"rm {app.current}/served")
    assert play("app", apps=[description]).changed
    assert server.host.check_output(f"readlink {app.current}/served") == Path(release()).name == Path(before).name


def test_good_release_replaces_the_one_before_and_the_one_before_that_comes_back(play, description, release, ready):
    before = release()
    append('\nGENERATION = "next"\n')(Path(description["source"]))
    assert play("app", apps=[description]).succeeded
    assert release() != before
    assert ready().status == 200
    edit("src/sample_app/__init__.py", '\nGENERATION = "next"\n', "")(Path(description["source"]))
    assert play("app", apps=[description]).succeeded
    assert release() == before
