from __future__ import annotations

import json

import pytest

from sanso import audit as auditing
from sanso.audit import record, waivers
from sanso.audit.model import CouldNotAudit, Figure, Finding, Outcome

APPS = [{"name": "faults", "server_names": ["faults.test"]}]
FACTS = """
if sys.argv[-1].startswith(". /etc/os-release"):
    print("ubuntu 26.04 resolute\\nsystemd-nspawn")
"""
OBJECTION = Finding("lynis", "A-1", "warn", "Consider it", "cisofy.com/lynis/controls/A-1/ explains it")
WAIVER = "- auditor: lynis\n  finding: {}\n  reason: There is a good reason for it.\n"


class Auditors:
    """Fakes of the auditors: what each says, or how it fails."""

    def __init__(self):
        self.asked = []
        self.says = {
            "lynis": Outcome("lynis", "3.1.6", [Figure("lynis", "Lynis 3.1.6 hardening index", 93)]),
            "systemd-analyze": Outcome("systemd-analyze"),
            "sslyze": Outcome("sslyze", figures=[Figure("sslyze", "sslyze: mismatches", 0)]),
            "testssl": Outcome("testssl"),
            "ports": Outcome("ports"),
            "ssh-audit": Outcome("ssh-audit"),
        }

    def of(self, name):
        def ask(target, running):
            self.asked.append((name, target))
            if isinstance(self.says[name], Exception):
                raise self.says[name]
            return self.says[name]

        return ask


@pytest.fixture
def auditors(machine, programs, tmp_path, monkeypatch):
    """A machine, all of whose auditors are content."""
    machine(apps=APPS)
    programs.fake("ssh", FACTS)
    fakes = Auditors()
    monkeypatch.setattr(auditing, "RUN", {name: fakes.of(name) for name in fakes.says})
    for module, name in ((waivers, "waivers.yml"), (record, "record.yml")):
        monkeypatch.setattr(module, "FILE", tmp_path / name)
        monkeypatch.setattr(module.read, "__defaults__", (tmp_path / name,))
    monkeypatch.setattr(record.write, "__defaults__", (tmp_path / "record.yml",))
    (tmp_path / "waivers.yml").write_text("[]\n")
    return fakes


def test_all_well_is_one_table_and_one_sentence(sanso, auditors):
    done = sanso("audit")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "sanso  10.77.0.10, ubuntu-26.04, profile default, container"
    assert [word for word in lines[1].split() if word] == ["yardstick", "figure", "aim", "record"]
    assert lines[-1] == "✓ All aims are met, and all findings explained  0 waived"


def test_finding_without_a_waiver_fails_with_how_to_go_on(sanso, auditors):
    auditors.says["lynis"].findings.append(OBJECTION)
    done = sanso("audit")
    assert done.exit_code == 1
    assert "✗ lynis A-1  Consider it  cisofy.com/lynis/controls/A-1/ explains it" in done.stdout.splitlines()
    assert done.stdout.splitlines()[-2] == "✗ 1 finding without a waiver  0 waived"
    assert "docs/how-to/audit.md" in done.stdout.splitlines()[-1]


def test_waived_finding_is_listed_with_its_reason(sanso, auditors, tmp_path):
    auditors.says["lynis"].findings.append(OBJECTION)
    (tmp_path / "waivers.yml").write_text(WAIVER.format("A-1"))
    done = sanso("audit")
    assert done.exit_code == 0
    assert "  waived  lynis A-1  Consider it  (There is a good reason for it.)" in done.stdout.splitlines()


def test_stale_waiver_fails_and_names_its_line(sanso, auditors, tmp_path):
    (tmp_path / "waivers.yml").write_text(WAIVER.format("A-1"))
    done = sanso("audit")
    assert done.exit_code == 1
    assert "waivers.yml:1: stale, nothing says lynis A-1 any more" in done.stdout


def test_waivers_of_ones_own_come_beside_those_of_the_project(sanso, auditors, tmp_path):
    auditors.says["lynis"].findings.append(OBJECTION)
    (tmp_path / "mine.yml").write_text(WAIVER.format("A-*"))
    assert sanso("audit", "--waivers", str(tmp_path / "mine.yml")).exit_code == 0


def test_bad_waiver_is_told_before_anything_is_asked(sanso, auditors, programs, tmp_path):
    (tmp_path / "waivers.yml").write_text("- auditor: lynis\n  findnig: A\n")
    done = sanso("audit")
    assert done.exit_code == 2
    assert "waivers.yml:2: a waiver has no key findnig; do you mean finding?" in done.stderr
    assert (auditors.asked, programs.called("ssh")) == ([], [])


