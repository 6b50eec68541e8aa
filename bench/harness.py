"""What the benches share: machines of their own, Ansible and SSH on them, and an end that leaves nothing behind."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from shlex import join

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))
try:
    from sanso import digest, inventory, pyinfra
    from sanso.console import Failure
    from sanso.ssh import CONTROL, Way
except ModuleNotFoundError as missing:
    print(f"{missing}. ./sanso makes .venv; then: PATH={ROOT}/.venv/bin:$PATH {sys.argv[0]}", file=sys.stderr)
    sys.exit(3)

BENCH, CONFIG = ROOT / "bench", ROOT / "ansible.cfg"
UNITS = {"nginx": "nginx", "app": "app-{app}@current", "mysqld": "mysql"}
CONNECTIONS = 4
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class CouldNotMeasure(Exception):
    """What went wrong, in the words of the program that failed."""


@dataclass(frozen=True)
class Play:
    """One run. `ok`: tasks or operations on each host, those that changed something included, as in Ansible's recap."""

    seconds: float
    ok: int | None = None
    changed: int | None = None  # on all hosts together
    skipped: int | None = None
    tasks: tuple[tuple[float, str], ...] = ()  # seconds and name, the slowest first


# Programs


def call(command: list, **options) -> str:
    """Run a command and return what it printed. If we are interrupted, it is ended, with its children."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # In a session of its own: a Ctrl-C comes to us alone, and we decide what ends.
    with subprocess.Popen(command, **{**streams, **options}, cwd=ROOT, text=True, start_new_session=True) as process:
        try:
            out, err = process.communicate()
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            raise
    if process.returncode:
        said = "\n".join([*failures(out or ""), err.strip()])
        raise CouldNotMeasure(f"{join(map(str, command))} failed with {process.returncode}:\n{said}")
    return out


def events(out: str) -> list[dict]:
    """What the callback ansible.posix.jsonl reported."""
    return [json.loads(line) for line in out.splitlines() if line.startswith('{"_event"')]


def told_by(command: list) -> tuple[str, list[tuple[float, dict]]]:
    """What pyinfra printed, and its events (sanso.run), each with when it came."""
    read_end, write_end = os.pipe()
    with os.fdopen(read_end) as lines, ThreadPoolExecutor(1) as pool:
        hearing = pool.submit(lambda: [(time.monotonic(), json.loads(line)) for line in lines])
        try:
            environment = {**pyinfra.environment(write_end), "ANSIBLE_CONFIG": str(CONFIG), "LC_ALL": "C.UTF-8"}
            out = call(command, env=environment, pass_fds=[write_end])
        finally:
            os.close(write_end)
        return out, hearing.result()


def operation_times(began: float, told: list[tuple[float, dict]]) -> list[tuple[float, str]]:
    """How long pyinfra was at each operation, the slowest first: until it came to the next one, or was at its end."""
    begun = [(began, "its own start"), *((at, name_of(event)) for at, event in told if event["event"] == "task")]
    ends = [*(at for at, _ in begun[1:]), max((at for at, _ in told), default=began)]
    return sorted(((round(end - at, 2), name) for (at, name), end in zip(begun, ends, strict=True)), reverse=True)


def name_of(event: dict) -> str:
    return f"{event['layer']} | {event['name']}"


def failures(out: str) -> list[str]:
    return [
        f"{event['task']['name']}: {result.get('msg', '')} {result.get('stderr', '')}"
        for event in events(out)
        if event["_event"] in ("v2_runner_on_failed", "v2_runner_on_unreachable")
        for result in event["hosts"].values()
    ]


def end(number, _):
    sys.exit(128 + number)


@contextlib.contextmanager
def uninterrupted():
    """Finish what is inside, whatever signal comes. Not SIG_IGN: what we start would inherit it."""
    before = {number: signal.signal(number, lambda *_: None) for number in ENDINGS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# The machines


class Machines:
    """The machines of bench/inventory. `image`: what they are made from."""

    def __init__(self, image: str):
        self.image = image
        self.hosts = inventory.read(BENCH / "inventory").hosts

    def play(self, playbook: str, *hosts: str, **variables: str) -> Play:
        """Run a playbook, over connections of its own: what another run left open would be a head start."""
        with self.place(hosts) as place:
            environment = {
                **os.environ,
                "ANSIBLE_CONFIG": str(CONFIG),
                "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.jsonl",
                "ANSIBLE_SSH_CONTROL_PATH_DIR": str(place / "control"),
                "LC_ALL": "C.UTF-8",
            }
            command = ["ansible-playbook", f"--inventory={place}/hosts.yml", ROOT / playbook]
            command.append(f"--extra-vars={json.dumps(variables)}")
            try:
                began = time.monotonic()
                out = call(command, env=environment)
                seconds = round(time.monotonic() - began, 1)
            finally:
                for connection in (place / "control").glob("*"):
                    subprocess.run(["ssh", "-O", "exit", "-o", f"ControlPath={connection}", "_"], capture_output=True)
        tasks = [
            (seconds_between(**event["task"]["duration"]), event["task"]["name"])
            for event in events(out)
            if event["_event"] == "v2_runner_on_ok"
        ]
        stats = [events(out)[-1]["stats"][host] for host in hosts]
        return Play(
            seconds,
            ok=max(each["ok"] for each in stats),
            changed=sum(each["changed"] for each in stats),
            skipped=max(each["skipped"] for each in stats),
            tasks=tuple(sorted(tasks, reverse=True)),
        )

    def deploy(self, *hosts: str, **variables: str) -> Play:
        """Run pyinfra on all layers, over connections of its own too."""
        self.hang_up(hosts)
        with self.place(hosts) as place:
            (place / "variables.json").write_text(json.dumps(variables))
            command = ["pyinfra", "-y", "--json", "--data", f"variables={place}/variables.json"]
            command += [f"@sanso/{place}/hosts.yml", pyinfra.SITE]
            began = time.monotonic()
            out, told = told_by(command)
            seconds = round(time.monotonic() - began, 1)
        operations = json.loads(out)["results"]["operations"]
        changed = sum(len(each["success"]) for each in operations)
        on_one = max(sum(host in each["success"] + each["no_change"] for each in operations) for host in hosts)
        return Play(seconds, ok=on_one, changed=changed, tasks=tuple(operation_times(began, told)))

    @contextlib.contextmanager
    def place(self, hosts: tuple[str, ...]) -> Iterator[Path]:
        """A folder for a run, with an inventory of these hosts alone: every other one would cost it time."""
        described = {"hosts": {host: {"ansible_host": self.hosts[host].address} for host in hosts}}
        groups = self.hosts[hosts[0]].groups - {"all", "ungrouped"}  # the others' too
        # In /tmp, for the path of a socket can't be long.
        with tempfile.TemporaryDirectory(prefix="sanso-", dir="/tmp") as folder:
            place = Path(folder)
            (place / "hosts.yml").write_text(json.dumps({"all": {"children": dict.fromkeys(groups, described)}}))
            (place / "group_vars").symlink_to(BENCH / "inventory/group_vars")
            yield place

    def hang_up(self, hosts: tuple[str, ...]):
        """End the connections that pyinfra and a digest leave open."""
        for host in hosts:
            command = Way.to(self.hosts[host]).command("-O", "exit", "-o", f"ControlPath={CONTROL}/sanso-%C")
            subprocess.run(command, capture_output=True)

    @contextlib.contextmanager
    def machine(self, *hosts: str):
        """Fresh machines, gone at the end."""
        machines = "playbooks/machines.yml"
        try:
            self.play(machines, *hosts, machine_state="absent")  # left by a run that was killed
            self.play(machines, *hosts, machine_image=self.image)
            yield
        finally:
            with uninterrupted():
                self.hang_up(hosts)
                self.play(machines, *hosts, machine_state="absent")

    def ssh(self, host: str, command: str, **options) -> str:
        """Run a command as root."""
        return call([*Way.to(self.hosts[host]).command("-T", "-o", "BatchMode=yes"), "sudo", command], **options)


class Served(Machines):
    """Machines that serve the sample app, asked for its pages over some connections at once. `host`: one of them."""

    def __init__(self, image: str, host: str):
        super().__init__(image)
        self.app = self.hosts[host].get("apps")[0]
        self.name = self.app["server_names"][0]
        self.units = [unit.format(app=self.app["name"]) for unit in UNITS.values()]
        self.context = ssl.create_default_context()
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE

    def connection(self, host: str) -> http.client.HTTPConnection:
        connection = http.client.HTTPSConnection(self.name, context=self.context)
        connection.sock = self.context.wrap_socket(
            socket.create_connection((self.hosts[host].address, 443), 10), server_hostname=self.name
        )
        return connection

    def load(self, host: str, path: str, requests: int) -> float:
        """So many requests, over some connections at once; the seconds that they took."""

        def one_after_another(_):
            with contextlib.closing(self.connection(host)) as connection:
                for _ in range(requests // CONNECTIONS):
                    if (status := self.get(connection, path)) != 200:
                        raise CouldNotMeasure(f"{host} answers {path} with {status}")

        began = time.monotonic()
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(pool.map(one_after_another, range(CONNECTIONS)))
        return time.monotonic() - began

    @staticmethod
    def get(connection, path: str) -> int:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return answer.status

    def cpu(self, host: str) -> Counter:
        """What the kernel counted for each tier's control group since its start, in µs."""
        said = self.ssh(host, f"systemctl show --property=CPUUsageNSec --value {' '.join(self.units)}").split()
        return Counter({tier: int(value) / 1000 for tier, value in zip(UNITS, said, strict=True)})

    def restart(self, host: str):
        """New processes of all tiers, which answer."""
        self.ssh(host, f"systemctl restart {' '.join(self.units)}")
        with contextlib.closing(self.connection(host)) as connection:
            if (status := self.get(connection, self.app["health_path"])) != 200:
                raise CouldNotMeasure(f"{host} answers {self.app['health_path']} with {status} after a restart")


def seconds_between(start: str, end: str) -> float:
    return round((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds(), 2)


def say(text: str):
    print(f"{datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)


def measured(script: Path, measure: Callable[[], dict]) -> dict | None:
    """The report of a script, of which one runs at a time; None where it could not measure, which is said."""
    for number in ENDINGS:
        signal.signal(number, end)
    with script.open() as alone:
        try:
            fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return measure()
        except BlockingIOError:
            print(f"another {script.name} is at work; its machines have these names too", file=sys.stderr)
        except (CouldNotMeasure, digest.CouldNotDigest, Failure, OSError) as error:
            print(f"could not measure: {error}", file=sys.stderr)
    return None
