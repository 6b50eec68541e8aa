"""Layer 4, uWSGI and the apps: what playbooks/app.yml does."""

from pyinfra import host
from pyinfra.api import deploy

from deploys._shared import Role, command, folders, local, look, packages, release, render, say, service, user


@deploy("App")
def layer():
    if "app" not in host.groups:
        return
    role = Role("uwsgi")
    packages(role, "Packages | Install")
    render(role, "Tool | Install what releases an app and asks it for a page")
    role = Role("redis")
    render(role, "Server | Keep the package's own instance from starting")
    packages(role, "Packages | Install")
    service(role, "Server | Stop the package's own instance, where it ran before")
    apps = Role("app")
    packages(apps, "Packages | Install what the apps need of the distribution")
    for described in host.loop(apps["__app_chosen"]):
        app(described)
    for described in host.loop(apps["__app_gone"]):
        command(Role("app", __app_item=described), "Removal | Take it off the server")


def app(described: dict):
    role = Role("app", __app_item=described)
    user(role, "App | Make its user")
    folders(role, "App | Make its folders")
    local(role, "Release | Put it together on this computer")
    look(role, "Release | See which one serves, and whether somebody went back from this one")
    say(role, "Release | Say that it was rolled back")
    render(role, "App | Render its units")
    release(role, "Release | Let it serve, once it has answered")
    service(role, "Service | Start, now and at boot")


if not __name__.startswith("deploys."):  # pyinfra runs this very file
    layer()
