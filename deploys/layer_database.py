"""Layer 3, MySQL: what playbooks/database.yml does."""

from pyinfra import host
from pyinfra.api import deploy

from deploys._shared import Role, command, group, look, packages, render, service, user


@deploy("MySQL")
def layer():
    if "db" not in host.groups:
        return
    role = Role("mysql")
    packages(role, "Packages | Install")
    group(role, "Server | Make the group that may reach the socket")
    user(role, "Server | Let the one who reads traces reach it")
    settings = render(role, "Settings | Render them")
    service(role, "Restart mysql", after=[settings])
    service(role, "Server | Start, now and at boot")
    look(role, "Accounts | Find the statements that are missing")
    command(role, "Accounts | Execute them")


if not __name__.startswith("deploys."):  # pyinfra runs this very file
    layer()
