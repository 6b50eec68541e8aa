from __future__ import annotations

import json

import pytest
from cli_events import changed, failed, ok, play

from sanso import building, page, project


@pytest.fixture
def answer(monkeypatch):
    """What the first page answers: answer(status=…, title=…), or an exception that is raised instead."""

    def set_answer(status=200, title="faults", error=None):
        def fetch(name, address, ca):
            if error:
                raise error
            return page.Answer(status, title, "the body")

        monkeypatch.setattr(page, "fetch", fetch)

    set_answer()
    return set_answer


@pytest.fixture
def site(machine, answer, monkeypatch):
    """A machine that serves an app, and whose name this computer knows."""
    monkeypatch.setattr(building, "known_as", lambda name: "10.77.0.10")
    machine(apps=[{"name": "faults", "server_names": ["faults.test", "www.faults.test"]}])


def test_machine_is_made_before_its_layers(sanso, site, programs):
    assert sanso("up").exit_code == 0
    assert programs.called("ansible-playbook") == [["playbooks/machines.yml"], ["site.yml"]]


def test_commands_are_shown_as_a_person_can_type_them(sanso, site, monkeypatch):
    monkeypatch.chdir(project.ROOT)
    assert "\n$ ansible-playbook site.yml\n" in sanso("up").stdout


