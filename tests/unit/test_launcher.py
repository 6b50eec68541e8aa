"""The launcher on computers of all kinds: what it finds there and what it installs, with every program a fake."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

LAUNCHER = Path(__file__).resolve().parents[2] / "sanso"
# The real programs that a launcher may use; nothing else is on its PATH.
TOOLS = ["awk", "cat", "chmod", "cksum", "env", "flock", "grep", "ln", "mkdir", "readlink", "rm", "sh", "sleep", "tail"]
# What a computer that can make machines has, beside what lies in /usr/sbin.
MACHINE_TOOLS = ["systemd-nspawn", "mmdebstrap", "nft", "ip", "useradd"]

INSTALL = "apt-get install --yes --no-install-recommends -o DPkg::Lock::Timeout=120"

# A Python that makes .venv by copying itself, installs a uv by writing one, and runs src/sanso by printing its words.
PYTHON = r"""#!/bin/sh
echo "python $*" >>"$CALLS"
case "$1 $2 $3" in
"-c "*) for version; do :; done; [ "$version" = VERSION ] && echo "$0" ;;
"-m venv "*) mkdir -p "$3/bin" && cat "$0" >"$3/bin/python" && chmod +x "$3/bin/python" ;;
"-m pip install")
    printf '#!/bin/sh\necho "uv $*" >>"$CALLS"\n[ ! -e "$FAIL" ]\n' >"${0%/*}/uv"
    chmod +x "${0%/*}/uv"
    ;;
"-P -m playwright")
    case $* in
    *--dry-run*) echo "  Install location:    $HOME/its browser" ;;
    *) echo 'Failed to download' && [ ! -e "$FAIL" ] && mkdir "$HOME/its browser" ;;
    esac
    ;;
