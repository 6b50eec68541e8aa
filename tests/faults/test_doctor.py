"""`./sanso doctor` names the one cause of a failure, and what mends it; each is made on the machine, and put right."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sanso import inventory, machines
from sanso.doctor import examine
from sanso.verbs import doctor as verb

ROOT = Path(__file__).parents[2]
UNDO = "sanso-faults-undo"  # the machine's own timer puts it right, too, if this process is killed
MINUTES = 5
LATEST = 60  # s, that something on the machine may take to happen


@dataclass(frozen=True)
class Fault:
    """do, undo: for a shell of the machine's root; {app}, {folder} and {release} are the sample app's.

    kind, cause, fix: which finding it has to be, and words that have to be in it.
    """

    do: str
    undo: str
    kind: str
    cause: str
    fix: str
    path: str = ""  # of the URL; empty: the app's health
    explains: str = ""  # another finding, which it is the cause of


RESTART = (
    "systemctl reset-failed 'app-{app}@current.*'; systemctl restart app-{app}@current.socket app-{app}@current.service"
)
# Stopped first, which waits for its processes: one that is about to fail holds the sockets for another second, and they
# could not be made anew.
NGINX = (
    "systemctl stop nginx.service nginx.socket; systemctl reset-failed nginx.socket nginx.service; "
    "systemctl start nginx.socket nginx.service"
)
# What is written into the release that serves, and taken out again.
INSERTED = "cp --preserve {release}/{file} /root/kept && cat >> {release}/{file} && " + RESTART
TAKEN_OUT = "[ ! -e /root/kept ] || cp --preserve /root/kept {release}/{file}; rm -f /root/kept; " + RESTART
APP, PAGES = "app/src/sample_app/__init__.py", "app/src/sample_app/pages.py"
# Waits until a page of the release has changed for good or bad: its unit says so.
FAILED = "; for i in $(seq 50); do systemctl is-active --quiet app-{app}@current.service || break; sleep 0.2; done"


def code(text: str, file: str = PAGES) -> str:
    """A shell's words that add Python to a file of the release, and restart the app."""
    return f"cat > /root/added <<'END'\n{text}\nEND\n" + INSERTED.replace("{file}", file).replace(
        "cat >>", "cat /root/added >>"
    )


def without(file: str = PAGES) -> str:
    return TAKEN_OUT.replace("{file}", file) + "; rm -f /root/added"


def on_disk_of_its_own(options: str, fill: str) -> str:
    """MySQL's data move to a disk that is then filled."""
    return (
        "systemctl stop mysql && mkdir -p /root/full && "
        f"mount -t tmpfs -o {options},mode=0700,uid=mysql,gid=mysql sanso-faults /root/full && "
        f"cp -a /var/lib/mysql/. /root/full/ && mount --bind /root/full /var/lib/mysql && {fill}; "
        "systemctl start mysql; true"
    )


BACK_ON_THE_DISK = (
    "systemctl stop mysql; umount --lazy /var/lib/mysql; umount --lazy /root/full; rmdir /root/full; "
    "systemctl reset-failed mysql; systemctl start mysql"
)
BYTES = "size=$(( $(du -sm /root/full | cut -f1) + 30 ))m"
FILL = "cat /dev/zero >> /root/full/filler 2>/dev/null; true"
INODES = "nr_inodes=$(( $(du -s --inodes /root/full | cut -f1) + 5 ))"

