"""Layer 2, Python and nginx: what playbooks/web.yml does."""

from pyinfra import host
from pyinfra.api import deploy

from deploys._shared import Role, certificates, command, local, look, packages, render, service


@deploy("Python and nginx")
def layer():
    if "web" not in host.groups:
        return
    packages(Role("python"), "Packages | Install")
    acme(nginx())


def nginx() -> dict:
    """Returns the apps that have their certificates from ACME."""
    role = Role("nginx")
    packages(role, "Packages | Install")
    secret = command(role, "Trace | Make the secret that lets a request ask to be traced")
    files = render(role, "Files | Describe those that nginx finds")
    command(role, "Prepare nginx's files", after=[secret, files])
    local(role, "Certificates | Make those of the local CA")
    keys = certificates(role, "Certificates | Install them with their keys")
    settings = render(role, "Settings | Render them")
    outdated = look(role, "Service | Try the whole configuration, and see whether nginx is older than its units")
    service(role, "Service | Start, now and at boot")
    command(role, "Restart nginx", after=[outdated])
    service(role, "Reload nginx", after=[secret, keys, settings])
    command(role, "Remove certificates that nothing serves", after=[settings])
    return role["__nginx_acme_apps"]


def acme(apps):
    role = Role("acme", acme_certificates=apps)
    if not apps:
        command(role, "Off | Forget what was had from a CA")
        return
    packages(role, "Packages | Install")
    render(role, "Tool | Install it with its settings")
    render(role, "DNS | Install your hook")
    service(role, "Timer | Start it, now and at boot")
    look(role, "Order | See what is missing, and try the way of the proof on the server")
    local(role, "Order | Ask each name for the proof, as the CA will")
    command(role, "Order | Get the certificates from the CA, and give them to nginx")


if not __name__.startswith("deploys."):  # pyinfra runs this very file
    layer()
