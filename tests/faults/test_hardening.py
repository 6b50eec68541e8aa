"""What users of hardening roles complain of: su, sudo, apt, Docker, git, MySQL, and people who were there before.

What takes a `profile` is tried in both: the machine is built with the other one too, and given its own back.
"""

from __future__ import annotations

import shlex
import subprocess
from typing import NamedTuple

import pytest

PASSWORD = "correct horse battery staple 7"
# As older systems made them, of PASSWORD: an account that came along is as old as its hash.
HASHES = {
    "sha512": "$6$sanso$",
    "sha256": "$5$sanso$",
    "md5": "$1$sanso$",
}


class Person(NamedTuple):
    name: str
    key: str  # file of their private key


@pytest.fixture(scope="module", params=["default", "strict"])
def profile(request, server, play):
    """The machine with this profile; at the end, with its own again."""
    if request.param == server.settings["hardening_profile"]:
        yield request.param
        return
    before = packages(server)
    built(play("os", hardening_profile=request.param, hardening_strict_exceptions=[]))
    yield request.param
    built(play("os"))
    # The role removes none that a profile brought. At the next boot some would start, and can't in a container.
    if more := packages(server) - before:
        server.host.check_output(f"DEBIAN_FRONTEND=noninteractive apt-get --yes --quiet=2 purge {' '.join(more)}")


def packages(server):
    return set(server.host.check_output("dpkg-query --show --showformat='${Package}\n'").split())


def built(done):
    assert done.succeeded, done.said[-3000:]


@pytest.fixture
def person(server, tmp_path):
    """person("sudo", hashed=…) makes somebody who may do what the groups may, as if they had always been there."""
    made = []

    def person(*groups, hashed="sha512"):
        name = f"{hashed}-{len(made)}"
        salt = HASHES[hashed].strip("$").split("$")
        words = ["openssl", "passwd", f"-{salt[0]}", "-salt", salt[1], PASSWORD]
        password = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
        key = tmp_path / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        also = f"--groups={','.join(groups)}" if groups else ""
        host(f"useradd --create-home --shell=/bin/bash {also} --password={shlex.quote(password)} {name}")
        made.append(name)
        host(f"install -d -m 0700 -o {name} ~{name}/.ssh")
        public = shlex.quote(key.with_suffix(".pub").read_text())
        host(f"echo {public} | install -o {name} /dev/stdin ~{name}/.ssh/authorized_keys")
        return Person(name, str(key))

    def host(command):
        done = server.host.run(command)
        assert done.succeeded, done.stderr

    yield person
    for name in made:
        server.host.run(f"loginctl terminate-user {name}; userdel --force --remove {name}; rm -f /run/faillock/{name}")


def answered(server, person, command, *answers):
    """`command` run by `person`, who answers what it asks."""
    said = shlex.quote("".join(f"{answer}\n" for answer in answers))
    return server.host.run(f"printf %s {said} | runuser --user={person.name} -- {command}")


# People


@pytest.mark.usefixtures("profile")
@pytest.mark.parametrize("hashed", HASHES)
def test_password_of_a_user_who_was_there_before_still_opens(server, person, hashed):
    someone, other = person("sudo"), person(hashed=hashed)
    done = answered(server, someone, f"su {other.name} -c id", PASSWORD)
    assert (done.rc, other.name in done.stdout) == (0, True), done.stderr


@pytest.mark.usefixtures("profile")
def test_key_of_a_user_who_was_there_before_still_opens(server, person):
    done = ssh(server, person(), "id -un")
    assert (done.returncode, done.stdout.split("-")[0]) == (0, "sha512"), done.stderr


def ssh(server, person, *words):
    return subprocess.run([*ssh_words(server, person), *words], capture_output=True, text=True, timeout=60)


def ssh_words(server, person):
    """ssh as this person, by their key alone; the host key is known from the inventory."""
    known = [option for option in server.way.options if "UserKnownHostsFile" in option]
    options = [word for option in known for word in ("-o", option.removeprefix("-o").strip())]
    options += ["-o", "IdentitiesOnly=yes", "-o", "ControlPath=none", "-o", "BatchMode=yes"]
    return ["ssh", *options, "-i", person.key, "-p", str(server.way.port), f"{person.name}@{server.address}"]


@pytest.mark.usefixtures("profile")
def test_sudo_asks_for_the_password_and_takes_it(server, person):
    done = answered(server, person("sudo"), "sudo --stdin --reset-timestamp id -u", PASSWORD)
    assert done.stdout == "0\n", done.stderr


def test_sudo_refuses_a_wrong_password(server, person):
    done = answered(server, person("sudo"), "sudo --stdin --reset-timestamp id -u", "wrong", "wrong", "wrong")
    assert (done.succeeded, done.stdout) == (False, "")


def test_su_is_refused_by_strict_to_who_may_not_use_sudo(server, person, profile):
    done = answered(server, person(), f"su {person().name} -c id", PASSWORD)
    assert done.succeeded == (profile == "default"), done.stderr


def test_many_wrong_passwords_lock_a_user_in_strict_and_their_key_still_opens(server, person, profile):
    someone, other = person("sudo"), person()
    # At once: PAM lets the next one wait for seconds.
    wrong = f"echo wrong | runuser --user={someone.name} -- su {other.name} -c id &"
    server.host.run(10 * wrong + " wait")
    locked = answered(server, someone, f"su {other.name} -c id", PASSWORD).failed
    assert locked == (profile == "strict")
    assert ssh(server, other, "true").returncode == 0