FULL_QUEUE = """
import socket, time
held = []
for _ in range(400):
    each = socket.socket(socket.AF_UNIX)
    each.setblocking(False)
    try:
        each.connect("{socket}")
    except BlockingIOError:
        break
    held.append(each)
open("/run/sanso-faults.full", "w").close()
time.sleep(300)
"""
BUSY = """
import socket, ssl, threading
context = ssl._create_unverified_context()
def ask():
    with context.wrap_socket(socket.create_connection(("127.0.0.1", 443)), server_hostname="{host}") as connection:
        connection.sendall(b"GET /slow HTTP/1.1\\r\\nHost: {host}\\r\\n\\r\\n")
        connection.recv(1)
for _ in range(6):
    threading.Thread(target=ask).start()
"""
FAKE = """
import os, socket
listener = socket.socket(socket.AF_UNIX)
listener.bind("{socket}.new")
os.chmod("{socket}.new", 0o666)
os.rename("{socket}.new", "{socket}")
listener.listen()
while True:
    connection, _ = listener.accept()
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 500 Impostor\\r\\n\\r\\nnobody you know")
    connection.close()
"""
# Binds, and ends: the file stays, and nobody listens.
LEFT_OVER = """
import os, socket
if os.path.lexists("{socket}"):
    os.unlink("{socket}")
socket.socket(socket.AF_UNIX).bind("{socket}")
os.chmod("{socket}", 0o666)
"""
PYTHON = "systemd-run --quiet --collect --unit=sanso-faults-python python3 -c {program}"
NO_PYTHON = "systemctl stop sanso-faults-python.service 2>/dev/null; "
# MySQL doesn't notice at once that its client has gone.
NO_SLEEPER = (
    NO_PYTHON + "mysql -Ne \"SELECT CONCAT('KILL ', id, ';') FROM information_schema.processlist "
    "WHERE info LIKE '%SLEEP(%' AND id <> CONNECTION_ID()\" | mysql --force; "
)


def python(program: str) -> str:
    return PYTHON.replace("{program}", shlex.quote(program))


KILLED = (
    "printf 'MESSAGE_ID=fe6faa94e7774663a0da52717891d8ef\\nMESSAGE=killed by the OOM killer\\nUNIT=mysql.service\\n"
    "INVOCATION_ID=%s\\n' $(systemctl show --property=InvocationID --value mysql.service) | logger --journald && "
    "journalctl --sync && systemctl mask --runtime --now mysql.service"
)

