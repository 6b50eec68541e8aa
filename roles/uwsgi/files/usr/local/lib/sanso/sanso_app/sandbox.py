# Managed by Sansō: changes made here are lost on the next run.
# Source: roles/uwsgi/files/usr/local/lib/sanso/sanso_app/sandbox.py
"""Commands that are run as an app is: by its user, in its release's environment."""

from sanso_app import system


def command(app_name, release_folder, words, *, unit, tty=False, writable=(), network=None, wait=True):
    """The words which let systemd run a command as the app does."""
    service = f"app-{app_name}@candidate.service"
    groups = system.run("systemctl", "show", "--property=SupplementaryGroups", "--value", service).stdout.strip()
    properties = {
        "User": app_name,
        "SupplementaryGroups": groups,
        "WorkingDirectory": release_folder / "app",
    }
    return [
        *("systemd-run", "--quiet", "--wait", "--pipe", "--collect", f"--unit={unit}"),
        *(f"--property={name}={value}" for name, value in properties.items()),
        *(f"--property=EnvironmentFile={release_folder / name}" for name in ("environment", "secrets")),
        f"--setenv=PATH={release_folder}/venv/bin:/usr/bin:/bin",
        f"--setenv=PYTHONPATH={release_folder}/app/src:{release_folder}/app",
        *("--setenv=PYTHONDONTWRITEBYTECODE=1", *words),
    ]
