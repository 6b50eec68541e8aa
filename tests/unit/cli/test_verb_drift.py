from __future__ import annotations

import json

import pytest

from sanso import drift
from sanso.digest import CouldNotDigest

OPERATION = {"names": ["OS | Settings | Render them"], "hosts_with_change": [], "hosts_with_conditional_change": []}
DIFF = {"event": "diff", "layer": "OS", "host": "sanso", "task": "Settings | Render them", "diff": "-a\n+b"}
PYINFRA = """
with os.fdopen(int(os.environ["SANSO_EVENTS"]), "w") as out:
    out.write({events!r})
print({said!r}, file=sys.stderr)
print({answer!r})
sys.exit({code})
"""
SYSCTL = {
    "kind": "sysctl",
    "key": "vm.swappiness",
    "was": "10",
    "found": "60",
    "mend": "sudo sysctl -w vm.swappiness=10",
}


@pytest.fixture
def live(machine, programs, monkeypatch):
    """A machine: live(changes, found, …) sets what pyinfra would change, and what the machine finds of itself."""
    machine()

    def live(changes=(), found=(), events=(), code=0, said=""):
        plan = [OPERATION | {"hosts_with_change": list(changes)}]
        text = "".join(json.dumps(each) + "\n" for each in [DIFF, *events])
        programs.fake("pyinfra", PYINFRA.format(events=text, answer=json.dumps({"plan": plan}), code=code, said=said))
        monkeypatch.setattr(drift, "look", lambda host: list(found))

    live()
    return live


def test_nothing_that_was_changed_is_good(sanso, live, programs):
    done = sanso("check", "--drift")
    assert done.exit_code == 0
    assert "✓ Nothing was changed by hand  1 host" in done.stdout.splitlines()[-1]
    assert programs.called("pyinfra") == [["--dry", "--json", "@sanso/inventory/local", "deploys/site.py"]]


def test_what_an_engine_would_change_is_told_with_its_diff_and_its_layer(sanso, live):
    live(changes=["sanso"])
    done = sanso("check", "--drift")
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    at = lines.index("✗ sanso: Settings | Render them  OS")
    assert lines[at + 1 : at + 4] == ["    -a", "    +b", "    next  ansible-playbook playbooks/os.yml"]
    assert lines[-2].startswith("✗ 1 thing changed since it was built")
    assert lines[-1] == "  next  ./sanso up builds what each layer says again"


def test_what_a_server_finds_is_told_with_what_mends_it(sanso, live):
    live(found=[SYSCTL])
    done = sanso("check", "--drift")
    assert done.exit_code == 1
    assert "✗ sanso: sysctl vm.swappiness  OS" in done.stdout
    assert "next  ./sanso ssh sanso -- 'sudo sysctl -w vm.swappiness=10'" in done.stdout
    assert "./sanso up" not in done.stdout


def test_what_only_follows_from_another_change_is_none_by_itself(sanso, live, monkeypatch):
    monkeypatch.setitem(OPERATION, "names", ["OS | Load sysctl"])
    live(changes=["sanso"])
    assert sanso("check", "--drift").exit_code == 0


def test_json_has_every_finding(sanso, live):
    live(changes=["sanso"], found=[SYSCTL])
    data = json.loads(sanso("check", "--drift", "--json").stdout)
    assert data["exit"] == 1
    assert [each["what"] for each in data["findings"]] == ["Settings | Render them", "sysctl vm.swappiness"]


def test_engine_that_stops_could_not_check(sanso, live):
    live(code=1, said="--> Error in deploys: it is broken")
    done = sanso("check", "--drift")
    assert done.exit_code == 3
    assert "it is broken" in done.stderr
    assert "pyinfra could not look" in done.stderr


def test_host_at_which_an_engine_fails_could_not_be_checked(sanso, live):
    failed = {
        "event": "result",
        "status": "failed",
        "layer": "OS",
        "host": "sanso",
        "task": "x",
        "evidence": [{"msg": "why"}],
    }
    live(changes=["sanso"], events=[failed])
    done = sanso("check", "--drift")
    assert done.exit_code == 3
    assert "why" in done.stderr
    assert "pyinfra could not look at sanso: x" in done.stderr


def test_server_that_does_not_say_all_could_not_be_checked(sanso, live, monkeypatch):
    def look(host):
        raise CouldNotDigest("sanso doesn't say all: nft is broken", "mend nft")

    monkeypatch.setattr(drift, "look", look)
    done = sanso("check", "--drift")
    assert done.exit_code == 3
    assert done.stderr.splitlines()[-2:] == ["✗ sanso doesn't say all: nft is broken", "  next  mend nft"]


def test_unreachable_host_is_told_before_anything_is_compared(sanso, live, programs):
    programs.fake("ssh", "sys.exit(255)")
    assert sanso("check", "--drift").exit_code == 3
    assert not programs.called("pyinfra")


def test_ansible_can_say_too_what_should_be(sanso, live, programs):
    done = sanso("check", "--drift", "--engine", "ansible")
    assert done.exit_code == 0
    assert programs.called("ansible-playbook") == [["site.yml", "--check", "--diff"]]


@pytest.mark.parametrize("words", [["--drift", "--tier", "web"], ["--drift", "--", "-k", "x"], ["--engine", "ansible"]])
def test_words_that_do_not_go_together_are_refused(sanso, live, words):
    assert sanso("check", *words).exit_code == 2