FAULTS = {
    # The way in
    "firewall": Fault(
        "nft insert rule inet sanso_firewall input tcp dport 443 drop",
        "nft -f /etc/nftables.conf",
        "firewall",
        "the firewall of",
        "sudo nft -f /etc/nftables.conf",
    ),
    "no rule for the port": Fault(
        "sed 's/, 443//' /etc/nftables.conf | nft -f -",
        "nft -f /etc/nftables.conf",
        "firewall",
        "doesn't let port 443 in",
        "sudo nft -f /etc/nftables.conf",
    ),
    # nginx
    "nginx stopped": Fault(
        "systemctl stop nginx.socket nginx.service",
        NGINX,
        "nginx",
        "nginx isn't running: it was stopped",
        "sudo systemctl restart nginx",
    ),
    "nginx's configuration broken": Fault(
        "echo 'nonsense on;' > /etc/nginx/conf.d/zz-faults.conf; systemctl restart nginx.service; true",
        "rm -f /etc/nginx/conf.d/zz-faults.conf; " + NGINX,
        "nginx_configuration",
        'unknown directive "nonsense" in /etc/nginx/conf.d/zz-faults.conf:1',
        "./sanso up",
    ),
    "nginx's new configuration broken": Fault(
        "echo 'nonsense on;' > /etc/nginx/conf.d/zz-faults.conf",
        "rm -f /etc/nginx/conf.d/zz-faults.conf",
        "nginx_configuration",
        "nginx runs with its old configuration, and won't start again",
        "./sanso up",
    ),
    "port taken": Fault(
        "systemctl stop nginx.socket nginx.service && systemd-run --quiet --collect --unit=sanso-faults-python "
        "python3 -m http.server 443 && timeout 20 sh -c 'until ss -Hltn sport = 443 | grep -q .; do sleep 0.1; done'; "
        "systemctl restart nginx.service; true",
        NO_PYTHON + NGINX,
        "port_taken",
        "port 443 is python3's (sanso-faults-python.service)",
        "sudo systemctl disable --now sanso-faults-python.service && sudo systemctl restart nginx",
    ),
    "nginx hangs": Fault(
        "systemctl kill --signal=STOP nginx.service",
        "systemctl kill --signal=CONT nginx.service",
        "nginx",
        "nginx takes connections, and says nothing",
        "sudo systemctl restart nginx",
    ),
    "server name unknown": Fault(
        "cp --preserve /etc/nginx/conf.d/sites.conf /root/kept && "
        "sed -i 's/server_name {host}/server_name other.test/' /etc/nginx/conf.d/sites.conf && "
        "systemctl reload nginx.service && sleep 0.5",
        "[ ! -e /root/kept ] || mv /root/kept /etc/nginx/conf.d/sites.conf; systemctl reload nginx.service; sleep 0.5",
        "server_name",
        "nginx there knows no site",
        "./sanso up",
    ),
    # The socket
    "socket gone": Fault(
        "rm {folder}/current.sock",
        RESTART,
        "socket",
        "was removed",
        "sudo systemctl restart app-{app}@current.socket app-{app}@current.service",
    ),
    "socket's unit stopped": Fault(
        "systemctl stop app-{app}@current.socket app-{app}@current.service",
        RESTART,
        "socket",
        "app-{app}@current.socket isn't running: it was stopped",
        "sudo systemctl restart app-{app}@current.socket",
    ),
    "socket closed": Fault(
        "chmod 0600 {folder}/current.sock",
        "chmod 0660 {folder}/current.sock",
        "socket_mode",
        "has the mode 0600",
        "sudo chmod 0660 {folder}/current.sock",
    ),
    "socket another's": Fault(
        "chown root:root {folder}/current.sock",
        "chown root:{group} {folder}/current.sock",
        "socket_mode",
        "belongs to root:root",
        "sudo chown root:{group} {folder}/current.sock",
    ),
    "folder closed": Fault(
        "chmod 0700 {folder}",
        "chmod 0755 {folder}",
        "socket_mode",
        "the folder {folder} doesn't let nginx through",
        "sudo chmod 0755 {folder}",
    ),
    "socket left over": Fault(
        "systemctl stop app-{app}@current.socket app-{app}@current.service; python3 -c "
        + shlex.quote(LEFT_OVER.replace("{socket}", "{folder}/current.sock")),
        "rm -f {folder}/current.sock; " + RESTART,
        "socket",
        "nobody listens on it",
        "sudo systemctl restart app-{app}@current.socket app-{app}@current.service",
    ),
    "another process on the socket": Fault(
        "systemctl stop app-{app}@current.socket app-{app}@current.service; "
        + python(FAKE.replace("{socket}", "{folder}/current.sock"))
        + "; timeout 20 sh -c 'until test -S {folder}/current.sock; do sleep 0.1; done'",
        NO_PYTHON + "rm -f {folder}/current.sock; " + RESTART,
        "peer",
        "another process than {app} answers on its socket: /usr/bin/python3",
        "sudo systemctl stop sanso-faults-python.service && ",
    ),
    "queue full": Fault(
        "systemctl kill --signal=STOP app-{app}@current.service; rm -f /run/sanso-faults.full; "
        + python(FULL_QUEUE.replace("{socket}", "{folder}/current.sock"))
        + "; timeout 20 sh -c 'until test -e /run/sanso-faults.full; do sleep 0.1; done'",
        NO_PYTHON + "systemctl kill --signal=KILL app-{app}@current.service; "
        "systemctl stop app-{app}@current.service app-{app}@current.socket; " + RESTART,
        "busy",
        "workers of {app} are at work, and",
        "processes: {more}",
    ),
    "link gone": Fault(
        "rm {folder}/app.sock",
        "ln -sfn current.sock {folder}/app.sock",
        "socket_link",
        "{folder}/app.sock is missing, the link where nginx asks for {app}",
        "sudo ln -sfn current.sock {folder}/app.sock",
    ),
    "link to a release that is no more": Fault(
        "ln -sfn candidate.sock {folder}/app.sock",
        "ln -sfn current.sock {folder}/app.sock",
        "socket_link",
        "leads to candidate.sock, which doesn't exist",
        "sudo ln -sfn current.sock {folder}/app.sock",
    ),
    # The app
    "import fails": Fault(
        code("import nothing_of_that_name", APP) + "; true" + FAILED,
        without(APP),
        "app",
        "{app} doesn't start: ModuleNotFoundError: No module named 'nothing_of_that_name'",
        "./sanso ",
    ),
    "syntax error": Fault(
        code("def broken(:", APP) + "; true" + FAILED,
        without(APP),
        "app",
        "{app} doesn't start: SyntaxError: invalid syntax",
        "./sanso ",
    ),
    "no release": Fault(
        "mv /srv/{app}/current /srv/{app}/kept; systemctl restart app-{app}@current.service; true" + FAILED,
        "[ ! -L /srv/{app}/kept ] || mv -T /srv/{app}/kept /srv/{app}/current; " + RESTART,
        "release",
        "no release of {app} can serve",
        "./sanso deploy",
    ),
    "health not 200": Fault(
        code("\n\n@bp.before_app_request\ndef ill():\n    from flask import abort\n    abort(503, 'out of patience')"),
        without(),
        "health",
        "answers 503: ",
        "./sanso deploy",
    ),
    "page fails": Fault(
        code("\n\n@bp.get('/broken')\ndef broken():\n    raise LookupError('no such thing')"),
        without(),
        "page",
        "answers 500: LookupError: no such thing",
        "./sanso trace",
        path="/broken",
    ),
    "worker dies in the request": Fault(
        code("\n\n@bp.get('/broken')\ndef broken():\n    import os, signal\n    os.kill(os.getpid(), signal.SIGKILL)"),
        without(),
        "page",
        "the worker died",
        "./sanso trace",
        path="/broken",
    ),
    "no such page": Fault("true", "true", "page", "has no such page", "./sanso trace", path="/nothing/of/that/name"),
    "workers busy": Fault(
        code(
            "\n\n@bp.get('/slow')\ndef slow():\n    import time\n    time.sleep(60)\n    return 'at last'",
        )
        + " && "
        + python(BUSY)
        + "; inside=/proc/$(systemctl show --property=MainPID --value app-{app}@current.service)/ns/net; "
        "export inside; timeout 20 sh -c 'until nsenter --net=$inside ss -Hxl | "
        'grep -q " [1-9][0-9]* *[0-9]* *{folder}/"; do sleep 0.1; done\'',
        NO_PYTHON + "systemctl kill --signal=KILL app-{app}@current.service; " + without(),
        "busy",
        "workers of {app} are at work, and",
        "processes: {more}",
    ),
    # The database
    "mysql stopped": Fault(
        "systemctl stop mysql.service",
        "systemctl start mysql.service",
        "mysql",
        "MySQL isn't running: it was stopped",
        "sudo systemctl restart mysql",
    ),
    "mysql's configuration broken": Fault(
        "printf '[mysqld]\\nnonsense = 1\\n' > /etc/mysql/mysql.conf.d/zzz-faults.cnf; systemctl stop mysql.service; "
        "systemctl start mysql.service; true",
        "rm -f /etc/mysql/mysql.conf.d/zzz-faults.cnf; systemctl stop mysql.service; "
        "systemctl reset-failed mysql.service; systemctl start mysql.service",
        "mysql",
        "unknown variable 'nonsense=1'",
        "mysql_extra_settings",
    ),
    "login refused": Fault(
        "mysql -e \"RENAME USER '{app}'@'localhost' TO 'kept'@'localhost'\"; " + RESTART,
        "mysql -e \"RENAME USER 'kept'@'localhost' TO '{app}'@'localhost'\"; " + RESTART,
        "mysql_account",
        "MySQL has no account for the app's user",
        "./sanso up",
    ),
    "no connection left": Fault(
        "systemctl stop app-{app}@current.service && mysql -e 'SET GLOBAL max_connections = 10' && "
        "systemd-run --quiet --collect --unit=sanso-faults-python "
        "--property=User={app} --property=SupplementaryGroups={clients} sh -c "
        "'for i in $(seq 10); do mysql -e \"SELECT SLEEP(300)\" & done; wait'; "
        'timeout 20 sh -c \'until mysql -Ne "SHOW STATUS LIKE \\"Threads_connected\\"" | grep -qw 11; '
        "do sleep 0.2; done'",
        NO_SLEEPER + "mysql -e 'SET GLOBAL max_connections = {most}'; " + RESTART,
        "mysql_connections",
        "all 10 are taken",
        "mysql_max_connections: 20",
    ),
    "socket of mysql closed": Fault(
        "chmod 0700 /run/mysqld; " + RESTART,
        "chmod 0750 /run/mysqld; " + RESTART,
        "mysql_socket",
        "the app may not open MySQL's socket",
        "./sanso up",
    ),
    "redis stopped": Fault(
        "systemctl stop app-{app}-redis.service",
        "systemctl start app-{app}-redis.service; systemctl restart 'app-{app}-worker*'",
        "redis",
        "the Redis of {app} doesn't answer",
        "sudo systemctl restart app-{app}-redis.service",
    ),
    "schema not migrated": Fault(
        "mysql {app} -e 'RENAME TABLE alembic_version TO kept'",
        "mysql {app} -e 'RENAME TABLE kept TO alembic_version'",
        "schema",
        "the schema of {app} isn't what its release expects",
        "./sanso run",
    ),
    "table locked": Fault(
        "systemd-run --quiet --collect --unit=sanso-faults-python mysql {app} -e "
        "'LOCK TABLES alembic_version WRITE; SELECT SLEEP(300)' && timeout 20 sh -c "
        "'until mysql -Ne \"SHOW PROCESSLIST\" | grep -q SLEEP; do sleep 0.2; done'",
        NO_SLEEPER,
        "mysql_lock",
        "holds a lock on {app}.alembic_version",
        "sudo mysqladmin kill ",
    ),
    # The system
    "disk full": Fault(
        # That file is made anew at a start, which there is no room for; without that, MySQL gets by.
        on_disk_of_its_own("size=4g", f"rm /root/full/auto.cnf; mount -o remount,{BYTES} /root/full; {FILL}")
        + f"; {FILL}",
        BACK_ON_THE_DISK,
        "disk",
        "the disk is full: /var/lib/mysql has",
        "du -x -h -d 3 /var/lib/mysql",
        explains="mysql",
    ),
    "inodes used up": Fault(
        on_disk_of_its_own(
            "size=4g",
            f"mount -o remount,{INODES} /root/full; for i in $(seq 100); do "
            "touch /var/lib/mysql/filler.$i 2>/dev/null; done; true",
        ),
        BACK_ON_THE_DISK,
        "inodes",
        "/var/lib/mysql can hold no more files",
        "du --inodes",
        explains="mysql",
    ),
    "file system read-only": Fault(
        "mount --bind /srv /srv && mount -o remount,ro,bind /srv",
        "umount /srv",
        "read_only",
        "nothing can be written to /srv",
        "sudo mount -o remount,rw /srv",
    ),
    # A machine on this computer may have no memory controller of its own: systemd's word for it is as it would be.
    "memory ran out": Fault(
        KILLED,
        "systemctl unmask --runtime mysql.service; systemctl start mysql.service",
        "killed",
        "memory ran out: the kernel killed a process of mysql.service",
        "mysql_innodb_buffer_pool_percent",
        explains="mysql",
    ),
    # Its clock is this computer's: Python there is told another time.
    "clock wrong": Fault(
        "echo 'import time; real = time.time; time.time = lambda: real() + 86400 * 3' > "
        "$(python3 -c 'import site; print(site.getsitepackages()[0])')/sanso_faults.py && "
        "echo 'import sanso_faults' > $(python3 -c 'import site; print(site.getsitepackages()[0])')/sanso_faults.pth",
        "rm -f $(python3 -I -S -c 'import site; print(site.getsitepackages()[0])')/sanso_faults.*",
        "clock",
        "3 days ahead of this computer's",
        "sudo timedatectl set-ntp true",
    ),
    "unit failed": Fault(
        "systemd-run --quiet --unit=sanso-faults-failed /bin/false; "
        "timeout 20 sh -c 'until systemctl is-failed --quiet sanso-faults-failed; do sleep 0.1; done'",
        "systemctl reset-failed sanso-faults-failed.service",
        "unit",
        "sanso-faults-failed.service has failed",
        "sudo systemctl restart sanso-faults-failed.service",
    ),
}


