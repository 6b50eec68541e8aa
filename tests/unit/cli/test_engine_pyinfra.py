"""up --engine pyinfra: the same lines and the same failures as with Ansible, from what pyinfra reports."""

from __future__ import annotations

import itertools
import json

import pytest
from cli_events import changed, failed, ok

from sanso import page, project, pyinfra, run

RESULTS = {"plan": [], "results": {"totals": {}}}


@pytest.fixture
def site(machine, programs, monkeypatch):
    """A machine that exists and runs, a page that answers, and a pyinfra that has nothing to change."""
    monkeypatch.setattr(page, "fetch", lambda name, address, ca: page.Answer(200, "faults", "the body"))
    machine(apps=[{"name": "faults", "server_names": ["faults.test"]}])
    programs.fake_pyinfra(ok(layer="OS"), done("OS"))


@pytest.fixture
def up(sanso):
    return lambda *words: sanso("up", "--engine", "pyinfra", *words)


def done(layer: str) -> dict:
    return {"event": "done", "layer": layer}


def at(layer: str, event: dict) -> dict:
    return event | {"layer": layer}


def operation(name: str, *hosts: str, perhaps=()) -> dict:
    return {"names": [name], "hosts_with_change": hosts, "hosts_with_conditional_change": perhaps}


def test_machine_is_made_by_ansible_and_its_layers_by_pyinfra(up, site, programs):
    assert up().exit_code == 0
    assert programs.called("ansible-playbook") == [["playbooks/machines.yml"]]
    assert programs.called("pyinfra") == [["-y", "--json", "@sanso/inventory/local", "deploys/site.py"]]


def test_command_is_shown_as_a_person_can_type_it(up, site, monkeypatch):
    monkeypatch.chdir(project.ROOT)
    assert "\n$ pyinfra -y --json @sanso/inventory/local deploys/site.py\n" in up().stdout


def test_inventory_reaches_pyinfra(up, site, programs, tmp_path):
    up("-i", str(tmp_path))
    assert programs.called("pyinfra")[0][2] == f"@sanso/{tmp_path}"


def test_words_after_two_dashes_reach_pyinfra(up, site, programs):
    up("--", "--limit", "web", "-vv")
    assert programs.called("pyinfra")[0][-4:] == ["deploys/site.py", "--limit", "web", "-vv"]


@pytest.mark.parametrize(
    ("words", "instead"),
    [
        (["--tags", "os"], "deploys/layer_os.py"),
        (["--tags=os"], "deploys/layer_os.py"),
        (["-tos"], "deploys/layer_os.py"),
        (["--check"], "--plan"),
        (["--dry"], "--plan"),
        (["-l", "web"], "--limit"),
        (["-e", "a=b"], "--data variables="),
        (["--ask-become-pass"], "ansible_become_password"),
        (["--ask-vault-pass"], "ANSIBLE_VAULT_PASSWORD_FILE"),
    ],
)
def test_word_that_only_ansible_has_is_refused_with_what_there_is_instead(up, site, programs, words, instead):
    refused = up("--", *words)
    assert refused.exit_code == 2
    assert instead in refused.stderr.splitlines()[-1]
    assert not programs.called("ansible-playbook") + programs.called("pyinfra")


@pytest.mark.parametrize("words", [["--limit", "web"], ["--exclude=web"]])
def test_page_is_not_asked_for_when_only_a_part_is_built(up, site, monkeypatch, words):
    monkeypatch.setattr(page, "fetch", lambda *asked: pytest.fail("there is no app yet"))
    assert up("--", *words).exit_code == 0


# What a person reads


def test_each_layer_is_one_line_with_its_changes(up, site, programs):
    programs.fake_pyinfra(changed(layer="OS"), changed(layer="OS"), done("OS"), ok(layer="MySQL"), done("MySQL"))
    lines = up().stdout.splitlines()
    assert [line for line in lines if line.startswith("✓ OS") and line.endswith("2 changed")]
    assert [line for line in lines if line.startswith("✓ MySQL") and line.endswith("nothing changed")]
    assert lines[-1].startswith("2 tasks changed something. https://faults.test/")


