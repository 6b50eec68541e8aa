#!/usr/bin/python
"""Make, mend or remove a local machine: a systemd system in a systemd-nspawn container over a cached base image."""

from __future__ import annotations

DOCUMENTATION = r"""
module: machine
short_description: A VM-like machine on this computer
description:
  - A machine is a systemd-nspawn container that boots its own systemd over an overlay of a cached base image. It has an
    address on a bridge, an SSH server with host keys of its own, and one user who may use sudo.
  - What has been built on a machine can be kept as a stage, from which the machine can be made again in seconds.
  - Runs as root on the computer that is to hold the machine.
options:
  name: {description: Name of the machine; also its host name., type: str, required: true}
  state:
    description: >-
      present, it runs; restarted, it was shut down and started; renewed, it was removed and made anew; saved, it was
      shut down and is a stage now; absent, it is gone; forgotten, its stages are gone too.
    type: str
    choices: [present, restarted, renewed, saved, absent, forgotten]
    default: present
  stage: {description: The stage that it is made from or saved as; empty is the bare image., type: str, default: ""}
  address: {description: Its IPv4 address inside subnet., type: str, required: true}
  subnet: {description: The network of all machines; its first address is this computer., type: str, required: true}
  bridge: {description: Name of the bridge., type: str, required: true}
  image: {description: A name of the catalogue, or auto., type: str, default: auto}
  catalogue: {description: The images that can be built (see the role's defaults)., type: dict, default: {}}
  directory: {description: Where images and machines are kept., type: path, required: true}
  user: {description: The machine's user., type: str, required: true}
  authorized_key: {description: The public key that opens it., type: str, default: ""}
  known_as: {description: Its names in this computer's /etc/hosts., type: list, elements: str, default: []}
"""

RETURN = r"""
action:
  description: created, started (it was there, not running), unchanged, saved, removed
  type: str
  returned: always
image: {description: The image that the machine was made from., type: str, returned: when present}
notice: {description: What a person should know about the choice of image., type: str, returned: when present}
"""

import contextlib
import errno
import ipaddress
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.sanso_host import MachineError, Network, is_locked, lock, run, set_names, succeeds
from ansible.module_utils.sanso_image import choose, ensure, require_space

BOOT_SECONDS = 60  # 1.5 s is usual; a computer that is busy elsewhere takes longer
ANSWER_SECONDS = 20  # who has asked sshd too often is refused for 15 (PerSourcePenalties)
HALT_SECONDS = 60  # MySQL takes the most of it
HALT = signal.SIGRTMIN + 4  # systemd shuts down in order
# Of apt, below a machine's root.
ARCHIVES, LISTS, STAMP = "var/cache/apt/archives", "var/lib/apt/lists", "var/lib/apt/periodic/update-success-stamp"
CGROUPS = [Path("/sys/fs/cgroup", at) for at in (".", "unified", "systemd")]


