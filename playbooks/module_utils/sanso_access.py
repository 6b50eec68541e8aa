"""What decides who gets in, put on trial on the server; whichever engine asks.

All candidates are validated before the first one replaces what was there. What was there is kept, and returns by itself
within a minute, or at a reboot, unless somebody gets in by a new connection and says that it shall stay: `sanso_trial`
does that on the server, and src/sanso/entrance.py comes in.
"""

from __future__ import annotations

import base64
import pwd
import re
import shlex
import shutil
import tempfile
from pathlib import Path

from ansible.module_utils import sanso_trial
from ansible.module_utils.sanso_render import diff, difference, refuse
from ansible.module_utils.sanso_trial import Change, Failed, Trial, call, is_active, listening, replace, tell, tried

HEADER = "# Managed by Sansō (os_admins): changes made here are lost on the next run.\n"
SSH = Path("/etc/ssh")
MAKING_A_KEY = 300  # s, on the slowest server
# What sshd -T says in other words than the settings do.
SAME = {"without-password": "prohibit-password", "true": "yes", "false": "no"}
# Each line of these adds to the others; the rest is decided by the first line.
ADDING = {
    "acceptenv",
    "allowgroups",
    "allowusers",
    "denygroups",
    "denyusers",
    "hostkey",
    "listenaddress",
    "port",
    "setenv",
}


# What shall be


def described(files):
    """The role's files as changes."""
    for file in files:
        content = file["content"].encode() if file["state"] == "present" else None
        yield Change(Path(file["path"]), content, int(file["mode"], 8))


def keys_of(admin):
    """The file that lets an admin in. Who isn't there yet will be: see make_user."""
    user = pwd.getpwnam(admin["name"])
    content = HEADER + "".join(f"{key.strip()}\n" for key in admin["keys"])
    return Change(Path(user.pw_dir, ".ssh/authorized_keys"), content.encode(), 0o600, user.pw_uid, user.pw_gid)


def exists(admin):
    try:
        return bool(pwd.getpwnam(admin["name"]))
    except KeyError:
        return False


def make_user(admin):
    # No password fits "*"; unlike a locked account, keys still open it under every PAM setup.
    call("useradd", "--create-home", "--shell", "/bin/bash", "--password", "*", admin["name"])


def rsa_size(public):
    """The bits of an RSA public key, as OpenSSH writes it; 0 where there is none."""
    try:
        blob = base64.b64decode(public.read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    parts = []
    while blob:
        size = int.from_bytes(blob[:4], "big")
        parts.append(blob[4 : 4 + size])
        blob = blob[4 + size :]
    return int.from_bytes(parts[2], "big").bit_length() if len(parts) == 3 else 0


def host_keys(bits):
    """Which kinds of host keys are to be made, and which files are to go."""
    wanted = []
    if rsa_size(SSH / "ssh_host_rsa_key.pub") < bits or not (SSH / "ssh_host_rsa_key").exists():
        wanted.append("rsa")
    if not (SSH / "ssh_host_ed25519_key").exists():  # one that is there never changes: it is what clients know us by
        wanted.append("ed25519")
    weak = [SSH / f"ssh_host_{kind}_key{end}" for kind in ("dsa", "ecdsa") for end in ("", ".pub")]
    return wanted, [Change(path, None) for path in weak if path.exists()]


def new_host_key(kind, bits):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"ssh_host_{kind}_key")
        size = ["-b", str(bits)] if kind == "rsa" else []
        call("ssh-keygen", "-q", "-t", kind, *size, "-N", "", "-f", str(path), seconds=MAKING_A_KEY)
        public = path.with_suffix(".pub")
        return [Change(SSH / path.name, path.read_bytes(), 0o600), Change(SSH / public.name, public.read_bytes())]


def moduli():
    """The groups for a key exchange that are long enough, in a file of our own: the package's own one stays as it was,
    or its next update would stop and ask."""
    lines = (SSH / "moduli").read_text().splitlines(keepends=True) if (SSH / "moduli").exists() else []
    good = [line for line in lines if line.startswith("#") or int(line.split()[4]) >= 3071]
    return Change(SSH / "moduli.sanso", "".join(good).encode())


# Whether it can be


def refusal(file, changes):
    """What its validation says against a file; empty if it is good."""
    command = shlex.split(file["validate"])
    if not command or file["state"] == "absent":
        return ""
    with tempfile.TemporaryDirectory() as folder:
        if not file["within"]:
            candidate = Path(folder, Path(file["path"]).name)
            candidate.write_text(file["content"])
            return tried([word.replace("%s", str(candidate)) for word in command])[0]
        within = Path(file["within"])
        copy = Path(folder, "copy")
        shutil.copytree(within, copy, symlinks=True)
        for change in changes:
            if change.path.is_relative_to(within):
                path = copy / change.path.relative_to(within)
                Change(path, change.content, change.mode, change.uid, change.gid).make()
        # Only this command sees the copy in the folder's place.
        script = 'mount --bind "$0" "$1" && shift && exec "$@"'
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd wants it, and has none while nobody is logged in
        said, out = tried(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, str(copy), str(within), *command]
        )
        return said or overridden(file["content"], out)