"-P -m sanso") shift 3; echo "LC_ALL=${LC_ALL-}"; for word; do echo "[$word]"; done ;;
esac
"""
SHIM = "#!/bin/sh\necho 'pyenv: python3.14: command not found' >&2\nexit 127\n"


class Computer:
    """A checkout and a PATH with nothing on it but what a test puts there."""

    def __init__(self, at: Path):
        self.bin, self.home, self.checkout = at / "bin", at / "home", at / "a checkout"
        self.calls, self.fail = at / "calls", at / "fail"
        for folder in (self.bin, self.home, self.checkout / "sample_app", self.checkout / "tracing"):
            folder.mkdir(parents=True)
        shutil.copy(LAUNCHER, self.checkout)
        (self.checkout / "uv.lock").write_text('[[package]]\nname = "uv"\nversion = "0.13.9"\n')
        (self.checkout / "pyproject.toml").write_text("[project]\n")
        (self.checkout / "sample_app/pyproject.toml").write_text("[project]\n")
        (self.checkout / "tracing/pyproject.toml").write_text("[project]\n")
        self.calls.touch()
        self.env = {"PATH": str(self.bin), "HOME": str(self.home), "CALLS": str(self.calls), "FAIL": str(self.fail)}
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.fake("id", "echo 0")
        self.fake("uname", "echo Linux")
        self.fake("ssh")
        self.fake("chromium")
        for tool in ("pebble", "tmux", "git"):
            self.fake(tool)
        self.fake("apt-get", 'echo "apt-get $*" >>"$CALLS"')

    def fake(self, name: str, body: str = ":"):
        self.write(self.bin / name, f"#!/bin/sh\n{body}\n")

    def python(self, path: Path, version: str) -> Path:
        return self.write(path, PYTHON.replace("VERSION", version))

    def write(self, path: Path, text: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    def make_machines(self):
        for tool in MACHINE_TOOLS:
            self.fake(tool)

    def start(self, *words: str, launcher: Path | None = None, **env: str) -> subprocess.Popen:
        command = [launcher or self.checkout / "sanso", *words]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, env=self.env | env, cwd=self.home, **pipes)

    def run(self, *words: str, **options) -> subprocess.CompletedProcess:
        process = self.start(*words, **options)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def called(self, beginning: str) -> list[str]:
        return [line for line in self.calls.read_text().splitlines() if line.startswith(beginning)]

    @property
    def made_with(self) -> str:
        return self.called("python -m venv")[0] if self.called("python -m venv") else ""


@pytest.fixture
def bare(tmp_path):
    """A computer without Python."""
    return Computer(tmp_path)


@pytest.fixture
def computer(bare):
    """A computer with Python 3.13, and without what machines need."""
    bare.python(bare.bin / "python3.13", "3.13")
    return bare


@pytest.fixture
def ready(computer):
    """A computer whose .venv is made, with its calls forgotten."""
    assert computer.run("status").returncode == 0
    computer.calls.write_text("")
    return computer


def stamp_of(computer) -> list[str]:
    return (computer.checkout / ".venv/.sanso-stamp").read_text().splitlines()


# Which Python


def test_newest_python_is_taken(bare):
    bare.python(bare.bin / "python3.11", "3.11")
    newest = bare.python(bare.bin / "python3.13", "3.13")
    bare.python(bare.bin / "python3.12", "3.12")
    assert bare.run("status").returncode == 0
    assert stamp_of(bare)[2] == str(newest)


def test_python3_is_taken_where_no_other_name_is_known(bare):
    only = bare.python(bare.bin / "python3", "3.12")
    assert bare.run("status").returncode == 0
    assert stamp_of(bare)[2] == str(only)


def test_shim_that_fails_is_passed_over(bare):
    bare.write(bare.bin / "python3.14", SHIM)
    real = bare.python(bare.bin / "python3.11", "3.11")
    assert bare.run("status").returncode == 0
    assert stamp_of(bare)[2] == str(real)


@pytest.mark.parametrize("root", [None, "elsewhere"])
def test_python_of_pyenv_is_found(bare, root):
    folder = bare.home / (root or ".pyenv")
    real = bare.python(folder / "versions/3.12.1/bin/python3", "3.12")
    env = {"PYENV_ROOT": str(folder)} if root else {}
    assert bare.run("status", **env).returncode == 0
    assert stamp_of(bare)[2] == str(real)


def test_named_python_is_taken_before_a_newer_one(computer):
    named = computer.python(computer.home / "my python", "3.11")
    assert computer.run("status", SANSO_PYTHON=str(named)).returncode == 0
    assert stamp_of(computer)[2] == str(named)


def test_named_python_that_does_not_do_is_an_error(computer):
    old = computer.python(computer.home / "python3.9", "3.9")
    done = computer.run("status", SANSO_PYTHON=str(old))
    assert done.returncode == 1
    assert str(old) in done.stderr
    assert not computer.called("apt-get")


def test_missing_python_is_installed(bare):
    bare.python(bare.home / "python3", "3.13")
    bare.fake("apt-get", f'echo "apt-get $*" >>"$CALLS"; ln -s "{bare.home}/python3" "{bare.bin}/python3"')
    done = bare.run("status")
    assert done.returncode == 0, done.stderr
    assert bare.called("apt-get") == [f"{INSTALL} python3-venv"]
    assert "python3-venv" in done.stderr


# What machines need


@pytest.fixture
def inventories(computer):
    for name, group in {"servers": "web", "machines": "machines"}.items():
        (computer.checkout / name).mkdir()
        (computer.checkout / name / "hosts.yml").write_text(f"{group}:\n  hosts:\n    a:\n")
    return computer.checkout


WITH_MACHINES = """
    up | up --image auto | up -v | up -- --plan | up -i {}/machines | up --inventory={}/machines
    test | test -v | test default | test unit molecule | test molecule unit
    lab start 6 | lab start 6 --lang ja | lab reset
"""
WITHOUT_MACHINES = """
    --help | status | down | check | ssh | ssh -- up
    up --on a@b | up --on=a@b | up --plan | up --help
    up -i {}/servers | up --inventory {}/servers | up --inventory={}/servers
    test lint | test unit sample | test tracing | test lint -v | test --help
    lab list | lab check | lab start --help | lab