class Machine:
    """One machine and what belongs to it on disk, below `directory`/machines/<name>:

    machine.json  written last, once SSH has answered: what has none is half-made and is made anew
    upper, work   the machine's own files, over the image
    root          where the two are mounted
    console.log   what the machine said while booting
    known_hosts   its SSH host key, for the user's SSH client

    Its stages lie in `directory`/stages/<name>/<stage>: `upper` over the `lower` that stage.json names, written last.
    What apt fetched for any of them lies in `packages` beside them, and above them in each machine that is made: it can
    be built again without a network.
    """

    def __init__(self, params):
        self.name, self.address = params["name"], params["address"]
        self.subnet = ipaddress.ip_network(params["subnet"])
        self.base = Path(params["directory"])
        self.home = self.base / "machines" / self.name
        self.root, self.record_file = self.home / "root", self.home / "machine.json"
        self.stages = self.base / "stages" / self.name
        self.packages = self.stages / "packages"
        self.network = Network(params["bridge"], self.subnet, self.base / "ip_forward")
        # Held, by several at once, from when the bridge is there until a machine is plugged in.
        self.network_awaited = self.base / "network-awaited.lock"
        self.params = params

    # What it is now

    @property
    def record(self):
        """What machine.json holds ({image, address, key}), or {} for a machine that was never finished."""
        return read_record(self.record_file)

    @property
    def nspawn(self):
        """The process id of the machine's systemd-nspawn, or None: found by its arguments, so never another's."""
        ours = {f"--machine={self.name}", f"--directory={self.root}"}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                arguments = set((entry / "cmdline").read_text().split("\0"))
            except OSError:  # it ended while we looked
                continue
            if ours <= arguments and any(argument.endswith("systemd-nspawn") for argument in arguments):
                return int(entry.name)
        return None

    def console_tail(self):
        try:
            return "\n".join((self.home / "console.log").read_text(errors="replace").splitlines()[-12:])
        except FileNotFoundError:
            return "(it wrote nothing)"

    def answers(self):
        """Tell whether an SSH server speaks at the machine's address."""
        try:
            with socket.create_connection((self.address, 22), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def serves(self):
        """Tell whether it runs and answers. A busy one has some seconds for it; one that shuts down ends meanwhile."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while self.nspawn:
            if self.answers():
                return True
            if time.monotonic() > deadline:
                break
            time.sleep(0.5)
        return False

    # What can be made of it

    def present(self):
        self.check_request()
        with lock(self.base / "machines" / f".{self.name}.lock"):
            record, stage = self.record, self.stage
            if self.params["state"] == "renewed":
                self.remove()
                record = {}
            elif self.params["state"] == "restarted":
                self.halt()
            if record:
                self.check_same(record)
                image, notice = record["image"], ""
            else:
                if stage:
                    self.check_same(stage)
                    image, notice = stage["image"], ""
                else:
                    image, notice = choose(self.params["image"], self.params["catalogue"], self.base)
                self.remove()  # what a run that was broken off left
            if record and self.serves():
                action = "unchanged"
            else:
                require_space(self.base)
                recipe = self.params["catalogue"].get(image)
                lower = (record or stage).get("lower") or str(ensure(image, recipe, self.base))
                if not record:
                    lower = self.with_packages(lower)
                with contextlib.ExitStack() as waiting:
                    with lock(self.base / "network.lock"):
                        self.check_address()
                        self.network.create()
                        waiting.enter_context(lock(self.network_awaited, shared=True))
                    self.stop()
                    try:
                        self.boot(lower, stage if not record else None)
                    except MachineError:
                        self.stop()  # its files stay, for a look; without a record the next run makes it anew
                        raise
                action = "started" if record else "created"
                mine = {
                    "image": image,
                    "lower": lower,
                    "stage": record.get("stage", self.params["stage"]),
                    "address": self.address,
                    "key": self.params["authorized_key"],
                }
                write_record(self.record_file, mine)
            with lock(self.base / "network.lock"):
                named = set_names(self.name, self.address, self.params["known_as"])
        return {"action": action, "image": image, "notice": notice, "changed": action != "unchanged" or named}

    @property
    def stage(self):
        """What the stage that is asked for was made of, or {} for the bare image."""
        name = check_stage(self.params["stage"])
        stage = read_record(self.stages / name / "stage.json") if name else {}
        if name and not stage:
            raise MachineError(f"the machine {self.name} has no stage {name}; build the machine, then save it as one")
        return stage

    def saved(self):
        """Shut the machine down and keep its files, as a stage."""
        target = self.stages / check_stage(self.params["stage"])
        with lock(self.base / "machines" / f".{self.name}.lock"):
            record = self.record
            if not record or not self.params["stage"]:
                raise MachineError(f"{self.name}: a machine that exists is saved, and under a name (machine_stage)")
            if target.exists():
                raise MachineError(f"the machine {self.name} has a stage {target.name} already; machines are over it")
            self.halt()
            new = target.with_name(f".{target.name}.new")
            shutil.rmtree(new, ignore_errors=True)  # of a run that was broken off
            new.mkdir(parents=True)
            (self.home / "upper").rename(new / "upper")
            known = (self.home / "known_hosts").read_text()
            lower = f"{target / 'upper'}:{record['lower']}"
            write_record(new / "stage.json", {**record, "lower": lower, "known_hosts": known})
            self.keep_packages(new / "upper")
            new.rename(target)
            self.remove()
        return {"action": "saved", "changed": True}

    def keep_packages(self, upper):
        """Keep what apt has fetched: the packages, and the lists that they are in."""
        for package in (upper / ARCHIVES).glob("*.deb"):
            kept = self.packages / ARCHIVES / package.name
            kept.parent.mkdir(parents=True, exist_ok=True)
            if not kept.exists():
                os.link(package, kept)
        if (upper / LISTS).is_dir():
            shutil.copytree(upper / LISTS, self.packages / LISTS, copy_function=shutil.copy2, dirs_exist_ok=True)

    def with_packages(self, lower):
        """The layers of a new machine, with the packages above them; apt takes their lists for today's."""
        if not self.packages.exists():
            return lower
        stamp = self.packages / STAMP
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.touch()
        others = [layer for layer in lower.split(":") if layer != str(self.packages)]
        return ":".join([str(self.packages), *others])

    def forgotten(self):
        gone = self.absent()
        with lock(self.base / "machines" / f".{self.name}.lock"):
            existed = self.stages.exists()
            if existed:
                shutil.rmtree(self.stages)
        return {**gone, "changed": gone["changed"] or existed}

    def absent(self):
        with lock(self.base / "machines" / f".{self.name}.lock"):
            existed = self.home.exists() or self.nspawn is not None
            self.remove()
        with lock(self.base / "network.lock"):
            named = set_names(self.name, self.address, [])
            if not self.network.is_used and not is_locked(self.network_awaited):
                self.network.remove()
        return {"action": "removed" if existed else "unchanged", "changed": existed or named}

    def check_request(self):
        if ipaddress.ip_address(self.address) not in self.subnet or self.address == self.network.gateway:
            raise MachineError(f"{self.name}: {self.address} is not a free address of {self.subnet} (machine_subnet)")
        if not self.params["authorized_key"]:
            raise MachineError(f"{self.name}: authorized_key is empty, and nobody could log in")

    def check_same(self, record):
        """A machine that exists is kept as it is: asking for another one under its name is an error."""
        wanted = {"address": self.address, "key": self.params["authorized_key"], "image": self.params["image"]}
        words = {"address": "has the address", "key": "is opened by the SSH key", "image": "was made from the image"}
        for key, value in wanted.items():
            if value not in (record[key], "auto"):
                raise MachineError(
                    f"the machine {self.name} exists and {words[key]} {record[key]}, not {value}; "
                    "remove it first (./sanso down), or name another one"
                )

    def check_address(self):
        for other in (self.base / "machines").glob("*/machine.json"):
            if other != self.record_file and read_record(other).get("address") == self.address:
                raise MachineError(
                    f"{self.address} belongs to the machine {other.parent.name}; choose another ansible_host"
                )

    def boot(self, lower, stage):
        """Mount, start, and wait until its SSH server speaks.

        lower: the layers below its own files, the upper one first. stage: None for a machine that was there; else what
        it is made from, where {}, the bare image, knows nothing yet of what makes this machine this one.
        """
        for part in ("upper", "work", "root"):
            (self.home / part).mkdir(parents=True, exist_ok=True)
        layers = f"lowerdir={lower},upperdir={self.home / 'upper'},workdir={self.home / 'work'}"
        run("mount", "-t", "overlay", "overlay", "-o", layers, str(self.root))
        if stage:
            (self.home / "known_hosts").write_text(stage["known_hosts"])
        elif stage is not None:
            self.personalize()
        resolver = Path(
            "/run/systemd/resolve/resolv.conf"
        )  # the one without the stub, which only this computer reaches
        target = self.root / "etc/resolv.conf"
        target.unlink(missing_ok=True)
        target.write_text((resolver if resolver.exists() else Path("/etc/resolv.conf")).read_text())
        self.start()
        deadline = time.monotonic() + BOOT_SECONDS
        while not self.answers():
            if self.nspawn is None:
                raise MachineError(
                    f"the machine {self.name} ended while booting; its console said:\n{self.console_tail()}"
                )
            if time.monotonic() > deadline:
                raise MachineError(
                    f"{self.name}: no SSH after {BOOT_SECONDS} s; its console said:\n{self.console_tail()}"
                )
            time.sleep(0.05)

    def personalize(self):
        user, key = self.params["user"], self.params["authorized_key"]
        self.write("etc/hostname", f"{self.name}\n")
        self.write("etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n::1 localhost\n")
        self.write(
            "etc/systemd/network/20-host0.network",
            f"[Match]\nName=host0\n\n[Network]\nAddress={self.address}/{self.subnet.prefixlen}\nGateway={self.network.gateway}\n",
        )
        run("useradd", "--root", str(self.root), "--create-home", "--shell", "/bin/bash", user)
        self.write(f"etc/sudoers.d/{user}", f"{user} ALL=(ALL) NOPASSWD: ALL\n", 0o440)
        keys = self.root / "home" / user / ".ssh/authorized_keys"
        self.write(keys.relative_to(self.root), f"{key}\n", 0o600)
        owner = keys.parent.parent.stat()
        for path in (keys.parent, keys):
            os.chown(path, owner.st_uid, owner.st_gid)
        keys.parent.chmod(0o700)
        run("ssh-keygen", "-A", "-f", str(self.root))
        public = (self.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()
        (self.home / "known_hosts").write_text(f"{self.address} {public[0]} {public[1]}\n")

    def write(self, path, text, mode=0o644):
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def start(self):
        command = [
            "systemd-nspawn",
            "--quiet",
            "--boot",
            f"--machine={self.name}",
            f"--directory={self.root}",
            f"--network-bridge={self.network.name}",
            "--resolv-conf=off",
            "--timezone=off",
            "--link-journal=no",
            "--console=pipe",
            "--register=no",
            "--keep-unit",
        ]
        log = self.home / "console.log"
        if Path("/run/systemd/system").is_dir():  # systemd keeps the machine, in a unit and a cgroup of its own
            log.write_text("")
            properties = ["Delegate=yes", "KillMode=mixed", "SuccessExitStatus=133", f"StandardOutput=file:{log}"]
            unit = [f"--property={each}" for each in properties]
            run("systemd-run", "--quiet", "--collect", f"--unit=sanso-{self.name}", *unit, *command)
            return
        # Without systemd, we do what it would: a session and a cgroup of its own. All machines in one cgroup would take
        # each other's units for theirs, and stop them.
        groups = [at / f"sanso-{self.name}" for at in CGROUPS if (at / "cgroup.procs").exists()]
        for group in groups:
            group.mkdir(exist_ok=True)

        def enter():
            for group in groups:
                (group / "cgroup.procs").write_text(str(os.getpid()))

        with log.open("w") as console:
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                preexec_fn=enter,
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )

    def halt(self):
        """Shut the machine down in order, and unmount it. Its files stay."""
        process = self.nspawn
        if process and not self.end(process, HALT, HALT_SECONDS):
            raise MachineError(
                f"{self.name} runs {HALT_SECONDS} s after it was told to shut down:\n{self.console_tail()}"
            )
        self.stop()

    def end(self, process, number, seconds):
        """Signal the machine's own PID 1, which is nspawn's child. Tell whether it ended, and all inside with it."""
        for child in Path(f"/proc/{process}/task/{process}/children").read_text().split():
            os.kill(int(child), number)
        deadline = time.monotonic() + seconds
        while Path(f"/proc/{process}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        return not Path(f"/proc/{process}").exists()

    def stop(self):
        """End the machine at once, and unmount it. Its files stay."""
        process = self.nspawn
        if process and not self.end(process, signal.SIGKILL, 10) and self.nspawn == process:
            os.kill(process, signal.SIGKILL)
        while succeeds("mountpoint", "--quiet", str(self.root)):
            run("umount", "--lazy", str(self.root))
        for at in CGROUPS:
            group = at / f"sanso-{self.name}"
            for inner in [*sorted(group.rglob("*/"), reverse=True), group] if group.exists() else []:
                remove_group(inner)

    def remove(self):
        self.stop()
        if self.home.exists():
            shutil.rmtree(self.home)


def check_stage(name):
    if not re.fullmatch("[a-z0-9-]*", name):
        raise MachineError(f"{name!r} is no name of a stage: small letters, digits and hyphens are")
    return name


def read_record(path):
    """What a machine.json holds, or {} where it is gone or was broken off."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}


def write_record(path, record):
    """Others read it meanwhile."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(record))
    new.rename(path)


def remove_group(group):
    """Remove a cgroup. The kernel may hold on to it for a moment after its last process is gone."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return group.rmdir()
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.05)


STATES = {
    "present": Machine.present,
    "restarted": Machine.present,
    "renewed": Machine.present,
    "saved": Machine.saved,
    "absent": Machine.absent,
    "forgotten": Machine.forgotten,
}


def main():
    options = {
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": list(STATES), "default": "present"},
        "stage": {"type": "str", "default": ""},
        "address": {"type": "str", "required": True},
        "subnet": {"type": "str", "required": True},
        "bridge": {"type": "str", "required": True},
        "image": {"type": "str", "default": "auto"},
        "catalogue": {"type": "dict", "default": {}},
        "directory": {"type": "path", "required": True},
        "user": {"type": "str", "required": True},
        "authorized_key": {"type": "str", "default": "", "no_log": False},
        "known_as": {"type": "list", "elements": "str", "default": []},
    }
    module = AnsibleModule(argument_spec=options)
    machine = Machine(module.params)
    try:
        module.exit_json(**STATES[module.params["state"]](machine))
    except (MachineError, OSError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