@pytest.fixture
def run(server):
    """run(command, *words) as root; it must succeed."""
    return server.host.check_output


@pytest.fixture(scope="module")
def described(pytestconfig):
    return inventory.read(pytestconfig.getoption("--inventory"))


@pytest.fixture(scope="module")
def computer(described):
    """The machine, as its inventory describes it."""
    return verb.host_of(described, None)


@pytest.fixture(scope="module")
def patient(described, computer):
    return verb.patient_of(described, computer)


@pytest.fixture
def doctor(patient, health):
    """doctor(url) is what is found: (the exit code, the answer). Without a URL, of the sample app's health."""

    def doctor(url=health):
        diagnoses = examine(patient, [url])
        return verb.verdict(diagnoses), {"requests": [verb.as_data(each) for each in diagnoses]}

    return doctor


@pytest.fixture(scope="module")
def health(app):
    return f"https://{app.host_name}{app.health_path}"


@pytest.fixture
def typed(pytestconfig, health):
    """typed(words…) runs the verb, after these words: (its exit code, its answer). No url: of all apps."""

    def typed(*words, url=health):
        path = str(pytestconfig.getoption("--inventory").resolve())
        command = [*words, sys.executable, "-m", "sanso", "doctor", "--json", "-i", path, *filter(None, [url])]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, env=environment)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    return typed


