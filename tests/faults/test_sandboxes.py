"""What a sandbox refuses, tried from inside, and what goes on to work in it: reload, restart, the logs' rotation."""

import contextlib
import json

import client
import pytest

# Runs where the unit's program would. Each line is an attempt; what becomes of it is "done", or the kernel's error.
PROBE = """
import ctypes, errno, json, mmap, os, socket, sys

def write(path):
    open(os.path.join(path, "sanso-probe"), "w").close()
    os.unlink(os.path.join(path, "sanso-probe"))

def unshare():
    if ctypes.CDLL(None, use_errno=True).unshare(0x10000000):  # a user namespace
        raise OSError(ctypes.get_errno(), "")

def library(name, *words):
    if ctypes.CDLL(None, use_errno=True)[name](*words):
        raise OSError(ctypes.get_errno(), "")

def connect(address):
    with socket.create_connection(address, 3):
        pass

ATTEMPTS = {
    "a file in /etc": lambda: write("/etc"),
    "a file in /usr": lambda: write("/usr/local"),
    "a file in /run": lambda: write("/run/lock"),
    "a file in /srv": lambda: write("/srv"),
    "a file of its own": lambda: write(sys.argv[1]),
    "a file in /tmp": lambda: write("/tmp"),
    "a home": lambda: os.listdir("/home"),
    "a TCP socket": lambda: socket.socket(socket.AF_INET).close(),
    "a raw packet": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close(),
    "a connection to nginx": lambda: connect(("127.0.0.1", 80)),
    "a user namespace": unshare,
    "a mount": lambda: library("mount", b"none", b"/tmp", b"tmpfs", 0, None),
    "memory to write and execute": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC),
    "a set-user-id file": lambda: os.chmod(sys.argv[1], 0o4755),
    "another host name": lambda: socket.sethostname("sanso-probe"),
    "a process of root": lambda: os.stat("/proc/1"),
    "a device": lambda: os.stat("/dev/kmsg"),
}
found = {}
for name, attempt in ATTEMPTS.items():
    try:
        attempt()
        found[name] = "done"
    except OSError as error:
        found[name] = errno.errorcode.get(error.errno, "an error")
print(json.dumps(found))
"""
EVERYBODY = {
    "a file in /etc": "EROFS",
    "a file in /usr": "EROFS",
    "a file in /run": "EROFS",
    "a file in /srv": "EROFS",
    "a file of its own": "done",
    "a file in /tmp": "done",
    "a home": "EACCES",
    "a raw packet": "EAFNOSUPPORT",
    "a user namespace": "EPERM",
    "a mount": "EPERM",
    "memory to write and execute": "EACCES",
    "a set-user-id file": "EPERM",
    "another host name": "EPERM",
    "a process of root": "ENOENT",
    "a device": "ENOENT",
}
TIES = "Exec|Requires|After|JoinsNamespaceOf|PIDFile|Type|Restart|EnvironmentFile|LoadCredential|Also|WantedBy"
CUT_OFF = {"a TCP socket": "EAFNOSUPPORT", "a connection to nginx": "EAFNOSUPPORT"}
# Unit, its own folder, and what it may beside the others.
UNITS = {
    "nginx.service": ("/var/lib/nginx/body", {"a TCP socket": "done", "a connection to nginx": "done"}),
    "mysql.service": ("/var/lib/mysql-files", CUT_OFF),
    "app-{app}@current.service": ("/srv/{app}/shared", CUT_OFF),
}


@contextlib.contextmanager
def removed(host, *paths):
    try:
        yield
    finally:
        host.check_output(f"rm -rf {' '.join(paths)}; systemctl daemon-reload")


@pytest.fixture
def probe(server):
    """probe(unit, folder) runs the attempts with the very settings of that unit, and returns what became of them."""

    def probe(unit, folder):
        host, at = server.host, "/run/systemd/system/sanso-probe.service"
        with removed(host, at, f"{at}.d", "/run/sanso-probe.py", "/run/sanso-probe.json"):
            # The unit's own files in systemd's order, without what ties it to others or starts something.
            host.check_output(f"systemctl cat {unit} | sed -E '/^({TIES})/d; s/%i/current/g' | grep -v '^ ' > {at}")
            # For every user: root's umask may be strict.
            host.check_output("printf '%%s' %s > /run/sanso-probe.py; chmod 0644 /run/sanso-probe.py", PROBE)
            more = (
                "[Service]\nType=oneshot\nStandardOutput=file:/run/sanso-probe.json\n"
                f"ExecStart=/usr/bin/python3 /run/sanso-probe.py {folder}\n"
            )
            host.check_output("printf '%%s' %s >> %s; systemctl daemon-reload", more, at)
            done = host.run("systemctl start sanso-probe.service")
            assert done.succeeded, host.check_output("journalctl --no-pager --lines=20 --unit=sanso-probe.service")
            return json.loads(host.file("/run/sanso-probe.json").content_string)

    return probe


