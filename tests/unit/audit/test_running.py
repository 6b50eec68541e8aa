"""Auditors that hang, are missing or are broken off; and the ports of a server on this computer."""

from __future__ import annotations

import dataclasses
import os
import select
import socket
import subprocess
import sys
import threading
import time

import builder
import pytest

from sanso import audit as auditing
from sanso.audit import lynis, ports, ssh_server, tls
from sanso.audit.model import CouldNotAudit, NotInstalled
from sanso.audit.running import Running
from sanso.inventory import Host
from sanso.ssh import Way

HANGS = [sys.executable, "-c", "import time; time.sleep(60)"]


def test_program_gives_its_code_and_its_words():
    with Running() as running:
        done = running.run([sys.executable, "-c", "import os; print(os.environ['A']); exit(3)"], 30, A="b")
    assert (done.returncode, done.stdout) == (3, "b\n")


def test_program_that_hangs_is_ended():
    with Running() as running, pytest.raises(CouldNotAudit, match=r"did not end within 0\.2 s"):
        running.run(HANGS, 0.2)


def test_child_that_outlives_its_program_is_ended_too(tmp_path):
    os.mkfifo(tmp_path / "held")
    reader = os.open(tmp_path / "held", os.O_RDONLY | os.O_NONBLOCK)
    with Running() as running:
        running.run(["sh", "-c", f"sleep 100 >{tmp_path}/held & exec sleep 0.1"], 30)
    assert select.select([reader], [], [], 20)[0], "somebody still holds it"
    os.close(reader)


def test_program_that_is_missing_is_named():
    with Running() as running, pytest.raises(CouldNotAudit, match="no-such-auditor can't be run here: No such file"):
        running.run(["no-such-auditor"], 1)


def test_broken_off_audit_ends_what_runs_and_starts_nothing_more():
    seen, running = [], Running()

    def hang():
        try:
            running.run(HANGS, 50)
        except CouldNotAudit as error:
            seen.append(str(error))

    with running:
        thread = threading.Thread(target=hang)
        thread.start()
        while not running._processes:
            time.sleep(0.01)
    thread.join(10)
    assert seen == ["the audit was broken off"]
    with pytest.raises(CouldNotAudit, match="broken off"):
        running.run(["true"], 1)


# Ports


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_scan_finds_what_listens(listening):
    with Running() as running:
        assert ports.scan("127.0.0.1", 1, running, range(listening - 20, listening + 20)) >= {listening}


def test_scan_ends_where_the_audit_is_broken_off():
    running = Running()
    running.stopped.set()
    with pytest.raises(CouldNotAudit, match="broken off"):
        ports.scan("127.0.0.1", 1, running)


@pytest.mark.parametrize(
    ("found", "ids"),
    [
        ({22, 80, 443}, []),
        ({22, 80, 443, 3306}, ["tcp/3306"]),
        ({22, 443}, ["tcp/80"]),
        (set(), ["tcp/22", "tcp/443", "tcp/80"]),
    ],
)
def test_open_port_must_be_allowed_and_the_site_must_work(found, ids):
    assert sorted(each.id for each in ports.judge(found, builder.MACHINE).findings) == ids


def test_port_that_may_be_open_need_not_be():
    target = dataclasses.replace(builder.MACHINE, needed=frozenset({22}))
    assert ports.judge({22}, target).findings == []


# Programs that answer as they shouldn't


class Answers:
    """A Running whose programs answer with these, one after the other."""

    def __init__(self, *answers):
        self.answers, self.words, self.stopped = list(answers), [], threading.Event()

    def run(self, words, seconds, **options):
        self.words.append(words)
        code, out, err = self.answers.pop(0)
        return subprocess.CompletedProcess(words, code, out, err)


@pytest.fixture
def no_ssh(monkeypatch):
    """What is asked over SSH beside the auditors."""
    asked = []
    monkeypatch.setattr(Way, "run", lambda self, script="true": asked.append(script))
    return asked


REPORT = "lynis_version=3.1.6\nhardening_index=93\nfinish=true\n"


def test_lynis_runs_in_a_folder_that_systemd_removes(no_ssh):
    running = Answers((0, REPORT, ""))
    assert lynis.audit(builder.MACHINE, running).figures[0].value == 93
    (words,) = running.words
    assert "--property=RuntimeDirectory=sanso-audit-" in words[-1]
    assert "--property=RuntimeMaxSec=" in words[-1]
    assert "refresh-repositories=no" in words[-1]  # or it would change apt's lists
    assert no_ssh == []


def test_lynis_comes_from_here_where_the_server_can_not_get_it(no_ssh, monkeypatch, tmp_path):
    (tmp_path / "lynis.deb").touch()
    monkeypatch.setattr(lynis.tempfile, "TemporaryDirectory", lambda: _Folder(tmp_path))
    monkeypatch.setattr(lynis.shutil, "which", lambda name: "/usr/bin/apt-get")
    running = Answers((77, "", "E: Unable to locate package lynis\n"), (0, "", ""), (0, REPORT, ""))
    assert lynis.audit(builder.MACHINE, running).figures[0].value == 93
    assert "cat >lynis.deb" in running.words[-1][-1]


