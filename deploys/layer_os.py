"""Layer 1, the operating system: what playbooks/os.yml does."""

import re

from pyinfra.api import deploy
from pyinfra.operations import files, server

from deploys._shared import Role, access, blocks, command, packages, render, require, service, user


@deploy("OS")
def layer():
    os()
    trace()
    hardening()


def os():
    role = Role("os")
    require(role, "Platform | Refuse one that nobody has tried")
    command(role, "Packages | Finish what was interrupted")
    packages(role, "Packages | Install")
    name = role["__os_hostname"]
    # The inventory knows some hosts by their address only.
    if role["ansible_facts"]["nodename"] != name and not re.match(r"[0-9a-fA-F:.]+$", name):
        hosts = role.task("Host name | Make it resolvable, which sudo asks for")
        said = hosts.arguments
        files.line(name=hosts.name, path=said["path"], line=f"{said['regexp']}.*", replace=said["line"])
        server.hostname(name=role.task("Host name | Set").name, hostname=name)
    who_gets_in(role)
    settings = render(role, "Settings | Render them")
    command(role, "Load sysctl", after=[settings])
    service(role, "Restart journald", after=[settings])


def who_gets_in(role: Role):
    access(role, "Access | Try who gets in and how, and keep it if we still do")
    packages(role, "Access | Remove what would ban")


@deploy("Access")
def access_alone():
    """What playbooks/access.yml does."""
    who_gets_in(Role("os"))


def trace():
    role = Role("trace")
    user(role, "Reader | Make its user")
    render(role, "Files | Install what hands out the evidence, and keep logs for some days")


def hardening():
    role = Role("hardening")
    # Before the packages: some of them start what a container can't run, and the settings hold it back.
    settings = render(role, "Settings | Render them")
    packages(role, "Packages | Install")
    blocks(role, "Settings | Add to those that have no folder of drop-ins")
    service(role, "Units | Start them, now and at boot")
    command(role, "Restart units", after=[settings])
    command(role, "Restart who has to see all processes", after=[settings])
    command(role, "Load kernel settings", after=[settings])
    command(role, "Correct modes", after=[settings])
    command(role, "Load PAM profiles", after=[settings])


if not __name__.startswith("deploys."):  # pyinfra runs this very file
    layer()