def test_layers_that_take_turns_are_still_one_line_each(up, site, programs):
    web, db = changed(layer="Web"), changed(layer="MySQL", host="db")
    programs.fake_pyinfra(web, db, web, done("Web"), db, db, done("MySQL"))
    lines = [line for line in up().stdout.splitlines() if line.startswith(("✓ Web", "✓ MySQL"))]
    assert [line.split(", ")[-1] for line in lines] == ["2 changed", "3 changed"]


def test_time_of_layers_that_take_turns_is_counted_once(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    ended = run.Run()
    for event in (ok(layer="Web"), ok(layer="MySQL"), ok(layer="Web")):
        ended.take(event)
    ended.end()
    assert sum(layer.seconds for layer in ended.layers) < next(clock)
    assert [layer.seconds for layer in ended.layers] == [2, 1]


def test_preparation_that_went_well_says_nothing(up, site, programs):
    begun = {"event": "task", "layer": "Preparation", "name": "connect to sanso"}
    programs.fake_pyinfra(begun, done("Preparation"), ok(layer="OS"))
    assert "Preparation" not in up().stdout


def test_notice_is_shown(up, site, programs):
    programs.fake_pyinfra(changed(layer="OS", notice="reboot when it suits you"))
    assert "  sanso: reboot when it suits you\n" in up().stdout


def test_log_keeps_what_pyinfra_says_and_answers(up, site, programs, state):
    programs.fake_pyinfra(ok(layer="OS"), said="--> Starting operation")
    up()
    (log,) = (state / "logs").glob("up-*Z.log")
    assert "$ pyinfra -y" in log.read_text()
    assert "--> Starting operation\n" in log.read_text()
    assert json.dumps(RESULTS) in log.read_text()


def test_verbose_streams_what_pyinfra_says_and_not_its_answer(up, site, programs):
    programs.fake_pyinfra(ok(layer="OS"), said="--> Starting operation")
    said = up("--verbose")
    assert "--> Starting operation" in said.stderr
    assert "totals" not in said.output


# Failures


def test_failure_names_layer_host_and_operation_and_what_was_said(up, site, programs):
    event = at("App", failed("Release | Try it", msg="answers 500", stderr="KeyError: x"))
    programs.fake_pyinfra(event, done("App"), code=1, said="--> pyinfra error: No hosts remaining!", answer={})
    ended = up()
    assert ended.exit_code == 1
    assert "✗ App" in ended.stdout
    assert ended.stderr.splitlines()[:3] == ["sanso: Release | Try it", "  answers 500", "  stderr: KeyError: x"]
    log, message, next_step = ended.stderr.splitlines()[-3:]
    assert log.startswith("  log  ")
    assert message == "✗ App failed on sanso: Release | Try it"
    assert "the same command again" in next_step


def test_operation_that_broke_off_says_what_pyinfra_says(up, site, programs):
    said = "--> Disconnecting from hosts...\n--> Operation error in /x/deploys/layer_app.py line 20: no such release"
    programs.fake_pyinfra(at("App", failed("Unpack")) | {"evidence": []}, code=1, said=said, answer={})
    assert "sanso: Unpack\n  no such release\n" in up().stderr


def test_unreachable_host_is_told_as_such(up, site, programs):
    programs.fake_pyinfra(at("Preparation", failed(status="unreachable", msg="timed out")), code=1, answer={})
    assert "✗ Preparation: sanso can't be reached over SSH" in up().stderr


def test_missing_sudo_password_names_what_gives_it(up, site, programs):
    programs.fake_pyinfra(at("OS", failed(stderr="sudo: a password is required")), code=1)
    assert "ansible_become_password" in up().stderr.splitlines()[-1]


def test_wrong_inventory_shows_only_what_is_wrong(up, site, programs):
    wrong = (
        "2 things are wrong in the inventory /x. Nothing was changed.\n  os_ssh_prt: no role knows\n    (/x/y.yml:3)"
    )
    said = f"--> Loading inventory...\n\n--> pyinfra error in /x/src/sanso/connector.py line 9: {wrong}"
    programs.fake_pyinfra(code=1, said=said, answer={})
    refused = up()
    assert refused.exit_code == 1
    assert "\n".join(refused.stderr.splitlines()[:-3]) == wrong
    assert refused.stderr.splitlines()[-2] == "✗ pyinfra stopped before it changed anything"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("--> Loading config...\n--> Operation error in a.py line 3: web1 runs Debian", "web1 runs Debian"),
        ("--> pyinfra error: No deploy file: a.py", "No deploy file: a.py"),
        ("    [web1] ssh: timed out\n--> pyinfra error: No hosts remaining!", "[web1] ssh: timed out"),
        ("--> An exception occurred in: a.py:\n\nTraceback (most recent call last):\nKeyError: 'x'\n", "KeyError: 'x'"),
        ("Usage: pyinfra\nError: No such option: --fast", "No such option: --fast"),
    ],
)
def test_words_of_pyinfra_about_its_end_are_found(said, expected):
    found = pyinfra.said_last(said)
    assert expected in found
    assert "Loading config" not in found


