"""Layer 4, uWSGI and the apps: what playbooks/app.yml does."""

from pyinfra import host
from pyinfra.api import deploy

from deploys._shared import Role, packages, put


@deploy("App")
def layer():
    if "app" not in host.groups:
        return
    role = Role("uwsgi")
    packages(role, "Packages | Install")
    put(role, "Tool | Install what starts an app and asks for its health")
