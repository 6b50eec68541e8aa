"""Apps beside each other: whatever is done to one, no other notices; and none gets at what is another's.

For the apps of molecule/delivery: the sample app, a Django project with SQLite, and a WSGI file below a path.
"""

import re
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import client
import pytest
from load import Load

ROOT = Path(__file__).parents[2]
NAMES = ("faults", "notes", "hello")

pytestmark = pytest.mark.apps(*NAMES)


@pytest.fixture(scope="module")
def described(server):
    """Each app's name to its description."""
    return {each["name"]: each for each in server.settings["apps"]}


@pytest.fixture(scope="module")
def run(server):
    """run(command, *words) on the machine; it must succeed. Returns what it says."""
    return server.host.check_output


@pytest.fixture(scope="module", autouse=True)
def as_before(run):
    """Afterwards, each app is again the release that it was: it is on the machine still, no layer has to run."""
    serving = {name: run("basename $(readlink /srv/%s/current)", name) for name in NAMES}
    yield
    for name, release in serving.items():
        if run("basename $(readlink /srv/%s/current)", name) != release:
            run("sanso-app release %s %s --again", name, release)


@pytest.fixture(scope="module")
def lives(run):
    """lives() tells of nginx and of each app its master process and the oldest worker."""

    def life(unit):
        master = run("systemctl show --property=MainPID --value %s", unit)
        return master, run("pgrep --oldest --parent %s", master)

    return lambda: (
        {name: life(f"app-{name}@current.service") for name in NAMES}
        | {"nginx": run("systemctl show --property=MainPID --value nginx.service")}
    )


@pytest.fixture(scope="module")
def get(server):
    """get(app, path) asks for a path below the app's own."""

    def get(app, path=""):
        return client.request(server, app["server_names"][0], f"{app.get('path', '')}/{path}", seconds=30)

    return get


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """copy(app, file, old, new) is its description with a copy of its source, in which one text is another."""

    def copy(app, file, old, new):
        source = tmp_path_factory.mktemp("app") / "source"
        shutil.copytree(ROOT / app["source"], source, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        text = (source / file).read_text()
        assert old in text
        (source / file).write_text(text.replace(old, new))
        return app | {"source": str(source)}

    return copy


# What belongs to one


@pytest.mark.parametrize(("attacker", "owner"), [("hello", "notes"), ("notes", "faults"), ("faults", "notes")])
@pytest.mark.parametrize(
    "attempt",
    [
        "cat /srv/{owner}/current/environment",
        "cat /srv/{owner}/current/secrets",
        "ls /srv/{owner}/current/app",
        "ls /srv/{owner}/shared",
        "ls /srv/{owner}/snapshots",
        "cat /proc/{process}/environ",
        "kill -0 {process}",
        "test -w /run/app-{owner}/app.sock",
        "test -w /run/app-{owner}/current.sock",
        "mysql --user={owner} {owner} --execute 'SELECT 1'",
        "systemctl restart app-{owner}@current.service",
    ],
)
def test_app_gets_at_nothing_of_another(server, lives, attacker, owner, attempt):
    """As its user, without the sandbox, which would refuse most of it first."""
    command = attempt.format(owner=owner, process=lives()[owner][0])
    done = server.host.run("runuser -u %s -G %s -- sh -c %s", attacker, server.settings["app_mysql_group"], command)
    assert done.failed, f"{attacker} may: {command}"


def test_app_gets_at_its_own(server, run, lives):
    """What the test above refuses is refused for whose it is, and not for something else that is wrong with it."""
    for attempt in ("ls /srv/notes/current/app", "ls /srv/notes/shared", f"kill -0 {lives()['notes'][0]}"):
        run("runuser -u notes -- sh -c %s", attempt)
    group = server.settings["app_mysql_group"]
    run("runuser -u faults -G %s -- mysql --user=faults faults --execute 'SELECT 1'", group)


# What is done to one


@pytest.fixture(scope="module")
def extra(described):
    return described["hello"] | {"name": "extra", "path": "/extra", "environment": {"GREETING": "Welcome"}}


@pytest.fixture(scope="module")
def changed(described):
    return described["hello"] | {"environment": {"GREETING": "Good day"}}


@pytest.fixture(scope="module")
def added(server, described, changed, extra, play, lives, run):
    """A further app has come, and one is another, in one run: what lived before. At the end the further one goes,
    wherever it still is.
    """
    before = lives()
    for layer in ("web", "app"):
        done = play(layer, apps=[described["faults"], described["notes"], changed, extra])
        assert done.succeeded, done.said
    yield before
    if server.host.file("/srv/extra/current").exists:  # a test has failed
        for layer in ("app", "web"):
            play(layer, apps_removed=[{"name": "extra"}])
    run("sanso-app remove extra --delete-data")
    assert run("ls /srv").split() == sorted(NAMES)


@pytest.fixture(scope="module")
def removed(described, added, changed, extra, lives, play, run):
    """It has gone again, with a file in its shared folder: what lived before that."""
    before = lives()
    run("touch /srv/extra/shared/kept")
    apps = [described["faults"], described["notes"], changed]
    for layer in ("app", "web"):
        done = play(layer, apps=apps, apps_removed=[{"name": "extra"}])
        assert done.succeeded, done.said
    return before


def test_app_that_is_added_or_changed_serves_and_restarts_no_other(added, changed, extra, lives, get):
    assert get(extra).text.startswith("Welcome")
    assert get(changed).text.startswith("Good day")
    before, after = dict(added), lives()
    assert after.pop("hello") != before.pop("hello")
    assert after == before


def test_app_that_is_removed_leaves_its_data_and_restarts_no_other(removed, extra, lives, get, run):
    assert get(extra).status == 404  # of the app that has the path above
    assert run("systemctl list-units --all --plain --no-legend 'app-extra*'") == ""
    assert run("find /etc /run -xdev -name '*extra*' -path '*app-extra*'") == ""
    assert run("ls /srv/extra/shared") == "kept"
    assert lives() == removed


def test_release_of_two_apps_at_once(described, engine, on_top, get):
    """Each has a lock of its own. Whoever runs them shares the cache of releases on this computer."""
    runs = []
    for name, change in (("hello", {"GREETING": "Both"}), ("notes", {"BOTH": "true"})):
        app = described[name] | {"environment": described[name]["environment"] | change}
        others = [each for each in described.values() if each["name"] != name]
        command = engine.command("app", on_top(apps=[*others, app], app_only=[name]))
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        runs.append(subprocess.Popen(command, cwd=ROOT, **streams))
    for each in runs:
        out, err = each.communicate()
        assert each.returncode == 0, out + err
    assert get(described["hello"]).text.startswith("Both")
    assert get(described["notes"], "healthz").status == 200


# A Django project


def style(page) -> str:
    """The path of its stylesheet."""
    return re.search(r"/static/notes\.[0-9a-f]+\.css", page.text)[0][1:]


@pytest.fixture(scope="module")
def next_notes(described, copy, play, get, server):
    """The next release of it, with another stylesheet, released and rolled back under load.

    The page before, the page then, and what failed of each load.
    """
    before = get(described["notes"])
    app = copy(described["notes"], "notes/static/notes.css", "sans-serif", "serif")
    others = [each for each in described.values() if each["name"] != "notes"]
    with ExitStack() as stack:
        loads = [stack.enter_context(Load(server, "notes.delivery.test", path, 4)) for path in ("/", "/healthz")]
        done = play("app", apps=[*others, app], app_only=["notes"], app_again=True)  # a run before went back from it
        assert done.succeeded, done.said
        then = get(app)
        server.host.check_output("sanso-app rollback notes --why=test")
    return before, then, [load.failed for load in loads], [load.problems for load in loads]


def test_no_request_is_lost_by_a_release_and_the_way_back(next_notes):
    *_, failed, problems = next_notes
    assert [dict(each) for each in failed] == [{}, {}], problems


def test_page_of_an_earlier_release_finds_its_files(next_notes, described, get):
    """And that of the release that was rolled back, too: somebody may have it open."""
    before, then, *_ = next_notes
    assert style(before) != style(then)
    assert style(get(described["notes"])) == style(before)
    for page, font in ((before, "sans-serif"), (then, " serif")):
        answer = get(described["notes"], style(page))
        assert answer.status == 200
        assert font in answer.text


# A git repository


@pytest.fixture(scope="module")
def repository(described, tmp_path_factory):
    """The WSGI file's source as a git repository, with another text in its branch next."""
    folder = tmp_path_factory.mktemp("git") / "hello"
    shutil.copytree(ROOT / described["hello"]["source"], folder, ignore=shutil.ignore_patterns("__pycache__"))
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]

    def git(*words):
        subprocess.run(["git", "-C", folder, *who, *words], check=True, capture_output=True)

    git("init", "--quiet", "--initial-branch=main")
    git("add", ".")
    git("commit", "--quiet", "--message=one")
    git("checkout", "--quiet", "-b", "next")
    (folder / "hello.py").write_text((folder / "hello.py").read_text().replace(" times", " times and more"))
    git("commit", "--quiet", "--all", "--message=two")
    git("checkout", "--quiet", "main")
    return f"file://{folder}"