@pytest.mark.parametrize("answer", [{}, {"plan": [], "results": None}])
def test_run_without_results_is_a_failure(up, site, programs, answer):
    programs.fake_pyinfra(ok(layer="OS"), answer=answer)  # as after Ctrl-C, which it takes for a good end
    assert up().exit_code == 1


def test_run_without_an_operation_is_a_failure(up, site, programs):
    programs.fake_pyinfra()
    ended = up()
    assert ended.exit_code == 1
    assert "✗ pyinfra had nothing to run" in ended.stderr


def test_failure_with_json_is_json(up, site, programs):
    programs.fake_pyinfra(at("App", failed("Release | Try it", msg="no")), code=1)
    assert json.loads(up("--json").stdout)["error"] == "App failed on sanso: Release | Try it"


# --plan

DIFF = {"event": "diff", "layer": "OS", "host": "sanso", "task": "SSH | Render", "diff": "-old\n+new"}


@pytest.fixture
def planned(programs):
    """planned(operation…, events=[…]): what pyinfra would do."""

    def planned(*operations, events=(), **options):
        programs.fake_pyinfra(*events, answer={"plan": operations, "results": None}, **options)

    return planned


def test_plan_changes_nothing(up, site, programs, planned):
    planned(operation("OS | Look"))
    assert up("--plan").exit_code == 0
    assert programs.called("pyinfra") == [["--dry", "--diff", "--json", "@sanso/inventory/local", "deploys/site.py"]]
    assert not programs.called("ansible-playbook")


def test_plan_shows_operations_and_their_diffs_by_layer_and_host(up, site, planned):
    planned(
        operation("OS | SSH | Render", "sanso", "other"),
        operation("OS | Look"),
        operation("App | Look"),
        events=[DIFF],
    )
    out = up("--plan").stdout
    assert "  sanso: SSH | Render\n    -old\n    +new\n  other: SSH | Render\n✓ OS  2 would change\n" in out
    assert "✓ App  nothing would change\n" in out
    assert out.splitlines()[-1] == (
        "2 tasks would change something. Nothing was changed; do it: ./sanso up --engine pyinfra"
    )


def test_plan_says_what_depends_on_a_change_and_does_not_count_it(up, site, planned):
    planned(operation("OS | SSH | Reload", perhaps=["sanso"]))
    out = up("--plan").stdout
    assert "  sanso: SSH | Reload, if something before it changes\n✓ OS  nothing would change\n" in out


def test_plan_that_is_refused_on_a_server_is_a_failure(up, site, planned):
    refusal = at("OS", failed("SSH | Render", msg="sshd says no"))
    planned(operation("OS | SSH | Render", "sanso", "other"), events=[refusal])
    refused = up("--plan")
    assert refused.exit_code == 1
    assert "  sanso: SSH | Render" not in refused.stdout
    assert "  other: SSH | Render" in refused.stdout
    assert "sshd says no" in refused.stderr
    assert "✗ OS failed on sanso: SSH | Render" in refused.stderr


def test_plan_without_a_plan_is_a_failure(up, site, programs):
    programs.fake_pyinfra(answer={})
    assert up("--plan").exit_code == 1


def test_plan_without_a_machine_names_the_engine_in_the_next_command(up, machine, programs):
    machine(exists=False)
    programs.fake("ansible-playbook", "print('  play #1 (web): OS')")
    assert up("--plan").stdout.splitlines()[-1].endswith("./sanso up --engine pyinfra")