@contextlib.contextmanager
def broken(run, do: str, undo: str):
    """Something is wrong on the machine. Whatever happens here, it is put right: by the machine itself, at last."""
    do = f"umask 022; {do}"  # what it writes is for others, too
    timer = f"systemd-run --quiet --collect --unit={UNDO} --on-active={MINUTES}m sh -c %s"
    run(f"systemctl stop {UNDO}.timer 2>/dev/null; systemctl reset-failed {UNDO}.service 2>/dev/null; {timer}", undo)
    try:
        run("bash -c %s", do)
        yield
    finally:
        run(f"systemctl stop {UNDO}.timer")
        run("bash -c %s", undo)


@pytest.fixture
def healed(ready):
    """Wait until the app answers again; it may have to start first."""
    yield
    deadline = time.monotonic() + LATEST
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if ready().status == 200:
                return
        time.sleep(0.2)


@pytest.fixture
def filled(server, app, run):
    """filled(text) puts this machine's words in."""
    words = {
        "{app}": app.name,
        "{host}": app.host_name,
        "{folder}": f"/run/app-{app.name}",
        "{more}": str(2 * app.processes),
        "{clients}": server.settings["app_mysql_group"],
        "{most}": str(server.settings["mysql_max_connections"]),
        "{group}": server.settings["app_web_group"],
        "{release}": run(f"readlink -f {app.current}"),
    }

    def filled(text):
        for name, value in words.items():
            text = text.replace(name, value)
        return text

    return filled


