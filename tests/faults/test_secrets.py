"""What is planted as a secret reaches the app, and can be read nowhere else: not on the server, nor in a log."""

from __future__ import annotations

import gzip
import hashlib
import re
import shlex
import subprocess
import uuid
from pathlib import Path

import pytest
import yaml

VALUE = 'two lines\nof "quotes", $dollars, `ticks` and back\\slashes: {core}'


class Vaulted(str):
    """A value as `ansible-vault encrypt_string` wrote it."""


yaml.SafeDumper.add_representer(Vaulted, lambda dumper, value: dumper.represent_scalar("!vault", value, style="|"))


@pytest.fixture(scope="module")
def run(server):
    """run(command) runs it as root, and returns the lines that it says; none is no failure."""
    return lambda command: server.host.run(command).stdout.splitlines()


@pytest.fixture(scope="module")
def core():
    """What every form of the secret holds, however it was escaped."""
    return f"planted{uuid.uuid4().hex}"


@pytest.fixture(scope="module")
def secret(core):
    return VALUE.format(core=core)


@pytest.fixture(scope="module")
def vault(tmp_path_factory):
    """The file of Ansible Vault's password."""
    path = tmp_path_factory.mktemp("vault") / "password"
    path.write_text("only for this test\n")
    return path


@pytest.fixture(scope="module")
def inventory(server, describe, secret, vault):
    """A file of variables that gives the app the secret, encrypted, and an app that doesn't start without."""
    description = describe()
    wanted = hashlib.sha256(secret.encode()).hexdigest()
    with Path(description["source"], "src/sample_app/__init__.py").open("a") as file:
        file.write(f'\nimport hashlib, os\nassert hashlib.sha256(os.environb[b"PLANTED"]).hexdigest() == "{wanted}"\n')
    command = ["ansible-vault", "encrypt_string", "--vault-password-file", vault, "--stdin-name", "PLANTED"]
    said = subprocess.run(command, input=secret, capture_output=True, text=True, check=True).stdout
    encrypted = Vaulted(re.sub(r"(?m)^ +", "", said.partition("|\n")[2]))
    path = vault.with_name("apps.yml")
    description["secrets"] = {"PLANTED": encrypted}
    others = [each for each in server.settings["apps"] if each["name"] != description["name"]]
    path.write_text(yaml.safe_dump({"apps": [description, *others]}))
    return path


@pytest.fixture(scope="module")
def keys(server):
    """The files of nginx's private keys, and a line of each."""
    found = server.host.check_output("nginx -T 2>/dev/null | sed -n 's/^ *ssl_certificate_key \\(.*\\);/\\1/p'")
    return {
        path: server.host.check_output("openssl pkey -in %s | sed -n 2p", path) for path in sorted(set(found.split()))
    }


@pytest.fixture(scope="module")
def said(engine, play, inventory, vault, keys, run):
    """All that a run says which writes everything secret anew, as much as the engine ever tells."""
    for key in keys:
        run(f"mv {key} {key}.kept")
    try:
        done = engine.run("site", inventory, *engine.loudest, ANSIBLE_VAULT_PASSWORD_FILE=str(vault))
        assert done.succeeded, done.said[-5000:]
        yield done.said
    finally:
        for key in keys:
            run(f"mv {key}.kept {key}")
        assert play("app").succeeded


def test_secret_reaches_the_app(said, run, app, ready):
    """The app that serves now is the one that asks for it."""
    assert run(f"grep PLANTED {app.current}/app/src/sample_app/__init__.py") != []
    assert ready().status == 200


def test_run_says_no_secret(said, core):
    assert [line for line in said.splitlines() if core in line] == []


def test_run_says_no_private_key(said, keys):
    assert [path for path, line in keys.items() if line in said] == []


def pattern(text):
    """Finds `text`, and not itself: neither in the process that searches, nor in sudo's log of it."""
    return shlex.quote(f"[{text[0]}]{text[1:]}")


def test_secret_is_in_one_file_that_root_alone_may_read(said, run, app, core):
    everywhere = "/ --devices=skip --exclude-dir=proc --exclude-dir=sys"
    found = run(f"grep --recursive --text --files-with-matches {pattern(core)} {everywhere}")
    modes = {path: run(f"stat --format='%a %U' {shlex.quote(path)}") for path in found}
    release = run(f"readlink --canonicalize /srv/{app.name}/current")[0]
    assert modes == {f"{release}/secrets": ["600 root"]}


def test_journal_has_no_secret(said, run, core, keys):
    secrets = {"PLANTED": core, **keys}
    found = {name: run(f"journalctl --all --output=export | grep --text {pattern(secrets[name])}") for name in secrets}
    assert found == {name: [] for name in secrets}


@pytest.mark.ansible_only(reason="only Ansible has modules that tell the journal what they were called with")
def test_journal_has_nothing_that_files_hold(said, run):
    called = "ansible-(render|access|certificates) Invoked"
    assert (
        run(f"journalctl --all --output=cat | grep --text --extended-regexp --max-count=3 {shlex.quote(called)}") == []
    )


def test_unit_has_no_secret(said, run, core):
    assert run(f"systemctl show --all '*' | grep {pattern(core)}") == []


def test_process_list_has_no_secret(said, run, core):
    assert run(f"grep --text --files-with-matches {pattern(core)} /proc/[0-9]*/cmdline") == []


def test_environment_of_other_processes_has_no_secret(said, run, app, core):
    found = run(f"grep --text --files-with-matches {pattern(core)} /proc/[0-9]*/environ")
    assert {user for path in found for user in run(f"stat --format=%U {Path(path).parent}")} <= {app.name}


def test_archive_of_the_release_has_no_secret(said, server, run, app, core):
    release = Path(run(f"readlink {app.current}")[0]).name
    cache = Path(server.settings["app_cache_directory"]).expanduser()
    archives = list((cache / "releases").glob(f"{app.name}-{release}-*.tar.gz"))
    assert archives
    assert [path for path in archives if core.encode() in gzip.decompress(path.read_bytes())] == []
