"""Whatever a project says of its dependencies becomes a lock with hashes, then wheels for the server; or a refusal."""

import hashlib
import json
import os
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from ansible.module_utils import sanso_dependencies as dependencies

TARGET = dependencies.Target("3.14.2", "x86_64", "ubuntu", "resolute")
HASH = f"--hash=sha256:{'a' * 64}"


def wheel(folder, name, version, needs=(), python=">=3.9", tag="py3-none-any"):
    """A wheel that says what it is, and holds nothing else."""
    path = folder / f"{name}-{version}-{tag}.whl"
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Python: {python}\n"
    about += "".join(f"Requires-Dist: {each}\n" for each in needs)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}-{version}.dist-info/METADATA", about)
        file.writestr(f"{name}-{version}.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        file.writestr(f"{name}-{version}.dist-info/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that is all the index there is, for pip and so for uv: alpha needs beta, and there is a newer beta."""
    folder = tmp_path / "index"
    folder.mkdir()
    wheel(folder, "alpha", "1.0", ["beta<2"])
    wheel(folder, "beta", "1.5")
    wheel(folder, "beta", "2.0")

    class Index(BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.strip("/").rpartition("/")[2]
            file = folder / name
            links = [
                f'<a href="/{each.name}#{of(each)[7:].replace(":", "=")}">{each.name}</a>'
                for each in folder.glob(f"{name}-*.whl")
            ]
            self.send_response(200 if links or file.is_file() else 404)
            self.send_header("Content-Type", "application/octet-stream" if file.is_file() else "text/html")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(file.read_bytes() if file.is_file() else "\n".join(links).encode())

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Index)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    url = f"http://127.0.0.1:{server.server_port}/simple"
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\nindex-url = {url}\n")
    # Further files of pip's own may name other indexes.
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    # What it would say (see below), in half a second each time.
    monkeypatch.setattr(dependencies, "index_settings", lambda: {"index-url": url})
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    yield folder
    server.shutdown()
    server.server_close()


def of(path):
    return f"--hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


class Recorder:
    """Stands for the throwaway machine; notes what it was asked."""

    def __init__(self):
        self.asked = []

    def build(self, out, requirements, names):
        self.asked.append(("build", requirements, names))
        for name in names:
            wheel(out, name, "1.0", tag="cp314-cp314-linux_x86_64")

    def lock(self, out, files, words):
        self.asked.append(("lock", files, words))
        (out / "locked.txt").write_text(f"gamma==1.0 {HASH}\n")


@pytest.fixture
def builder():
    return Recorder()


@pytest.fixture
def lock(project, tmp_path, builder):
    """lock({name: text}, named) returns {name: version} of what is locked; every one has a hash."""

    def lock(files, named="", target=TARGET):
        text = dependencies.Dependencies(project(files), named, target, tmp_path / "cache", builder).locked()
        lines = [line for line in text.splitlines() if line and not line.startswith("-")]
        assert all("--hash=sha256:" in line for line in lines), text
        return dict(line.split()[0].split("==") for line in lines)

    return lock


PYPROJECT = '[project]\nname = "shop"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["alpha"]\n'


# What is written down, in all its forms


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"requirements.txt": f"alpha==1.0 {HASH}\n"}, {"alpha": "1.0"}),  # taken as it is: without what it needs
        ({"requirements.txt": "alpha\n"}, {"alpha": "1.0", "beta": "1.5"}),
        ({"requirements.txt": "alpha==1.0\n"}, {"alpha": "1.0", "beta": "1.5"}),
        ({"requirements.txt": "-r more/base.txt\nbeta\n", "more/base.txt": "alpha\n"}, {"alpha": "1.0", "beta": "1.5"}),
        ({"requirements.txt": "-c limits.txt\nbeta\n", "limits.txt": "beta<2\n"}, {"beta": "1.5"}),
        ({"requirements.txt": "-r a.txt\n", "a.txt": f"beta==2.0 {HASH}\n"}, {"beta": "2.0"}),
        ({"requirements.txt": "beta; python_version < '3.12'\nalpha ; sys_platform == 'win32'\n"}, {}),
        ({"requirements.txt": "# nothing\n"}, {}),
        ({"pyproject.toml": PYPROJECT}, {"alpha": "1.0", "beta": "1.5"}),
        ({"pyproject.toml": '[project]\nname = "shop"\nversion = "1"\n'}, {}),
        ({"requirements.txt": "beta\n", "pyproject.toml": PYPROJECT}, {"beta": "2.0"}),
    ],
    ids=[
        *("with hashes", "without hashes", "pinned", "in two files", "with constraints", "with hashes in another file"),
        *("for others", "empty", "pyproject", "pyproject that needs nothing", "requirements before pyproject"),
    ],
)
def test_every_way_of_saying_it_is_understood(index, lock, files, expected):
    assert lock(files) == expected


def test_uv_lock_is_taken_and_wins(index, lock, project):
    folder = project({"pyproject.toml": PYPROJECT, "requirements.txt": "beta\n"})
    done = dependencies.uv("lock", f"--python={sys.executable}", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert lock({}) == {"alpha": "1.0", "beta": "1.5"}


def test_uv_lock_that_is_out_of_date_is_refused(index, lock, project):
    folder = project({"pyproject.toml": PYPROJECT})
    dependencies.uv("lock", f"--python={sys.executable}", cwd=folder)
    with pytest.raises(dependencies.Failed, match=r"^uv\.lock doesn't say any more what pyproject.toml wants; run: uv"):
        lock({"pyproject.toml": PYPROJECT.replace('"alpha"', '"alpha", "beta"')})


def test_uv_lock_for_a_newer_python_than_this_computer_has_is_taken(index, lock, project):
    newer = PYPROJECT.replace(">=3.11", f">=3.{sys.version_info[1] + 1}")
    folder = project({"pyproject.toml": PYPROJECT})
    dependencies.uv("lock", f"--python={sys.executable}", cwd=folder)
    text = (folder / "uv.lock").read_text().replace(">=3.11", f">=3.{sys.version_info[1] + 1}")
    target = dependencies.Target(f"3.{sys.version_info[1] + 2}.0", "x86_64")
    assert lock({"pyproject.toml": newer, "uv.lock": text}, target=target) == {"alpha": "1.0", "beta": "1.5"}


def test_lock_without_hashes_is_refused(index, lock, project):
    """As uv makes one of an index that is a folder."""
    (index.parent / "uv.toml").write_text(f'no-index = true\nfind-links = ["{index}"]\n')
    folder = project({"pyproject.toml": PYPROJECT})
    dependencies.uv("lock", f"--python={sys.executable}", f"--config-file={index.parent / 'uv.toml'}", cwd=folder)
    with pytest.raises(dependencies.Failed, match=r"^uv\.lock: alpha==1\.0 has no hash"):
        lock({})


def test_named_file_is_taken(index, lock):
    files = {"requirements.txt": "alpha\n", "requirements/server.txt": "beta\n"}
    assert lock(files, "requirements/server.txt") == {"beta": "2.0"}


@pytest.mark.parametrize(
    ("files", "named", "expected"),
    [
        ({}, "", "has none of uv.lock, requirements.txt, pyproject.toml"),
        ({}, "gone.txt", "dependencies: gone.txt is no file in "),
        ({}, "../shop/../../etc/passwd", "is no file in "),
        ({"requirements.txt": "flask==\n"}, "", "flask=="),
        ({"requirements.txt": f"beta=={HASH}\n"}, "", "requirements.txt: 'beta==--hash"),
        ({"requirements.txt": "--pre\nbeta\n"}, "", "requirements.txt: '--pre' is an option; beside requirements"),
        ({"requirements.txt": "-e .\n"}, "", "requirements.txt: '-e .' is a folder on this computer"),
        ({"requirements.txt": "./vendored\n"}, "", "'./vendored' is a folder on this computer"),
        ({"requirements.txt": "-r /etc/passwd\n"}, "", "'-r /etc/passwd' names no file in "),
        ({"requirements.txt": "-r requirements.txt\n"}, "", "leads in a circle"),
        ({"requirements.txt": f"alpha==1.0 {HASH}\nbeta==2.0\n"}, "", "'beta==2.0' has no hash while others have one"),
        (
            {"requirements.txt": "nothing-of-that-name\n"},
            "",
            "requirements.txt can't be locked for Python 3.14.2; uv said",
        ),
        (
            {"requirements.txt": f"x @ git+https://a.test/x@1 {HASH}\n"},
            "",
            "x comes from git.https://a.test/x@1, of which",
        ),
        ({"uv.lock": "version = 1\n"}, "", "uv.lock has no pyproject.toml beside it"),
        ({"pyproject.toml": PYPROJECT, "uv.lock": "not a lock"}, "", "uv.lock can't be read; uv said"),
        ({"pyproject.toml": "[tool.poetry]\n"}, "", "pyproject.toml has no table .project."),
        ({"pyproject.toml": "[project\n"}, "", "pyproject.toml: Expected"),
        (
            {"pyproject.toml": PYPROJECT.replace('dependencies = ["alpha"]', 'dynamic = ["dependencies"]')},
            "",
            "are dynamic",
        ),
        (
            {"pyproject.toml": PYPROJECT.replace(">=3.11", "<3.14")},
            "",
            "it wants Python <3.14, and the server has 3.14.2",
        ),
    ],
)
def test_what_can_not_be_locked_is_named(index, lock, files, named, expected):
    with pytest.raises(dependencies.Failed, match=expected):
        lock(files, named)


def test_lock_is_kept_until_something_else_is_asked(index, lock):
    assert lock({"requirements.txt": "beta\n"}) == {"beta": "2.0"}
    wheel(index, "beta", "3.0")
    assert lock({"requirements.txt": "beta\n"}) == {"beta": "2.0"}
    assert lock({"requirements.txt": "beta>1\n"}) == {"beta": "3.0"}


def test_package_that_must_be_built_to_say_what_it_needs_is_asked_in_the_throwaway_machine(lock, builder, monkeypatch):
    def no_wheel(*words, cwd=None):
        return dependencies.subprocess.CompletedProcess(words, 1, "", f"hint: {dependencies.NOT_BUILT} (--no-build)")

    monkeypatch.setattr(dependencies, "uv", no_wheel)
    assert lock({"requirements.txt": "gamma\n"}) == {"gamma": "1.0"}
    ((what, files, words),) = builder.asked
    assert (what, files["requirements.in"], "--no-build" in words) == ("lock", "gamma\n", False)


# What the server's Python needs of it

LOCKED = """
# made by a tool
greenlet==3.2.1 ; python_full_version < '3.14' \\
    --hash=sha256:aa \\
    --hash=sha256:bb
flask==3.1.3 --hash=sha256:cc
pywin32==1 ; sys_platform == 'win32' --hash=sha256:dd
"""


@pytest.mark.parametrize(
    ("python", "expected"),
    [
        ("3.14.2", "flask==3.1.3 --hash=sha256:cc\n"),
        ("3.12.3", "greenlet==3.2.1 --hash=sha256:aa     --hash=sha256:bb\nflask==3.1.3 --hash=sha256:cc\n"),
    ],
)
def test_markers_are_those_of_the_server(python, expected):
    kept = dependencies.requirements_for(LOCKED, dependencies.Target(python, "x86_64"))
    assert kept.split() == expected.split()


def test_index_that_a_project_names_is_asked(index):
    kept = dependencies.requirements_for(f"--extra-index-url https://a.test/simple\nbeta==2.0 {HASH}\n", TARGET)
    assert kept == f"--extra-index-url https://a.test/simple\nbeta==2.0 {HASH}\n"


ASK_PIP = dependencies.index_settings


def test_index_is_the_one_that_pip_is_set_up_for(index, monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_FIND_LINKS", f"{tmp_path} https://links.test")
    settings = ASK_PIP()
    assert (settings["index-url"][:17], settings["find-links"]) == (
        "http://127.0.0.1:",
        f"{tmp_path} https://links.test",
    )
    given = dependencies.uv_environment(settings)
    assert given["UV_DEFAULT_INDEX"] == settings["index-url"]
    assert given["UV_FIND_LINKS"] == f"{tmp_path},https://links.test"


def test_index_that_uv_is_told_of_wins(monkeypatch):
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://mine.test")
    assert "UV_DEFAULT_INDEX" not in dependencies.uv_environment({"index-url": "https://other.test"})


# From a lock to wheels


def test_wheels_are_those_of_the_lock(index, tmp_path, builder):
    locked = f"beta==1.5 {of(index / 'beta-1.5-py3-none-any.whl')}\n"
    folder = dependencies.wheels(locked, TARGET, tmp_path / "cache", builder)
    assert [path.name for path in folder.iterdir()] == ["beta-1.5-py3-none-any.whl"]
    assert dependencies.exactly(folder) == locked


def test_wheel_with_another_hash_is_refused(index, tmp_path, builder):
    with pytest.raises(dependencies.Failed, match="DO NOT MATCH THE HASHES"):
        dependencies.wheels(f"beta==1.5 {HASH}\n", TARGET, tmp_path / "cache", builder)
    assert builder.asked == []


def test_what_has_no_wheel_is_built_and_no_more_than_that(index, tmp_path, builder):
    locked = f"beta==1.5 {of(index / 'beta-1.5-py3-none-any.whl')}\ngamma==1.0 {HASH}\n"
    folder = dependencies.wheels(locked, TARGET, tmp_path / "cache", builder)
    assert builder.asked == [("build", f"gamma==1.0 {HASH}\n", ["gamma"])]
    assert f"gamma==1.0 {of(folder / 'gamma-1.0-cp314-cp314-linux_x86_64.whl')}\n" in dependencies.exactly(folder)


@pytest.fixture
def no_wheel(monkeypatch):
    """The index has a wheel of nothing but beta."""

    def download(requirements, target, folder):
        return [line for line in requirements.splitlines() if not line.startswith("beta")]

    monkeypatch.setattr(dependencies, "download", download)


def test_what_was_built_is_not_built_again_for_another_lock(no_wheel, tmp_path, builder):
    dependencies.wheels(f"gamma==1.0 {HASH}\n", TARGET, tmp_path / "cache", builder)
    folder = dependencies.wheels(f"beta==1.5 {HASH}\ngamma==1.0 {HASH}\n", TARGET, tmp_path / "cache", builder)
    assert len(builder.asked) == 1
    assert len(list(folder.glob("gamma-*.whl"))) == 1


@pytest.mark.parametrize(
    "other",
    [{"python_version": "3.12.3"}, {"release": "noble"}, {"distribution": "debian"}, {"packages": ("libx-dev",)}],
    ids=lambda other: next(iter(other)),
)
def test_what_was_built_for_one_server_is_built_again_for_another(no_wheel, tmp_path, builder, other):
    for target in (TARGET, dependencies.Target(**{**vars(TARGET), **other})):
        dependencies.wheels(f"gamma==1.0 {HASH}\n", target, tmp_path / "cache", builder)
    assert len(builder.asked) == 2


def test_what_pip_says_is_shown_and_nothing_is_kept(tmp_path, monkeypatch, builder):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    (tmp_path / "python").write_text("#!/bin/sh\necho 'ERROR: the index is on fire' >&2\nexit 1\n")
    (tmp_path / "python").chmod(0o755)
    with pytest.raises(dependencies.Failed, match=r"for Python 3\.14\.2 can't be collected; pip said:\n.*on fire"):
        dependencies.wheels("nothing==1\n", TARGET, tmp_path / "cache", builder)
    assert list((tmp_path / "cache/wheels").iterdir()) == []


def test_two_runs_at_once_collect_once(tmp_path, builder, monkeypatch):
    calls, folders = [], []

    def slow(requirements, target, folder):
        calls.append(folder)
        threading.Event().wait(0.3)
        return []

    def collect():
        folders.append(dependencies.wheels("beta==1\n", TARGET, tmp_path / "cache", builder))

    monkeypatch.setattr(dependencies, "download", slow)
    threads = [threading.Thread(target=collect) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert (len(calls), len(folders), len(set(folders))) == (1, 3, 1)


# How the throwaway machine is asked


@pytest.fixture
def program(tmp_path, monkeypatch):
    """program(script) is the builder; what it is told lies in `told` afterwards."""
    monkeypatch.setattr(dependencies.os, "geteuid", lambda: 0)

    def program(script):
        path = tmp_path / "builder.py"
        path.write_text(
            f"import sys, pathlib\npathlib.Path({str(tmp_path / 'told')!r}).write_text(sys.stdin.read())\n{script}"
        )
        return dependencies.Builder(path, TARGET, {}, tmp_path)

    return program


def test_builder_is_told_on_its_standard_input(index, program, tmp_path):
    """An index's URL may hold a password, which no process list is to show."""
    program("").build(tmp_path, "gamma==1\n", ["gamma"])
    told = json.loads((tmp_path / "told").read_text())
    assert (told["what"], told["release"], told["pip"]["index-url"][:17]) == ("build", "resolute", "http://127.0.0.1:")


def test_what_the_builder_says_is_shown_with_what_is_missing(index, program, tmp_path):
    failing = program("sys.exit('mysql_config not found')")
    with pytest.raises(dependencies.Failed) as failure:
        failing.build(tmp_path, "gamma==1\n", ["gamma"])
    assert str(failure.value) == (
        "gamma has no wheel for the server (ubuntu resolute, Python 3.14), and it can't be built here:\n"
        "mysql_config not found"
    )


def test_failed_build_says_where_what_it_lacks_is_named(index, program, tmp_path):
    failing = program("sys.exit('error: subprocess-exited-with-error')")
    with pytest.raises(dependencies.Failed, match="build_packages of the app names"):
        failing.build(tmp_path, "gamma==1\n", ["gamma"])


def test_who_is_not_root_needs_sudo_and_is_told_so(index, tmp_path, monkeypatch):
    monkeypatch.setattr(dependencies.os, "geteuid", lambda: 1000)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sudo").write_text("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
    (tmp_path / "bin/sudo").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    asking = dependencies.Builder(Path("builder.py"), TARGET, {}, tmp_path)
    with pytest.raises(dependencies.Failed, match="takes root, or sudo without a password"):
        asking.build(tmp_path, "gamma==1\n", ["gamma"])