"""


def lines(text: str) -> list[str]:
    return [words.strip() for line in text.strip().splitlines() for words in line.split("|")]


@pytest.mark.parametrize("words", lines(WITH_MACHINES))
def test_missing_machine_tools_are_installed_for(computer, inventories, words):
    done = computer.run(*[word.format(inventories) for word in words.split()])
    assert done.returncode == 0, done.stderr
    (install,) = computer.called("apt-get")
    assert install.startswith(f"{INSTALL} systemd-container mmdebstrap")
    assert "systemd-nspawn" in done.stderr


@pytest.mark.parametrize("words", ["", *lines(WITHOUT_MACHINES)])
def test_nothing_is_installed_for(computer, inventories, words):
    done = computer.run(*[word.format(inventories) for word in words.split()])
    assert done.returncode == 0, done.stderr
    assert not computer.called("apt-get")


def test_nothing_is_installed_where_all_is_there(computer):
    computer.make_machines()
    computer.run("up")
    # The keyring is a file of this computer, which no fake replaces.
    assert all(line.endswith("debian-archive-keyring") for line in computer.called("apt-get"))


def test_missing_ssh_is_installed_for_every_verb(computer):
    (computer.bin / "ssh").unlink()
    assert computer.run("status").returncode == 0
    assert computer.called("apt-get") == [f"{INSTALL} openssh-client"]


def test_old_package_lists_are_renewed(computer):
    renewed = computer.home / "renewed"
    computer.fake(
        "apt-get", f'echo "apt-get $1" >>"$CALLS"; [ "$1" != update ] || echo >"{renewed}"; [ -e "{renewed}" ]'
    )
    assert computer.run("up").returncode == 0
    assert computer.called("apt-get") == ["apt-get install", "apt-get update", "apt-get install"]


def test_failed_installation_shows_what_apt_said(computer):
    computer.fake("apt-get", "echo 'E: Unable to fetch'; exit 100")
    done = computer.run("up")
    assert done.returncode == 1
    assert "E: Unable to fetch" in done.stderr
    assert "setup.log" in done.stderr.splitlines()[-1]


def test_packages_are_installed_through_sudo_which_never_asks_without_a_terminal(computer):
    computer.fake("id", "echo 1000")
    computer.fake("sudo", 'echo "sudo $1" >>"$CALLS"; [ "$1" != -n ] || shift; exec "$@"')
    assert computer.run("up").returncode == 0
    assert computer.called("sudo") == ["sudo -n"]
    assert len(computer.called("apt-get")) == 1


def test_person_who_can_not_install_is_told_what_root_can(computer):
    (computer.bin / "ssh").unlink()
    computer.fake("id", "echo 1000")
    done = computer.run("status")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "sanso: Let root install it: apt-get install openssh-client"


def test_other_distribution_is_told_commands_and_packages(computer):
    (computer.bin / "apt-get").unlink()
    done = computer.run("up")
    assert done.returncode == 1
    assert "systemd-nspawn" in done.stderr
    assert "systemd-container" in done.stderr


@pytest.mark.parametrize(("fake", "answer"), [("uname", "Darwin"), ("id", "1000")])
def test_computer_that_can_not_hold_machines_is_told_what_to_use(computer, fake, answer):
    computer.fake(fake, f"echo {answer}")
    done = computer.run("up")
    assert done.returncode == 1
    assert "./sanso up --on user@host" in done.stderr.splitlines()[-1]
    assert not computer.called("apt-get")


@pytest.mark.parametrize("words", ["status", "up --on a@b", "test", "check"])
def test_computer_that_can_not_hold_machines_does_all_else(computer, words):
    computer.fake("uname", "echo Darwin")
    assert computer.run(*words.split()).returncode == 0


# What the tests of pages need


@pytest.fixture
def blind(ready):
    """A computer whose .venv is made, without a browser, and with what machines need."""
    (ready.bin / "chromium").unlink()
    ready.make_machines()
    ready.fake("apt-cache", 'echo "Package: $3"; echo "Version: 156.0.8078.79-1~deb12u1"')
    ready.fake("apt-get", 'case "$*" in *-keyring*) ;; *) echo "apt-get $*" >>"$CALLS" ;; esac')  # for machines
    return ready


def without_package(computer):
    """What Ubuntu says of a package that another one, a snap's, provides: nothing, with the exit code 0."""
    computer.fake("apt-cache")


ITS_OWN = "python -P -m playwright install"


def installed_own(computer) -> list[str]:
    return [line.removeprefix(ITS_OWN).strip() for line in computer.called(ITS_OWN) if "--dry-run" not in line]


@pytest.mark.parametrize("words", ["test", "test -v", "test unit", "test lint unit", "test unit default"])
def test_missing_browser_is_installed_for(blind, words):
    done = blind.run(*words.split())
    assert done.returncode == 0, done.stderr
    assert blind.called("apt-get") == [f"{INSTALL} chromium"]
    assert "browser" in done.stderr
    assert installed_own(blind) == []


@pytest.mark.parametrize(
    "words", ["test lint", "test sample default", "test --help", "test unit --help", "up", "check"]
)
def test_no_browser_is_installed_for(blind, words):
    assert blind.run(*words.split()).returncode == 0
    assert blind.called("apt-get") == []
    assert installed_own(blind) == []


@pytest.mark.parametrize("browser", ["chromium", "google-chrome"])
def test_browser_that_is_there_is_enough(blind, browser):
    blind.fake(browser)
    assert blind.run("test", "unit").returncode == 0
    assert blind.called("apt-get") == []
    assert installed_own(blind) == []