def test_auditor_that_can_not_run_is_exit_code_3(sanso, auditors):
    auditors.says["ssh-audit"] = CouldNotAudit("ssh-audit could not ask", "wait a minute")
    done = sanso("audit")
    assert done.exit_code == 3
    assert "✗ ssh-audit could not run: ssh-audit could not ask  wait a minute" in done.stdout
    assert "✗ Could not check: ssh-audit did not run" in done.stdout


def test_what_is_wrong_outweighs_what_could_not_be_checked(sanso, auditors):
    auditors.says["ssh-audit"] = CouldNotAudit("ssh-audit could not ask")
    auditors.says["lynis"].findings.append(OBJECTION)
    assert sanso("audit").exit_code == 1


def test_auditor_that_is_not_installed_is_only_told(sanso, auditors):
    auditors.says["testssl"] = auditing.NotInstalled("testssl isn't installed here", "apt install testssl.sh")
    done = sanso("audit")
    assert done.exit_code == 0
    assert "testssl was not run: testssl isn't installed here: apt install testssl.sh" in done.stdout


def test_figure_is_recorded_and_held_against_the_record(sanso, auditors, tmp_path):
    done = sanso("audit", "--record")
    assert (done.exit_code, record.read(tmp_path / "record.yml")["ubuntu-26.04"]["default"]["lynis"]) == (0, 93)
    auditors.says["lynis"].figures[0] = Figure("lynis", "Lynis", 92)
    done = sanso("audit")
    assert (done.exit_code, "worse than recorded" in done.stdout) == (1, True)
    auditors.says["lynis"].figures[0] = Figure("lynis", "Lynis", 95)
    done = sanso("audit")
    assert (done.exit_code, "better than recorded" in done.stdout) == (0, True)


def test_servers_of_ones_own_are_not_recorded(sanso, auditors, hosts):
    hosts(web1={"groups": ["web", "app", "db"], "ansible_host": "192.0.2.1", "apps": APPS})
    done = sanso("audit", "--record")
    assert done.exit_code == 1
    assert "only machines on this computer are recorded" in done.stderr


def test_one_auditor_alone(sanso, auditors):
    sanso("audit", "--only", "lynis", "--only", "ports")
    assert sorted(name for name, _ in auditors.asked) == ["lynis", "ports"]


def test_ssh_audit_comes_last(sanso, auditors):
    sanso("audit")
    assert auditors.asked[-1][0] == "ssh-audit"


def test_unknown_host_names_those_there_are(sanso, auditors):
    done = sanso("audit", "other")
    assert done.exit_code == 2
    assert "other is no host of the inventory; these are: sanso" in done.stderr


def test_host_without_a_site_or_a_unit_is_asked_for_less(sanso, auditors, hosts):
    hosts(bare={"groups": ["all"], "ansible_host": "192.0.2.1", "ansible_port": 2222})
    sanso("audit", "bare")
    assert sorted(name for name, _ in auditors.asked) == ["lynis", "ports", "ssh-audit"]
    assert auditors.asked[0][1].needed == {2222}


def test_host_that_can_not_be_reached_is_told(sanso, auditors, programs):
    programs.fake("ssh", "sys.exit(255)")
    done = sanso("audit")
    assert done.exit_code == 3
    assert "10.77.0.10 can't be reached" in done.stderr


def test_missing_machine_is_told(sanso, auditors, monkeypatch):
    monkeypatch.setattr("sanso.machines.record", lambda host: {})
    done = sanso("audit")
    assert done.exit_code == 3
    assert done.stderr.splitlines() == ["✗ the machine sanso doesn't exist", "  next  ./sanso up"]


def test_json_is_the_whole_audit(sanso, auditors):
    done = sanso("audit", "--json")
    data = json.loads(done.stdout)
    assert (data["exit"], data["ok"], data["complete"]) == (0, True, True)
    assert data["hosts"][0]["figures"][0]["figure"] == 93


def test_page_is_written(sanso, auditors, tmp_path):
    assert sanso("audit", "--html", str(tmp_path / "a.html")).exit_code == 0
    assert "<h1>sanso</h1>" in (tmp_path / "a.html").read_text()


def test_page_that_can_not_be_written_is_told(sanso, auditors, tmp_path):
    done = sanso("audit", "--html", str(tmp_path / "no" / "a.html"))
    assert done.exit_code == 1
    assert "can't be written" in done.stderr