@pytest.mark.parametrize("unit", UNITS)
def test_sandbox_refuses_what_the_unit_does_not_need(app, probe, unit):
    folder, own = UNITS[unit]
    found = probe(unit.format(app=app.name), folder.format(app=app.name))
    assert found == {**EVERYBODY, **own}


# nginx without a root master


@pytest.fixture
def nginx_conf(server):
    """Its path; it is as it was at the end."""
    path = "/etc/nginx/nginx.conf"
    server.host.check_output(f"cp -p {path} /run/nginx.conf.before")
    yield path
    server.host.check_output(f"mv /run/nginx.conf.before {path} && systemctl reload-or-restart nginx")


def main_pid(host):
    return host.check_output("systemctl show --property=MainPID --value nginx")


def test_broken_configuration_is_refused_and_the_old_one_serves(server, ready, nginx_conf):
    before = main_pid(server.host)
    server.host.check_output(f"echo 'nonsense on;' >> {nginx_conf}")
    done = server.host.run("systemctl reload nginx")
    assert (done.failed, ready().status, main_pid(server.host)) == (True, 200, before)


def test_reload_takes_a_new_setting_with_the_same_master(server, ready, nginx_conf):
    before = main_pid(server.host)
    server.host.check_output(f"sed -i 's/server_tokens off;/server_tokens on;/' {nginx_conf} && systemctl reload nginx")
    for _ in range(20):  # the old workers go on until the new ones are there
        if (server_header := ready().headers["Server"]) != "nginx":
            break
    assert (server_header.startswith("nginx/"), main_pid(server.host)) == (True, before)


@pytest.mark.parametrize("how", ["restart", "stop, test as root, start"])
def test_nginx_comes_back_after(server, ready, how):
    """`nginx -t` by root leaves an empty file for the pid, which nginx itself could not write."""
    host = server.host
    if how == "restart":
        host.check_output("systemctl restart nginx")
    else:
        host.check_output("systemctl stop nginx")
        tested = host.run("nginx -t")
        started = host.run("systemctl start nginx")
        assert (tested.rc, started.rc) == (0, 0), tested.stderr + started.stderr
    assert ready().status == 200


def test_test_of_the_configuration_by_root_leaves_nginx_its_folders(server):
    server.host.check_output("nginx -t")
    owners = server.host.check_output("stat --format=%U /var/lib/nginx/*").split()
    assert set(owners) == {"www-data"}


def test_large_body_is_buffered_on_disk(server, app):
    """Beyond 16 KiB nginx writes it to a file of its own."""
    body = {"type": "Large", "message": "a body of 100 KB", "context": {"text": "x" * 100_000}}
    answer = client.request(server, app.host_name, "/api/projects/sanso-check/errors", "POST", body=body)
    assert answer.status == 422, answer  # the app read it, and says that it is too much


def test_rotated_log_goes_on_in_a_new_file(server, ready):
    host, log = server.host, "/var/log/sanso/nginx/access.jsonl"
    ready()
    before = host.check_output(f"stat --format=%i {log}")
    host.check_output("logrotate --force /etc/logrotate.d/sanso")
    ready()
    after = host.check_output(f"stat --format=%i {log}")
    assert after != before
    host.check_output(f"timeout 5 sh -c 'until [ -s {log} ]; do sleep 0.1; done'")
    assert host.check_output(f"stat --format='%U %a' {log}") == "www-data 640"


def test_package_s_own_upgrade_leaves_nginx_serving(server, ready):
    """What the package's script does after an upgrade: a new master takes over from the old one."""
    host = server.host
    before = main_pid(host)
    host.check_output("invoke-rc.d nginx upgrade || invoke-rc.d nginx restart")
    assert ready().status == 200
    assert main_pid(host) != before
    assert host.run("systemctl is-active nginx && systemctl reload nginx").succeeded