def test_lists_are_renewed_before_apt_is_believed_to_have_no_browser(blind):
    blind.fake("apt-get", f'echo "apt-get $1" >>"$CALLS"; [ "$1" != update ] || echo >"{blind.home}/renewed"')
    blind.fake("apt-cache", f'[ ! -e "{blind.home}/renewed" ] || echo "Version: 156"')
    assert blind.run("test", "unit").returncode == 0
    assert blind.called("apt-get") == ["apt-get update", "apt-get install"]


@pytest.mark.parametrize("said", ["", "echo 'Version: 2:1snap1-0ubuntu4'"], ids=["provided", "snap"])
def test_browser_of_a_snap_is_not_installed_but_playwright_s_own(blind, said):
    blind.fake("apt-cache", said)
    assert blind.run("test", "unit").returncode == 0
    assert blind.called("apt-get") == ["apt-get update"]
    assert installed_own(blind) == ["--only-shell --with-deps chromium"]


def test_playwright_s_own_browser_is_installed_once(blind):
    without_package(blind)
    assert blind.run("test", "unit").returncode == 0
    blind.calls.write_text("")
    done = blind.run("test", "unit")
    assert (done.returncode, done.stderr) == (0, "")
    assert blind.called("apt-get") == []
    assert installed_own(blind) == []


def without_root(computer):
    computer.fake("id", "echo 1000")


def without_apt(computer):
    (computer.bin / "apt-get").unlink()


@pytest.mark.parametrize("lack", [without_root, without_apt])
def test_playwright_s_own_browser_needs_neither_root_nor_apt(blind, lack):
    lack(blind)
    assert blind.run("test", "unit").returncode == 0
    assert blind.called("apt-get") == []
    assert installed_own(blind) == ["--only-shell chromium"]


def test_other_tests_run_where_no_browser_can_be_had(blind):
    without_package(blind)
    blind.fail.touch()
    done = blind.run("test", "unit")
    assert done.returncode == 0
    assert done.stdout.splitlines()[1:] == ["[test]", "[unit]"]
    assert "Failed to download" in done.stderr
    assert done.stderr.splitlines()[-1] == "sanso: Going on without it: the tests of pages will fail."


# What the tests of certificates need


@pytest.fixture
def lawless(blind):
    """A computer with all but an ACME CA."""
    blind.fake("chromium")
    (blind.bin / "pebble").unlink()
    return blind


@pytest.mark.parametrize(
    "words", ["test", "test -v", "test molecule", "test alternative", "test lint alternative", "test pyinfra"]
)
def test_missing_acme_ca_is_installed_for(lawless, words):
    done = lawless.run(*words.split())
    assert done.returncode == 0, done.stderr
    assert lawless.called("apt-get") == [f"{INSTALL} pebble"]


@pytest.mark.parametrize("words", ["test default", "test unit", "test alternative --help", "up", "check"])
def test_no_acme_ca_is_installed_for(lawless, words):
    assert lawless.run(*words.split()).returncode == 0
    assert lawless.called("apt-get") == []


@pytest.mark.parametrize("lack", [without_package, without_root, without_apt])
def test_other_tests_run_where_no_acme_ca_can_be_had(lawless, lack):
    lack(lawless)
    done = lawless.run("test", "alternative")
    assert done.returncode == 0
    assert done.stdout.splitlines()[1:] == ["[test]", "[alternative]"]
    assert done.stderr.splitlines()[-1].startswith("sanso: The tests of certificates need Pebble")
    assert f"{INSTALL} pebble" not in lawless.called("apt-get")


# What the tests of the workshop need


@pytest.fixture
def deaf(blind):
    """A computer with all but a terminal that a program can type on."""
    blind.fake("chromium")
    (blind.bin / "tmux").unlink()
    return blind


@pytest.mark.parametrize("words", ["test", "test molecule", "test workshop", "test lint workshop"])
def test_missing_terminal_is_installed_for(deaf, words):
    done = deaf.run(*words.split())
    assert done.returncode == 0, done.stderr
    assert deaf.called("apt-get") == [f"{INSTALL} tmux"]


@pytest.mark.parametrize("words", ["test default", "test unit", "test workshop --help", "lab start 6"])
def test_no_terminal_is_installed_for(deaf, words):
    assert deaf.run(*words.split()).returncode == 0
    assert deaf.called("apt-get") == []


# .venv


def test_venv_is_made_with_the_uv_of_the_lock_file(computer):
    assert computer.run("status").returncode == 0
    assert computer.called("python -m pip install")[0].endswith("uv==0.13.9")
    assert computer.called("uv") == [f"uv sync --project {computer.checkout} --frozen --all-packages"]


