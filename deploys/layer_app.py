"""Layer 4, uWSGI and the apps: what playbooks/app.yml does."""

from pyinfra import host
from pyinfra.api import deploy

from deploys._shared import Role, folders, link, local, packages, release, render, service, user


@deploy("App")
def layer():
    if "app" not in host.groups:
        return
    role = Role("uwsgi")
    packages(role, "Packages | Install")
    render(role, "Tool | Install what releases an app and asks it for a page")
    packages(Role("app"), "Packages | Install what the apps need of the distribution")
    for described in host.loop(Role("app")["apps"]):
        app(described)


def app(described: dict):
    role = Role("app", __app_item=described)
    user(role, "App | Make its user")
    folders(role, "App | Make its folders")
    render(role, "App | Render its units")
    local(role, "Release | Put it together on this computer")
    link(role, "Release | See which one serves")
    release(role, "Release | Let it serve, once it has answered")
    service(role, "Service | Start, now and at boot")


if not __name__.startswith("deploys."):  # pyinfra runs this very file
    layer()