class _Folder:
    def __init__(self, path):
        self.path = path

    def __enter__(self):
        return str(self.path)

    def __exit__(self, *_):
        pass


def test_lynis_that_nobody_can_get_is_not_run(no_ssh, monkeypatch):
    monkeypatch.setattr(lynis.shutil, "which", lambda name: None)
    with pytest.raises(CouldNotAudit, match=r"can't download Lynis \(E: Unable to locate package lynis\)") as caught:
        lynis.audit(builder.MACHINE, Answers((77, "", "E: Unable to locate package lynis\n")))
    assert "apt-get update" in caught.value.next_step


def test_server_that_dies_in_between_is_told_and_lynis_is_stopped(no_ssh):
    said = "ssh: connect to host 10.77.0.10 port 22: Connection timed out\n"
    with pytest.raises(CouldNotAudit, match="doesn't answer"):
        lynis.audit(builder.MACHINE, Answers((255, "", said)))
    assert "systemctl stop sanso-audit-" in no_ssh[0]


def test_ssh_audit_that_is_refused_asks_again_once_the_server_forgives(monkeypatch):
    looks = iter([False, True, True])
    monkeypatch.setattr(ssh_server, "is_open", lambda target: next(looks))
    monkeypatch.setattr(threading.Event, "wait", lambda self, seconds: False)
    good = '{"kex": [], "key": [], "enc": [], "mac": []}'
    running = Answers((1, "{}", "[exception] did not receive banner: Connection reset by peer"), (0, good, ""))
    assert ssh_server.audit(builder.MACHINE, running).findings == []
    assert "--skip-rate-test" in running.words[0]


def test_testssl_that_is_missing_says_what_installs_it(monkeypatch):
    monkeypatch.setattr(tls.shutil, "which", lambda name: None)
    with pytest.raises(NotInstalled) as caught:
        tls.testssl(builder.MACHINE, Answers())
    assert "apt install testssl.sh" in caught.value.next_step


# What is asked about a host


def host(groups, **variables) -> Host:
    return Host("a", set(groups), {"ansible_host": "192.0.2.1", **variables})


APPS = [{"name": "shop", "server_names": ["shop.test", "b.test"]}, {"name": "any", "server_names": ["*.any.test"]}]


def test_units_are_those_of_the_tiers_and_the_apps():
    assert auditing.units_of(host(["web", "app"], apps=APPS)) == {
        "nginx": "nginx.service",
        "app-shop": "app-shop@current.service",
        "app-any": "app-any@current.service",
    }


def test_units_beside_an_app_s_pages_are_audited_by_what_they_may():
    busy = {
        "name": "shop",
        "redis": True,
        "workers": {"mail": {"count": 2, "network": True}},
        "schedule": {"tidy": {"at": "daily"}},
    }
    assert auditing.units_of(host(["app"], apps=[busy])) == {
        "app-shop": "app-shop@current.service",
        "app-shop-redis": "app-shop-redis.service",
        "app-shop-worker-mail with the network": "app-shop-worker-mail@1.service",
        "app-shop-job-tidy": "app-shop-job-tidy.service",
    }


@pytest.mark.parametrize(("name", "aim"), [("app-shop", 0.5), ("app-shop-worker-mail with the network", 1.2)])
def test_aim_of_an_app_s_unit_says_whether_it_may_use_the_network(name, aim):
    assert auditing.yardsticks.aim_of(auditing.Figure(f"exposure:{name}", "", 0.2)).value == aim


def test_sites_have_names_that_can_be_asked_for():
    assert auditing.sites_of(host(["web"], apps=APPS)) == ("shop.test",)
    assert auditing.sites_of(host(["db"], apps=APPS)) == ()


@pytest.mark.parametrize(
    ("variables", "profile"),
    [
        ({"nginx_tls_profile": "modern"}, "modern"),
        ({"nginx_tls_profile": "intermediate", "nginx_tls_protocols": ["TLSv1.3"]}, "intermediate"),
    ],
)
def test_profile_of_tls_is_what_the_inventory_says(variables, profile):
    assert auditing.profile_of_tls(host(["web"], **variables)) == profile


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("ubuntu 26.04 resolute", "ubuntu-26.04"),
        ("debian 13 trixie", "debian-trixie"),
        ("debian  forky", "debian-forky"),
        ("fedora 44 ", "fedora-44"),
        ("", ""),
    ],
)
def test_platform_is_called_as_the_catalogue_calls_it(said, name):
    assert auditing.platform(said) == name


def test_name_that_is_not_known_is_told():
    with pytest.raises(CouldNotAudit, match="isn't known here"):
        auditing.numeric("no-such-host.invalid")