def cause(answer) -> dict:
    (request,) = answer["requests"]
    assert request["cause"], request
    return request["cause"]


def test_machine_that_is_well_is_said_to_be(server, typed):
    exit_code, answer = typed(url=None)
    assert (exit_code, [each["cause"] for each in answer["requests"]]) == (0, [None for _ in server.apps]), answer


@pytest.mark.parametrize("name", FAULTS)
def test_cause_is_named_with_what_mends_it(server, app, run, healed, filled, doctor, name):
    fault = FAULTS[name]
    if fault.kind == "redis" and not app.redis:
        pytest.skip("its app has no Redis")
    with broken(run, filled(fault.do), filled(fault.undo)):
        exit_code, answer = doctor(*([f"https://{app.host_name}{fault.path}"] if fault.path else []))
    found = cause(answer)
    assert (exit_code, found["kind"]) == (1, fault.kind), answer
    assert filled(fault.cause) in found["cause"], found
    assert filled(fault.fix) in found["fix"], found
    assert found["evidence"] or fault.path, found
    assert not fault.explains or fault.explains in [each["kind"] for each in answer["requests"][0]["others"]], answer


# The name


@pytest.fixture
def elsewhere(tmp_path):
    """elsewhere(text) are the words before a command that sees this as /etc/hosts; nobody else does."""

    def elsewhere(text):
        hosts = tmp_path / "hosts"
        hosts.write_text(f"127.0.0.1 localhost\n{text}\n")
        space = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
        return [*space, "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(hosts)]

    return elsewhere


def test_name_that_leads_nowhere_is_the_cause(app, typed, elsewhere):
    exit_code, answer = typed(*elsewhere(""))
    found = cause(answer)
    assert (exit_code, found["kind"]) == (1, "dns"), answer
    assert f"{app.host_name} leads nowhere" in found["cause"]


def test_name_that_leads_to_another_computer_is_the_cause(server, app, typed, elsewhere):
    bridge = str(ipaddress.ip_network(server.settings["machine_subnet"])[1])
    exit_code, answer = typed(*elsewhere(f"{bridge} {app.host_name}"))
    found = cause(answer)
    assert (exit_code, found["kind"]) == (1, "elsewhere"), answer
    assert f"leads to {bridge}, which isn't {server.name}" in found["cause"]


def test_name_that_is_no_apps_is_the_cause(doctor):
    exit_code, answer = doctor("https://nobody.test/")
    assert (exit_code, cause(answer)["kind"]) == (1, "name"), answer


# Certificates


@pytest.fixture
def certify(server, app, run):
    """certify(…) has nginx serve another certificate while the `with` lasts, of the CA unless it is to be another's."""
    if app.certificate != "local":
        pytest.skip("another CA signs here, whose key nobody has")
    folder = Path(server.settings["nginx_local_ca_directory"]).expanduser()
    path = f"/etc/nginx/tls/{app.name}.pem"

    @contextlib.contextmanager
    def certify(*, days=(-1, 30), name=app.host_name, believed=True, chain=True):
        ca = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
        ca_key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        begins, ends = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=each) for each in days)
        issuer, signer = (ca.subject, ca_key) if believed else (subject, key)
        made = (
            x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number(), begins, ends)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
            .sign(signer, hashes.SHA256())
        )
        formats = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        parts = [made, *([ca] if chain else [])]
        pem = b"".join(each.public_bytes(serialization.Encoding.PEM) for each in parts).decode()
        pem += key.private_bytes(serialization.Encoding.PEM, *formats).decode()
        do = f"cp --preserve {path} /root/kept.pem && cat > {path} <<'END'\n{pem}END\nsystemctl reload nginx; sleep 0.5"
        undo = f"[ ! -e /root/kept.pem ] || mv /root/kept.pem {path}; systemctl reload nginx; sleep 0.5"
        with broken(run, do, undo):
            yield

    return certify