def test_branch_of_a_repository_is_released(described, repository, play, get):
    """tests/unit/roles/test_release_archive.py has tags and commits."""
    app = described["hello"] | {"source": repository, "version": "next"}
    others = [each for each in described.values() if each["name"] != "hello"]
    done = play("app", apps=[*others, app], app_only=["hello"])
    assert done.succeeded, done.said
    assert "times and more" in get(described["hello"]).text


# What no description may hold; tests/unit/test_preflight.py has more of it

CANARY = "/tmp/sanso-canary"
WRONG = {
    "name above": {"name": "../hello"},
    "name of two commands": {"name": f"hello;touch${{IFS}}{CANARY}"},
    "static that ends nginx's block": {"static": {"/s { } } #": "."}},
    "path that ends nginx's line": {"path": "/hello; return 200"},
    "callable that is code": {"wsgi": f"hello:application; import os; os.system('touch {CANARY}')"},
    "repository that is a command": {"source": f"ext::sh -c touch% {CANARY}"},
    "version as an option": {"source": "file:///nowhere.git", "version": f"--upload-pack=touch {CANARY}"},
}


@pytest.mark.parametrize("name", WRONG)
def test_description_that_would_reach_further_is_refused_before_anything_changes(server, described, play, run, name):
    # A Redis writes by itself.
    listing = "find /srv /etc /run/app-* -xdev -newer /tmp/sanso-mark ! -path '/etc/mtab' ! -path '/srv/*/redis/*'"
    run("touch /tmp/sanso-mark")
    others = [each for each in described.values() if each["name"] != "hello"]
    done = play("app", apps=[*others, described["hello"] | WRONG[name]])
    assert done.failed, done.said
    assert run(listing) == ""
    assert not Path(CANARY).exists()
    assert not server.host.file(CANARY).exists
