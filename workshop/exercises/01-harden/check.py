"""The hardened operating system, by what is in force: not by what stands in a file."""

import json
import re
import subprocess

from evidence import CouldNotCheck

OPEN = {22, 80, 443}
CLOSED = (3306, 8125)
SSHD = {"passwordauthentication": "no", "kbdinteractiveauthentication": "no", "permitemptypasswords": "no"}
SSHD |= {"x11forwarding": "no", "pubkeyauthentication": "yes"}
CLOCKS = ("chrony", "systemd-timesyncd", "ntpsec", "openntpd")


def test_ssh(lab):
    # What the running server offers to a stranger, and what its files will have it do at the next start.
    lab.expect("publickey", offer(lab))
    settings = dict(line.partition(" ")[::2] for line in lab.lines(lab.run(TELL)))
    settings = {name.lower(): {"true": "yes", "false": "no"}.get(said, said) for name, said in settings.items()}
    found = {name: settings.get(name, "not said") for name in SSHD}
    lab.expect(shown(SSHD), shown(found))
    root = settings.get("permitrootlogin", "not said")
    lab.expect(
        "permitrootlogin is prohibit-password or no", root, root in ("prohibit-password", "without-password", "no")
    )


def test_firewall(lab):
    rules = json.loads(lab.run("nft --json list ruleset 2>/dev/null || echo '{}'")).get("nftables", [])
    chains = [each["chain"] for each in rules if each.get("chain", {}).get("hook") == "input"]
    families = {chain["family"] for chain in chains if (chain["type"], chain.get("policy")) == ("filter", "drop")}
    covered = {"ip", "ip6"} if "inet" in families else families
    said = f"it does for {', '.join(sorted(covered & {'ip', 'ip6'})) or 'neither'}"
    lab.expect("the kernel drops what no rule lets in, of IPv4 and IPv6", said, {"ip", "ip6"} <= covered)
    heard = {port: lab.knock(port) for port in (*sorted(OPEN), *CLOSED)}
    right = all((said == "no answer") == (port in CLOSED) for port, said in heard.items())
    lab.expect("22, 80 and 443 are let through, and others get no answer", shown(heard), right)


def test_listeners(lab):
    lines = [line.split() for line in lab.lines(lab.run("ss -Hltn"))]
    ports = {int(line[3].rpartition(":")[2]) for line in lines if not re.match(r"127\.|\[::1\]", line[3])}
    others = ", ".join(map(str, sorted(ports - OPEN)))
    lab.expect(
        "nothing else than SSH, and later nginx, listens for others", f"something listens on {others}", not others
    )


def test_updates(lab):
    jobs = dict(re.findall(r'^APT::Periodic::(\S+) "(.*)";$', lab.run("apt-config dump"), re.MULTILINE))
    timers = lab.run("systemctl is-active apt-daily.timer apt-daily-upgrade.timer").split()
    timers += lab.run("systemctl is-enabled apt-daily.timer apt-daily-upgrade.timer").split()
    found = {
        "refreshed": jobs.get("Update-Package-Lists", "0"),
        "upgraded": jobs.get("Unattended-Upgrade", "0"),
        "timers": " ".join(timers),
        "unattended-upgrade": "there" if lab.succeeds("command -v unattended-upgrade") else "missing",
    }
    wanted = {
        "refreshed": "1",
        "upgraded": "1",
        "timers": "active active enabled enabled",
        "unattended-upgrade": "there",
    }
    lab.expect(shown(wanted), shown(found))


def test_bans(lab):
    said = lab.run("fail2ban-client get sshd actions 2>&1 || true")
    lab.expect("fail2ban watches sshd, and the firewall carries its bans out", said, "nftables" in said)


def test_clock(lab):
    units = " ".join(f"{name}.service" for name in CLOCKS)
    lines = lab.lines(lab.run(f"systemctl list-unit-files --no-legend {units}"))
    enabled = [line.split()[0] for line in lines if line.split()[1] == "enabled"]
    lab.expect("one daemon that sets the clock is started at boot", ", ".join(enabled) or "none", len(enabled) == 1)


TELL = "/usr/sbin/sshd -T -C user=root,host=client.invalid,addr=203.0.113.1"


def offer(lab) -> str:
    """How somebody who has nothing may prove who they are."""
    nothing = ["-o", "PreferredAuthentications=none", "-o", "ControlPath=none", "-o", "BatchMode=yes"]
    words = [*lab.server.way.command(*nothing), "true"]
    said = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False).stderr
    if not (match := re.search(r"Permission denied \((.*)\)", said)):
        raise CouldNotCheck(f"ssh says {said.strip()}")
    return match[1]


def shown(values: dict) -> str:
    return ", ".join(f"{name} {said}" for name, said in values.items())