CERTIFICATES = {
    "expired": ({"days": (-10, -1)}, "certificate_dates", "expired on"),
    "of the future": ({"days": (1, 10)}, "certificate_dates", "isn't valid before"),
    "of another name": ({"name": "other.test"}, "certificate_name", "but for other.test"),
    "signed by itself": ({"believed": False, "chain": False}, "certificate_trust", "is signed by itself"),
}


@pytest.mark.parametrize("name", CERTIFICATES)
def test_certificate_that_no_browser_takes_is_the_cause(doctor, certify, name):
    made, kind, words = CERTIFICATES[name]
    with certify(**made):
        exit_code, answer = doctor()
    found = cause(answer)
    assert (exit_code, found["kind"]) == (1, kind), answer
    assert words in found["cause"]
    assert "./sanso up" in found["fix"]


def test_certificate_that_nginx_has_not_read_yet_wants_a_reload(app, run, doctor, certify):
    with certify(days=(-10, -1)):
        run(f"cp --preserve /root/kept.pem /etc/nginx/tls/{app.name}.pem")
        exit_code, answer = doctor()
    found = cause(answer)
    assert (exit_code, found["kind"]) == (1, "certificate_dates"), answer
    assert found["cause"].startswith("nginx still serves an old certificate")
    assert "sudo systemctl reload nginx" in found["fix"]


# The whole machine, and the test itself


def test_machine_that_is_off_is_the_cause(server, computer, healed, boot, typed):
    try:
        server.host.run("systemctl poweroff")
        deadline = time.monotonic() + LATEST
        while machines.is_running(computer):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        exit_code, answer = typed()
    finally:
        boot()
    found = cause(answer)
    assert (exit_code, found["kind"]) == (1, "machine")
    assert f"the machine {server.name} doesn't run" in found["cause"]


def test_machine_puts_itself_right_if_this_process_is_killed(run):
    """What `broken` leaves behind then is its timer, which does the same."""
    with broken(run, "touch /run/sanso-faults.broken", "rm -f /run/sanso-faults.broken"):
        run(f"systemctl start {UNDO}.service")
        assert run("ls /run/sanso-faults.broken 2>/dev/null || echo gone") == "gone"