def overridden(content, effective):
    """Which lines of our drop-in sshd doesn't go by: it takes the first value that it meets, and another file may be
    read before this one, or instead of it. `effective`: what sshd -T says."""
    found = {}
    for line in effective.splitlines():
        name, _, value = line.partition(" ")
        found.setdefault(name.lower(), []).append(SAME.get(value.strip().lower(), value.strip().lower()))
    said, seen = [], set()
    for line in content.splitlines():
        name, _, value = line.strip().partition(" ")
        name, value = name.lower(), value.strip().lower()
        if name == "match":
            break
        if not name or name.startswith("#") or name not in found or (name in seen and name not in ADDING):
            continue
        seen.add(name)
        # What sshd -T writes in other words than we (lists, times) is not compared.
        comparable = name not in ADDING and " " not in value and not re.match(r"[+^-]|\d+[smhdw]", value)
        if comparable and SAME.get(value, value) not in found[name]:
            said.append(f"{line.strip()} (sshd goes by {found[name][0]})")
    if not said:
        return ""
    return (
        "sshd would not go by " + "; ".join(said) + ": look for these words in /etc/ssh/sshd_config, before its Include"
    )


# Doing it


def not_running(services):
    """Those that don't run now, or wouldn't after a boot."""
    if not services:
        return set()
    units = [f"{name}.service" for name in services]
    out = call("systemctl", "show", "--property=Id,ActiveState,UnitFileState", *units)
    fine = [block for block in out.split("\n\n") if "ActiveState=active" in block and "UnitFileState=enabled" in block]
    return {name for name in services if not any(f"Id={name}.service" in block for block in fine)}


def shown(changes, new_users, new_keys, idle):
    """As Ansible shows a diff. What a private key holds is nobody's business."""
    for change in changes:
        if "ssh_host_" in change.path.name or change.path.name == "moduli.sanso":
            before = "(one)\n" if change.path.exists() else ""
            yield diff(str(change.path), before, "(a new one)\n" if change.content else "")
        else:
            yield difference(change)
    for name in new_users:
        yield diff(f"user {name}", "", "made\n")
    for kind in new_keys:
        yield diff(str(SSH / f"ssh_host_{kind}_key"), "", "(a new one)\n")
    for name in idle:
        yield diff(f"{name}.service", "stopped, or not started at boot\n", "running, now and at boot\n")


def run(arguments: dict, checking: bool) -> dict:
    """Put on trial what differs: `files` (each with path, content, state, mode, validate, within), the keys of `admins`
    (name, keys), `services` that have to run, and the length of the RSA host key (`rsa_bits`). The result's `on_trial`
    tells whether somebody has to come in with the `token` and confirm."""
    trial = Trial()
    if checking:
        return work(arguments, checking, trial)
    with trial.lock():
        trial.refuse_a_second()
        return work(arguments, checking, trial)


def work(wanted, checking, trial):
    users = [admin for admin in wanted["admins"] if not exists(admin)]
    every = [*described(wanted["files"]), *(keys_of(admin) for admin in wanted["admins"] if admin not in users)]
    new_keys = []
    if SSH.exists():  # in a check of a virgin server it need not
        new_keys, gone = host_keys(wanted["rsa_bits"])
        every += [*gone, moduli()]
    changes = [change for change in every if not change.is_made]
    idle = not_running([name for name in wanted["services"] if not checking or has_unit(name)])
    names = [admin["name"] for admin in users]
    paths = [str(change.path) for change in changes] + [str(SSH / f"ssh_host_{kind}_key") for kind in new_keys]
    result = {"changed": bool(changes or names or new_keys or idle), "on_trial": False, "paths": paths}
    result["diff"] = list(shown(changes, names, new_keys, idle))
    if not result["changed"]:
        return result
    if not checking:
        changes += [change for kind in new_keys for change in new_host_key(kind, wanted["rsa_bits"])]
    validate([file for file in wanted["files"] if file["path"] in paths], changes, checking)
    if checking:
        return result
    for admin in users:
        make_user(admin)
        changes.append(keys_of(admin))
        paths.append(str(changes[-1].path))
    install(trial, wanted["token"], changes, idle)
    return {**result, "on_trial": True}


def has_unit(name):
    return any(
        Path(folder, f"{name}.service").exists() for folder in ("/usr/lib/systemd/system", "/etc/systemd/system")
    )


def validate(files, changes, checking):
    for file in files:
        command = shlex.split(file["validate"])
        if checking and command and not shutil.which(command[0], path="/usr/sbin:/usr/bin:/sbin:/bin"):
            continue
        refuse(file["path"], refusal(file, changes))


def install(trial, token, changes, idle):
    services = {change.service for change in changes if change.service} | idle
    before = listening()
    try:
        trial.begin(token, changes, services, sanso_trial.__loader__.get_source(sanso_trial.__name__))
        replace(changes)
        tell(services, moved=listening() != before)
        if not is_active("ssh.service") and not is_active("ssh.socket"):
            raise Failed("no SSH server would be left running")
    except (Failed, OSError) as error:
        result = trial.back()
        problems = result.get("problems")  # nothing was begun: nothing to put back
        left = f"; but: {'; '.join(problems)}" if problems else ""
        raise Failed(f"{error}\nThe old settings were put back{left}.") from error