@pytest.mark.parametrize("password", ["Abc123", "aaaaaaaaaaaaaaaaaa1"])
def test_weak_new_password_is_refused(server, person, password):
    someone = person()
    done = answered(server, someone, "passwd", PASSWORD, *[password] * 6)
    assert (done.succeeded, "BAD PASSWORD" in done.stderr + done.stdout) == (False, True), done.stderr


def test_good_new_password_costs_who_guesses(server, person):
    if server.host.system_info.codename == "noble":
        pytest.skip("PAM of Ubuntu 24.04 doesn't read the cost from login.defs")
    someone = person()
    done = answered(server, someone, "passwd", PASSWORD, *["ride 4 camels to Kyoto"] * 2)
    assert done.succeeded, done.stderr
    # yescrypt's parameters; by default they are j9T
    assert server.host.run("getent shadow %s", someone.name).stdout.split(":")[1].startswith("$y$jBT$")


# What else is to run here


@pytest.mark.usefixtures("profile")
def test_git_works_over_ssh(server, person, package, tmp_path):
    package("git")
    someone = person()
    assert ssh(server, someone, "git init --quiet --bare shop.git").returncode == 0
    *words, target = ssh_words(server, someone)
    script = f"""
        git clone --quiet {target}:shop.git shop && cd shop
        git -c user.name=a -c user.email=a@b commit --quiet --allow-empty --message=first
        git push --quiet origin HEAD
    """
    done = subprocess.run(
        ["sh", "-ec", script],
        cwd=tmp_path,
        # scp's way to name a place has no port.
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "GIT_SSH_COMMAND": shlex.join(words)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert ssh(server, someone, "git -C shop.git log --format=%s --all").stdout == "first\n"


@pytest.fixture
def package(server):
    """package("cron") installs it, and takes it away in the end."""
    installed = []
    apt = "DEBIAN_FRONTEND=noninteractive apt-get --yes --quiet=2 --no-install-recommends"

    def package(name):
        installed.append(name)
        done = server.host.run(f"{apt} install {name}")
        assert done.succeeded, done.stdout + done.stderr

    yield package
    for name in installed:
        done = server.host.run(f"{apt} purge --autoremove {name}")
        assert done.succeeded, done.stdout + done.stderr


@pytest.mark.usefixtures("profile")
def test_apt_installs_and_removes_a_package_that_runs_scripts(server, package):
    package("cron")
    assert server.host.service("cron").is_running


def test_docker_can_be_installed(server):
    """What would be done: its daemon can't run in a container. What it needs of the server is tried below."""
    done = server.host.run("apt-get --simulate --no-install-recommends install docker.io")
    assert "Inst docker.io" in done.stdout, done.stderr
    assert "\nRemv " not in done.stdout


def test_forwarding_for_docker_outlives_what_the_server_sets(server, profile):
    server.host.run("sysctl --write net.ipv4.ip_forward=1 || echo 1 > /proc/sys/net/ipv4/ip_forward")
    server.host.run("/usr/lib/systemd/systemd-sysctl")
    after = server.host.file("/proc/sys/net/ipv4/ip_forward").content_string.strip()
    assert after == ("0" if profile == "strict" else "1")
    # Which the kernel itself switches on when forwarding goes off.
    assert server.host.file("/proc/sys/net/ipv4/conf/all/accept_redirects").content_string.strip() == "0"


def test_rules_of_docker_outlive_a_reload_of_the_firewall(server):
    try:
        assert server.host.run("nft add table ip docker_test '{ chain forward { counter; } ; }'").succeeded
        assert server.host.run("systemctl reload nftables").succeeded
        assert "counter" in server.host.run("nft list table ip docker_test").stdout
    finally:
        server.host.run("nft delete table ip docker_test")


def test_root_of_mysql_comes_in_by_the_socket_after_a_second_run(server, play):
    built(play("database"))
    assert (
        server.host.run("mysql --batch --skip-column-names --execute='SELECT CURRENT_USER()'").stdout
        == "root@localhost\n"
    )


# Updates


def test_unattended_upgrade_would_do_its_work(server):
    done = server.host.run("unattended-upgrade --dry-run --debug")
    assert done.succeeded, done.stdout[-2000:] + done.stderr[-2000:]
    assert "Allowed origins are" in done.stdout + done.stderr


# Who notices


@pytest.fixture
def look(server):
    """look() takes a look at the files, and returns whether all was well and what it said; at the end, all is well."""

    def look():
        done = server.host.run("systemctl start sanso-integrity")
        invocation = server.host.run("systemctl show sanso-integrity --property=InvocationID --value").stdout.strip()
        said = server.host.run(f"journalctl _SYSTEMD_INVOCATION_ID={invocation} --output=cat --no-pager").stdout
        return done.succeeded, said

    yield look
    server.host.run("systemctl reset-failed sanso-integrity; systemctl start sanso-integrity")


def test_altered_program_is_an_alarm_until_it_is_mended(server, look):
    path = server.host.run("readlink -f /usr/bin/prlimit").stdout.strip()
    server.host.run(f"cp --archive {path} {path}.kept && echo >> {path}")
    try:
        well, said = look()
    finally:
        server.host.run(f"mv {path}.kept {path}")
    assert (well, f"not what its package brought: {path}" in said) == (False, True), said
    assert look()[0]


def test_changed_setting_is_told_once(server, look):
    look()
    server.host.run("touch /etc/somebody-was-here")
    try:
        assert "added since the last look: /etc/somebody-was-here" in look()[1]
        assert "somebody-was-here" not in look()[1]
    finally:
        server.host.run("rm /etc/somebody-was-here")
