"""A machine that dies in the middle of a run is finished by a second run, also by one of the other engine."""

from __future__ import annotations

import socket
import time

import pytest
from evidence import CouldNotCheck

MINUTE = 60
INTERRUPTED = (
    "/var/lib/dpkg/updates/0000"  # what dpkg notes while it is at work; apt refuses to begin as long as it is there
)
PACKAGE, FILE = "unattended-upgrades", "/etc/logrotate.d/sanso"  # at the begin of the layer, and further on
# What the package's own script calls, and what it finds there: that ends all as when the power goes, this mount too.
CALLED, TRAP = "/usr/bin/deb-systemd-helper", "/usr/local/sbin/sanso-faults-trap"
DEATH = "#!/bin/sh\nsystemctl poweroff --force --force\n"


@pytest.fixture
def dead(server, engine, on_top, boot):
    """The machine, once it has lost its power while `engine` installed a package on it, and has booted."""
    run = server.host.check_output
    run(f"DEBIAN_FRONTEND=noninteractive apt-get --yes --quiet=2 purge {PACKAGE} && rm {FILE}")
    run(f"printf '%%s' %s > {TRAP} && chmod 0755 {TRAP} && mount --bind {TRAP} {CALLED}", DEATH)
    try:
        with engine.begun("os", on_top()) as begun:
            deadline = time.monotonic() + MINUTE
            while answers(server):
                if time.monotonic() > deadline or begun.poll() == 0:
                    raise CouldNotCheck(f"{engine.name} did not get to install {PACKAGE}: exit code {begun.poll()}")
                time.sleep(0.2)
    finally:
        boot()
        server.host.run(f"umount {CALLED}; rm {TRAP}")


def answers(server):
    """Whether nginx does: sshd would take it ill to be asked often."""
    try:
        socket.create_connection((server.address, 443), timeout=5).close()
    except OSError:
        return False
    return True


def test_machine_that_dies_while_a_package_is_installed_is_finished_by_the_other_engine(
    dead, server, engine, other_engine, on_top
):
    assert server.host.file(INTERRUPTED).exists
    assert not server.host.file(FILE).exists
    done = other_engine.run("os", on_top())
    assert done.succeeded, done.said
    assert server.host.file(FILE).exists
    assert server.host.package(PACKAGE).is_installed
    again = engine.run("os", on_top())
    assert again.changed == 0, again.said