def test_commands_typed_elsewhere_begin_with_the_checkout(sanso, site, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert f"\n$ cd {project.ROOT} && ansible-playbook site.yml\n" in sanso("up").stdout


def test_image_reaches_the_machine_and_no_server(sanso, site, programs):
    sanso("up", "--image", "debian-forky")
    machines_playbook, layers = programs.called("ansible-playbook")
    assert machines_playbook == ["playbooks/machines.yml", "-e", "machine_image=debian-forky"]
    assert layers == ["site.yml"]


def test_words_after_two_dashes_reach_ansible(sanso, site, programs):
    sanso("up", "--", "--tags", "os")
    assert programs.called("ansible-playbook")[-1] == ["site.yml", "--tags", "os"]


def test_inventory_reaches_every_playbook(sanso, site, programs, tmp_path):
    sanso("up", "-i", str(tmp_path))
    assert [words[:2] for words in programs.called("ansible-playbook")] == [["-i", str(tmp_path)]] * 2


def test_servers_without_machines_make_no_machine(sanso, server, programs):
    assert sanso("up").exit_code == 0
    assert programs.called("ansible-playbook") == [["site.yml"]]


def test_server_that_can_not_be_reached_ends_it_before_ansible(sanso, server, programs):
    programs.fake("ssh", "sys.exit('ssh: connect to host 192.0.2.1 port 22: Connection refused')")
    done = sanso("up")
    assert done.exit_code == 1
    assert "no SSH server answers on ubuntu@192.0.2.1" in done.stderr
    assert not programs.called("ansible-playbook")


# What a person reads


def test_each_layer_is_one_line_with_its_changes(sanso, site, programs):
    programs.fake_playbook(play("OS"), changed(), changed(), play("MySQL"), ok())
    lines = sanso("up").stdout.splitlines()
    assert [line for line in lines if line.startswith("✓ OS") and line.endswith("2 changed")]
    assert [line for line in lines if line.startswith("✓ MySQL") and line.endswith("nothing changed")]


def test_layer_that_was_skipped_as_a_whole_says_nothing(sanso, site, programs):
    programs.fake_playbook(play("Preflight"), ok(status="skipped"), play("OS"), ok())
    assert "Preflight" not in sanso("up").stdout


def test_last_line_is_the_page_and_that_nothing_changed(sanso, site):
    assert sanso("up").stdout.splitlines()[-1] == "Nothing changed. https://faults.test/"


def test_last_line_counts_changes(sanso, site, programs):
    programs.fake_playbook(play("OS"), changed())
    assert sanso("up").stdout.splitlines()[-1] == "2 tasks changed something. https://faults.test/"


def test_answer_of_the_page_is_told(sanso, site):
    assert '✓ https://faults.test/ answers 200 "faults"' in sanso("up").stdout


def test_curl_is_ready_to_paste(sanso, site):
    assert "  curl https://faults.test/" in sanso("up").stdout.splitlines()


def test_curl_names_the_ca_where_there_is_one(sanso, site, home):
    ca = home / ".local/share/sanso/ca/ca.crt"
    ca.parent.mkdir(parents=True)
    ca.touch()
    assert f"  curl --cacert {ca} https://faults.test/" in sanso("up").stdout.splitlines()


def test_curl_names_the_address_where_the_name_is_not_known(sanso, site, monkeypatch):
    monkeypatch.setattr(building, "known_as", lambda name: "")
    assert "  curl --resolve faults.test:443:10.77.0.10 https://faults.test/" in sanso("up").stdout.splitlines()


@pytest.mark.parametrize("status", [404, 502])
def test_page_with_an_error_is_a_failure(sanso, site, answer, status):
    answer(status=status, title="Bad Gateway")
    done = sanso("up")
    assert done.exit_code == 1
    assert f'https://faults.test/ answers {status} "Bad Gateway"' in done.stderr
    assert done.stderr.splitlines()[-1] == "  next  ./sanso check"


def test_page_that_does_not_answer_is_a_failure(sanso, site, answer):
    answer(error=page.NoAnswer("https://faults.test/ at 10.77.0.10 doesn't answer: refused"))
    done = sanso("up")
    assert done.exit_code == 1
    assert "refused" in done.stderr
    assert done.stderr.splitlines()[-1] == "  next  ./sanso check"


@pytest.mark.parametrize("words", [["--tags", "os"], ["--limit=db"], ["-t", "os"]])
def test_page_is_not_asked_for_when_only_a_part_is_built(sanso, site, answer, words):
    answer(error=page.NoAnswer("there is no app yet"))
    assert sanso("up", "--", *words).exit_code == 0


def test_json_is_alone_on_stdout(sanso, site, programs):
    programs.fake_playbook(play("OS"), changed())
    done = sanso("up", "--json")
    data = json.loads(done.stdout)
    assert data["changed"] == 2
    assert data["urls"] == ["https://faults.test/"]
    assert data["layers"][0] == {"name": "OS", "changed": 1, "seconds": data["layers"][0]["seconds"], "failed": False}
    assert "✓ OS" in done.stderr


def test_output_in_a_pipe_has_no_escape_codes(sanso, site):
    done = sanso("up")
    assert "\x1b" not in done.output


def test_verbose_streams_what_ansible_says(sanso, site, programs, capfd):
    programs.fake_playbook(play("OS"), ok(), said="TASK [OS | Do]")
    assert "TASK [OS | Do]" in sanso("up", "--verbose").stderr
    assert "TASK [OS | Do]" not in sanso("up").output


@pytest.mark.parametrize("words", [[], ["--verbose"]])
def test_log_keeps_what_ansible_says(sanso, site, programs, state, words):
    programs.fake_playbook(play("OS"), ok(), said="TASK [OS | Do]")
    sanso("up", *words)
    (log,) = (state / "logs").glob("up-*Z.log")
    assert log.read_text().count("TASK [OS | Do]") == 2
    assert "$ ansible-playbook site.yml" in log.read_text()


def test_notice_is_shown_once_though_the_playbook_repeats_it(sanso, site, programs):
    programs.fake_playbook(play("App"), ok(notice="it waits"), ok("Say it", notice="it waits"))
    assert sanso("up").stdout.splitlines().count("  sanso: it waits") == 2  # of two playbooks, one each


# Failures


def test_failure_names_task_host_and_what_was_said(sanso, site, programs):
    programs.fake_playbook(play("App"), failed("Release | Try it", msg="answers 500", stderr="KeyError: x"), code=2)
    done = sanso("up")
    assert done.exit_code == 1
    assert "answers 500" in done.stderr
    assert "KeyError: x" in done.stderr
    assert "✗ App failed on sanso: Release | Try it" in done.stderr


def test_failure_ends_with_log_message_and_next_step(sanso, site, programs):
    programs.fake_playbook(play("App"), failed(msg="no"), code=2)
    log, message, next_step = sanso("up").stderr.splitlines()[-3:]
    assert log.startswith("  log  ")
    assert message.startswith("✗ App failed")
    assert next_step.startswith("  next  ")


def test_failed_machine_ends_it_before_the_layers(sanso, site, programs):
    programs.fake_playbook(play("Local machines"), failed(msg="no space"), code=2)
    assert sanso("up").exit_code == 1
    assert len(programs.called("ansible-playbook")) == 1


def test_failure_that_was_rescued_is_none(sanso, site, programs):
    programs.fake_playbook(play("App"), failed(status="rescued", msg="tried"), ok("Go back"))
    done = sanso("up")
    assert done.exit_code == 0
    assert "✓ App" in done.stdout


def test_failure_in_a_rescue_is_the_one_that_is_told(sanso, site, programs):
    first = failed("First", status="rescued", msg="rescued")
    programs.fake_playbook(play("App"), first, failed("Last", msg="fatal"), ok("Always"), code=2)
    assert "✗ App failed on sanso: Last" in sanso("up").stderr


def test_end_of_long_output_is_kept(sanso, site, programs):
    long = "\n".join(f"line {number}" for number in range(500))
    programs.fake_playbook(play("App"), failed(stdout=long), code=2)
    lines = sanso("up").stderr.splitlines()
    assert "  line 499" in lines
    assert "  line 0" not in lines


def test_message_is_kept_whole(sanso, site, programs):
    long = "\n".join(f"line {number}" for number in range(500))
    programs.fake_playbook(play("App"), failed(msg=long), code=2)
    assert "  line 0" in sanso("up").stderr.splitlines()


def test_unreachable_host_is_told_as_such(sanso, site, programs):
    programs.fake_playbook(play("OS"), failed(status="unreachable", msg="timed out"), code=4)
    assert "✗ OS: sanso can't be reached over SSH" in sanso("up").stderr


def test_playbook_that_can_not_be_read_shows_its_words(sanso, site, programs):
    programs.fake_playbook(code=4, said="ERROR! couldn't resolve module/action")
    done = sanso("up")
    assert "✗ Ansible stopped with exit code 4" in done.stderr
    assert done.exit_code == 1
    assert "couldn't resolve module/action" in done.stderr


def test_playbook_that_runs_nothing_is_a_failure(sanso, site, programs):
    programs.fake_playbook(code=0)
    assert sanso("up").exit_code == 1


def test_missing_sudo_password_names_the_word_that_asks_for_it(sanso, server, programs):
    programs.fake_playbook(play("OS"), failed(host="web1", msg="Missing sudo password"), code=2)
    assert sanso("up").stderr.splitlines()[-1].endswith("-- --ask-become-pass")


def test_failure_with_json_is_json(sanso, site, programs):
    programs.fake_playbook(play("App"), failed("Release | Try it", msg="no"), code=2)
    data = json.loads(sanso("up", "--json").stdout)
    assert data["error"] == "App failed on sanso: Release | Try it"


# --plan


def test_plan_only_checks(sanso, site, programs):
    done = sanso("up", "--plan")
    assert done.exit_code == 0
    assert programs.called("ansible-playbook") == [["site.yml", "--check", "--diff"]]


def test_plan_shows_tasks_and_their_diffs(sanso, site, programs):
    programs.fake_playbook(play("OS"), changed("SSH | Render", diff="-old\n+new"))
    out = sanso("up", "--plan").stdout
    assert "  sanso: SSH | Render\n    -old\n    +new\n" in out
    assert "1 would change" in out


LISTED = "\n".join(
    f"  play #{number} (web): {name}\tTAGS: []\n    hosts (1):\n      sanso"
    for number, name in enumerate(["Preflight", "OS", "Preflight", "MySQL"], 1)
)


def test_plan_without_a_machine_says_what_would_be_made(sanso, machine, programs):
    machine(exists=False)
    programs.fake("ansible-playbook", f"print({LISTED!r})")
    done = sanso("up", "--plan", "--image", "ubuntu-24.04")
    assert done.exit_code == 0
    assert "machine sanso (10.77.0.10) from the image ubuntu-24.04" in done.stdout
    assert "\n  Preflight\n  OS\n  MySQL\n" in done.stdout
    assert programs.called("ansible-playbook") == [["site.yml", "--list-hosts"]]


def test_plan_for_a_machine_that_is_stopped_is_a_failure(sanso, machine, programs):
    machine(runs=False)
    done = sanso("up", "--plan")
    assert done.exit_code == 1
    assert "doesn't run" in done.stderr
    assert not programs.called("ansible-playbook")


# One at a time, and as root


def test_second_run_at_the_same_time_is_told_of_the_first(sanso, site, programs):
    with project.alone("down"):
        pass
    with project.alone("up"):
        done = sanso("up")
    assert done.exit_code == 1
    assert "./sanso up of" in done.stderr
    assert "since" in done.stderr
    assert not programs.called("ansible-playbook")


def test_run_after_another_is_free(sanso, site):
    with project.alone("up"):
        pass
    assert sanso("up").exit_code == 0


def test_machines_without_root_and_terminal_are_an_error(sanso, site, programs, monkeypatch):
    monkeypatch.setattr("sanso.machines.can_be_root", lambda: False)
    done = sanso("up")
    assert done.exit_code == 1
    assert "root" in done.stderr
    assert not programs.called("ansible-playbook")


def test_machines_without_root_ask_on_a_terminal(sanso, site, programs, monkeypatch):
    monkeypatch.setattr("sanso.machines.can_be_root", lambda: False)
    monkeypatch.setattr("sanso.console.can_ask", lambda: True)
    sanso("up")
    machines_playbook, layers = programs.called("ansible-playbook")
    assert machines_playbook == ["playbooks/machines.yml", "--ask-become-pass"]
    assert layers == ["site.yml"]


# The browser


@pytest.mark.parametrize(
    ("words", "desktop", "opened"),
    [([], True, ["https://faults.test/"]), (["--no-open"], True, []), ([], False, [])],
)
def test_browser_is_opened_on_a_desktop_only(sanso, site, monkeypatch, words, desktop, opened):
    seen = []
    monkeypatch.setattr("webbrowser.open", seen.append)
    monkeypatch.setattr("sanso.console.has_desktop", lambda: desktop)
    sanso("up", *words)
    assert seen == opened