def test_second_start_makes_nothing(ready):
    done = ready.run("status")
    assert done.stderr == ""
    assert ready.calls.read_text().splitlines() == ["python -P -m sanso status"]


@pytest.mark.parametrize("file", ["uv.lock", "pyproject.toml", "sample_app/pyproject.toml", "tracing/pyproject.toml"])
def test_changed_lock_brings_venv_up_to_date(ready, file):
    with (ready.checkout / file).open("a") as opened:
        opened.write("# changed\n")
    assert ready.run("status").returncode == 0
    assert len(ready.called("uv sync")) == 1
    assert not ready.called("python -m venv")
    assert ready.run("status").stderr == ""


def test_update_that_fails_makes_venv_anew(ready):
    with (ready.checkout / "uv.lock").open("a") as opened:
        opened.write("# changed\n")
    ready.fail.touch()
    assert ready.run("status").returncode == 1
    ready.fail.unlink()
    assert ready.run("status").returncode == 0
    assert ready.made_with


def break_off(venv):
    (venv / ".sanso-stamp").unlink()


def lose_python(venv):
    (venv / "bin/python").unlink()
    (venv / "bin/python").symlink_to("/nowhere/python3.13")


def lose_uv(venv):
    (venv / "bin/uv").unlink()


@pytest.mark.parametrize("harm", [break_off, lose_python, lose_uv])
def test_broken_venv_is_made_anew(ready, harm):
    venv = ready.checkout / ".venv"
    (venv / "left-over").touch()
    harm(venv)
    assert ready.run("status").returncode == 0
    assert ready.made_with
    assert not (venv / "left-over").exists()


def test_moved_checkout_makes_venv_anew(ready):
    ready.checkout = ready.checkout.rename(ready.home / "moved")
    assert ready.run("status").returncode == 0
    assert ready.made_with.endswith("moved/.venv")


def test_other_named_python_makes_venv_anew(ready):
    other = ready.python(ready.home / "python3.11", "3.11")
    assert ready.run("status", SANSO_PYTHON=str(other)).returncode == 0
    assert stamp_of(ready)[2] == str(other)


def test_failed_setup_is_shown_and_tried_again(computer):
    computer.fail.touch()
    done = computer.run("status")
    assert done.returncode == 1
    assert "uv sync" in done.stderr
    assert "setup.log" in done.stderr.splitlines()[-1]
    computer.fail.unlink()
    assert computer.run("status").returncode == 0


@pytest.mark.parametrize("flock", [True, False])
def test_two_launchers_make_one_venv(computer, flock):
    if not flock:
        (computer.bin / "flock").unlink()
    both = [computer.start("status") for _ in range(2)]
    ends = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert len(computer.called("python -m venv")) == 1
    assert len(computer.called("uv sync")) == 1


def test_lock_of_a_dead_launcher_is_taken_over(computer):
    (computer.bin / "flock").unlink()
    ended = subprocess.Popen(["true"])
    ended.wait()
    (computer.checkout / ".sanso").mkdir()
    (computer.checkout / ".sanso/setup.lock.pid").symlink_to(str(ended.pid))
    assert computer.run("status").returncode == 0
    assert not os.path.lexists(computer.checkout / ".sanso/setup.lock.pid")


# The way in


def test_words_reach_the_command_line_unchanged(ready):
    done = ready.run("ssh", "a b", "", "*", "--", "$HOME")
    assert done.stdout.splitlines()[1:] == ["[ssh]", "[a b]", "[]", "[*]", "[--]", "[$HOME]"]


def test_launcher_runs_through_a_symbolic_link(ready):
    link = ready.home / "sanso"
    link.symlink_to(ready.checkout / "sanso")
    assert ready.run("status", launcher=link).returncode == 0
    assert not ready.made_with


def test_incomplete_checkout_is_an_error(computer):
    (computer.checkout / "uv.lock").unlink()
    done = computer.run("status")
    assert done.returncode == 1
    assert "uv.lock" in done.stderr


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ({"LC_ALL": "C"}, "C.UTF-8"),
        ({}, "C.UTF-8"),
        ({"LANG": "de_DE.UTF-8"}, ""),
        ({"LC_ALL": "en_US.utf8"}, "en_US.utf8"),
    ],
)
def test_locale_is_one_that_ansible_takes(ready, given, seen):
    assert ready.run("status", **given).stdout.splitlines()[0] == f"LC_ALL={seen}"
