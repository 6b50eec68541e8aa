"""init: what a project says of itself, as an app's description for the inventory."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import click
import yaml

from sanso import app_rules, console, detect, options
from sanso.console import Failure
from sanso.detect import Found
from sanso.places import where_set
from sanso.project import DEFAULT_INVENTORY, ROOT, relative

ORDER = (
    *("name", "source", "dependencies", "packages", "build_packages", "wsgi", "server_names", "environment", "secrets"),
    *("database", "build", "migrate", "health_path", "static", "redis", "workers"),
)
ADVICE = {
    "name": "also its OS user, MySQL user and schema, folders, units and sockets",
    "server_names": "the names that it is served under",
    "packages": "of the distribution, on the server",
    "build_packages": "in a throwaway machine, where wheels are built; never on the server",
    "migrate": "run once for each release, before it serves",
    "build": "run once for each release; what it writes to $APP_BUILD belongs to it",
}


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="PATH")
@click.option("--name", help="What to call the app, instead of what the project is called.")
@click.option("--write", is_flag=True, help="Add it to the inventory's apps, instead of printing it.")
@options.inventory
@options.as_json
@click.pass_context
def init(ctx, folder, name, write, path):
    """Look at a project, and describe it as an app.

    Reads the project in PATH, without running any of it: Flask, Django and plain WSGI apps, their dependencies, static
    folders, migrations, database and health checks. Prints YAML for an inventory's group_vars/all/apps.yml; says on
    stderr what it could not find out.

    Exit codes: 0 described, 1 it has no WSGI app or could not be written.
    """
    found = detect.look(folder.resolve())
    if name:
        found.app["name"] = name
    inventory = path or DEFAULT_INVENTORY
    app = {
        **found.app,
        "source": source_of(found.folder),
        "server_names": [f"{found.app['name'].replace('_', '-')}.test"],
    }
    found.why["source"] = found.why.get("source", "") or "a git URL is possible too, with a version"
    found.unknown.insert(0, f"server_names: took {app['server_names'][0]}; which names is it served under?")
    refuse(app, found)
    text = described(app, found)
    if write:
        place = add(text, app, inventory)
        console.good(f"added {app['name']} to {relative(place)}")
    elif not console.speaks_json():
        click.echo(text, nl=False)
    option = f" -i {relative(inventory)}" if path else ""
    next_step = f"./sanso up{option}" if write else f"./sanso init {relative(folder)} --write{option}"
    for line in found.unknown:
        click.echo(f"  ?  {line}", err=True)
    console.result({"app": app, "why": found.why, "reads": found.wanted, "unknown": found.unknown, "yaml": text})
    if not console.speaks_json():
        click.echo(f"  next  {next_step}{', once these are answered' if found.unknown else ''}", err=True)


def source_of(folder: Path) -> str:
    return str(folder.relative_to(ROOT)) if folder.is_relative_to(ROOT) else str(folder)


def refuse(app: dict, found: Found):
    """What can't be served, or described, isn't."""
    evidence = "\n".join(f"  ?  {line}" for line in found.unknown)
    if not app["wsgi"]:
        raise Failure(
            f"there is no WSGI app in {relative(found.folder)} that I could find",
            evidence=evidence,
            next_step="name it yourself: docs/how-to/your-app.md has all keys",
        )
    if wrong := list(app_rules.of_apps([app])):
        raise Failure(
            f"{wrong[0]}",
            evidence="\n".join(wrong[1:]),
            next_step="rename that, or say it another way (--name, for the app's name)",
        )


def scalar(value) -> str:
    """A value as YAML, in one line."""
    return (
        yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False, allow_unicode=True)
        .removesuffix("\n...\n")
        .rstrip("\n")
    )


def described(app: dict, found: Found) -> str:
    """The description as a person would write it: a list of one app, with comments."""
    lines = []
    for key in ORDER:
        names = found.wanted.get(key, [])
        if key not in app and not names:
            continue
        why = found.why.get(key, "")
        comment = ": ".join(each for each in (ADVICE.get(key, ""), why) if each) if why else ADVICE.get(key, "")
        value = app.get(key)
        if names:  # what it reads, for a person to fill in
            lines.append(
                f"# It reads {', '.join(names)}." + (" Encrypt each: ansible-vault encrypt_string" * (key == "secrets"))
            )
            if value is None:
                lines += [f"# {key}:", *(f"#   {name}: …" for name in names)]
                continue
        line = f"{key}: {scalar(value)}"
        if len(line) + len(comment) > 110 and comment:
            lines.append(f"# {comment}")
            comment = ""
        lines.append(f"{line}  # {comment}" if comment else line)
    first, *rest = lines
    questions = [f"  # ? {line}" for line in found.unknown]
    head = [
        f"  # {found.framework}, as ./sanso init found it. What it could not find out:" if questions else "",
        *questions,
    ]
    body = [f"  - {first}", *(f"    {line}" for line in rest)]
    return "\n".join([*filter(None, ["apps:", *head]), *body]) + "\n"


class Loader(yaml.SafeLoader):
    """Reads what Ansible does, and leaves its tags (!vault) as they are."""


Loader.add_multi_constructor("!", lambda loader, tag, node: f"{tag}: {getattr(node, 'value', '')}")


def apps_in(text: str):
    """What a file says of apps; None of what is no YAML."""
    try:
        return (yaml.load(text, Loader) or {}).get("apps")
    except (yaml.YAMLError, AttributeError):
        return None


def add(text: str, app: dict, inventory: Path) -> Path:
    """Add the app to the inventory's list, and leave all else in that file as it is. Returns the file."""
    folder = inventory if inventory.is_dir() else inventory.parent
    said = where_set("apps", folder).rpartition(":")[0]
    path = Path(said) if said and Path(said).is_file() else folder / "group_vars/all/apps.yml"
    before = path.read_text() if path.is_file() else "---\n"
    old = apps_in(before) or []
    if any(isinstance(each, dict) and each.get("name") == app["name"] for each in old):
        raise Failure(
            f"{relative(path)} has an app {app['name']} already",
            next_step="edit it there, or give this one another name, with --name",
        )
    after = merged(before, text)
    if not isinstance(old, list) or apps_in(after) != [*old, app]:
        raise Failure(
            f"{relative(path)} is written in a way that I can't add to",
            next_step="put the description there yourself: without --write it is printed",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".apps-", delete=False) as file:
        file.write(after)
    written = Path(file.name)
    written.chmod(path.stat().st_mode & 0o777 if path.is_file() else 0o644)
    written.replace(path)
    return path


def merged(before: str, text: str) -> str:
    """The file with the new item at the end of its list of apps."""
    lines, item = before.splitlines(), text.splitlines()[1:]
    at = next((number for number, line in enumerate(lines) if re.match(r"apps\s*:", line)), None)
    if at is None:
        return "\n".join([*lines, *([""] if lines and lines[-1] not in ("", "---") else []), "apps:", *item]) + "\n"
    lines[at] = re.sub(r"\[\s*\]", "", lines[at]).rstrip()
    end = at + 1
    for number, line in enumerate(lines[at + 1 :], start=at + 1):
        if line.strip() and not line.startswith((" ", "-", "#")):
            break
        if line.strip() and not line.startswith("#"):
            end = number + 1
    indent = next((re.match(r"\s*", line)[0] for line in lines[at + 1 : end] if line.lstrip().startswith("- ")), "  ")
    item = [indent + line[2:] for line in item]
    return "\n".join([*lines[:end], *item, *lines[end:]]) + "\n"
