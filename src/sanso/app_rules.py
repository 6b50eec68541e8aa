"""Rules for the apps of an inventory that types can't say.

What an app's description says becomes paths, units, nginx's configuration and shell words, on servers, as root. So
every string of it is held to what it needs to be, here and before anything is sent. A refusal names the app, the key,
the value, and what is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

HOST_NAME = re.compile(r"(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.I)
# An app's name is a user, a schema, folders and units too: what the platforms already use under these is not to be had.
APP_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
TAKEN = {
    *(
        "adm",
        "admin",
        "audio",
        "backup",
        "bin",
        "cdrom",
        "crontab",
        "daemon",
        "dialout",
        "dip",
        "disk",
        "fax",
        "floppy",
    ),
    *("games", "input", "irc", "kmem", "kvm", "list", "lp", "mail", "man", "messagebus", "news", "nobody", "nogroup"),
    *("operator", "plugdev", "polkitd", "proxy", "render", "root", "sasl", "sgx", "shadow", "src", "sshd", "staff"),
    *("sudo", "sync", "sys", "syslog", "systemd", "tape", "tss", "tty", "ubuntu", "users", "utmp", "uucp", "uuidd"),
    *("video", "voice", "www"),  # users, groups
    *("acme", "mysql", "nginx", "redis", "sanso", "uwsgi"),  # the tiers' own
    *("information_schema", "performance_schema", "test"),  # schemas
}
NAME_ALLOWED = "a-z, 0-9 and _, a letter first, 31 characters at most"
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# As nginx's own are written, so that one is replaced and not sent twice.
HEADER_NAME = re.compile(r"[A-Z][a-z0-9]*(-[A-Z][a-z0-9]*)*")
# A path with a host in front, or a URL: what git understands and isn't a folder here.
GIT_URL = re.compile(r"(https?|ssh|git|file)://|[^/]+@[^/]+:")
VERSION = re.compile(r"(?!.*(\.\.|//|@\{|\.lock$|[/.]$))[A-Za-z0-9_][A-Za-z0-9_./+@-]*")
SEGMENT = r"(?!\.{1,2}(?:/|$))[A-Za-z0-9_.+@~-]+"
FOLDER = re.compile(rf"{SEGMENT}(/{SEGMENT})*/?")
# Parts of a regular expression of nginx's, too, which takes . for itself only where it is told.
URL_PATH = re.compile(rf"(?!.*\+)(/{SEGMENT})+")
BUILD = "$APP_BUILD"  # the folder that a release's `build` fills
PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
DOTTED = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"
WSGI = re.compile(rf"{DOTTED}(:{DOTTED}(\(\))?)?", re.ASCII)
REVISION = re.compile(r"[A-Za-z0-9_.-]+")
HEALTH_PATH = re.compile(r"/[!-~]*")
SIZE = re.compile(r"[0-9]+[kKmMgG]?")
MEMORY = re.compile(r"(100|[1-9][0-9]?)(\.[0-9]+)?%|[1-9][0-9]*[KMGT]?|infinity")
CPU = re.compile(r"[1-9][0-9]*%")
CALENDAR = re.compile(r"[A-Za-z0-9*][A-Za-z0-9*,./:~_+ -]*")
DIRECTIVE = re.compile(r"[A-Za-z]+=.*")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
OURS = {"APP_BUILD"}  # variables of the environment that nobody else sets

# What each entry of `workers` and `schedule` may say, with what it must be.
WHOLE = (1, 1_000_000)
ENTRIES = {
    "workers": {"command": str, "count": (1, 64), "network": bool, "stop_seconds": WHOLE},
    "schedule": {"command": str, "at": str, "network": bool, "timeout": WHOLE},
}
NEEDED = {"workers": ["command"], "schedule": ["command", "at"]}
# Numbers: from, to, of which None is open.
NUMBERS = {"processes": (1, 1024), "processes_min": (1, 1024), "threads": (1, 1024), "timeout": (1, 86_400)}


def shown(value: Any) -> str:
    """A value in a message; a long one's beginning."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}…"


def of_headers(headers: dict) -> Iterator[str]:
    """Rules for names and values that nginx will quote."""
    for name, value in headers.items():
        if not HEADER_NAME.fullmatch(str(name)):
            yield f"{shown(name)} is no header, which is written like Content-Security-Policy"
        elif not isinstance(value, str) or re.search(r'["\\\r\n]', value):
            yield f"{name} is one line of text without double quotes and backslashes, not {shown(value)}"
        elif CONTROL.search(value) or "$" in value:
            yield f"{name} is text without control characters and $, which nginx would fill in, not {shown(value)}"


def of_name(name: str) -> Iterator[str]:
    if not APP_NAME.fullmatch(name):
        yield f"{shown(name)} is no name for an app: it takes {NAME_ALLOWED}"
    elif name in TAKEN or name.startswith("systemd"):
        yield f"{name} is taken: an app's name is also a user and a schema, and the system has such a one already"


def number(value: Any) -> int | None:
    """A whole number, also where it is written as text; else None."""
    if isinstance(value, bool) or not re.fullmatch(r"-?[0-9]+", str(value)):
        return None
    return int(value)


def of_source(app: dict) -> Iterator[str]:
    source, version = app["source"], str(app.get("version", "HEAD"))
    if CONTROL.search(source) or source.startswith("-") or not source:
        yield f"source: {shown(source)} is a folder or a git URL, in one line that doesn't begin with -"
    elif re.match(r"https?://[^/@]*:[^/@]*@", source):
        host = source.partition("@")[2]
        yield f"source: the URL (…@{host}) holds a password, which logs would show; git has credential helpers, and SSH"
    if not VERSION.fullmatch(version):
        yield f"version: {shown(version)} is no branch, tag or commit: it takes letters, digits and ._/+@-, no .."
    named = app.get("dependencies", "")
    if named and not FOLDER.fullmatch(named):
        yield f"dependencies: {shown(named)} is a file in the source: letters, digits and _.+@~- between slashes, no .."
    for key in ("packages", "build_packages"):
        for package in app.get(key, []):
            if not PACKAGE.fullmatch(package):
                yield f"{key}: {shown(package)} is no package of a distribution: it takes a-z, 0-9 and +.-"


def of_code(app: dict) -> Iterator[str]:
    wsgi = app["wsgi"]
    module = wsgi.partition(":")[0]
    if not WSGI.fullmatch(wsgi) or module.endswith(".py"):
        hint = f" ({wsgi.replace('.py', '', 1)}, without .py?)" if ".py" in wsgi else ""
        yield f"wsgi: {shown(wsgi)} is module:callable, module:factory(), or a module with an `application`{hint}"
    elif "." in wsgi.partition(":")[2] and not app.get("trace", True):
        yield f"wsgi: {shown(wsgi)} names a part of an object, which uWSGI can't find by itself: that takes trace: true"
    for key in ("build", "migrate"):
        if "\0" in app.get(key, ""):
            yield f"{key}: a shell command has no NUL in it"
    for revision in app.get("compatible_revisions", []):
        if not REVISION.fullmatch(revision):
            yield f"compatible_revisions: {shown(revision)} is no revision: it takes letters, digits and _.-"
    health = str(app.get("health_path", "/"))
    if not health.startswith("/"):
        yield f"health_path begins with /, unlike {shown(health)}"
    elif not HEALTH_PATH.fullmatch(health):
        yield f"health_path: {shown(health)} is a URL's path, percent-encoded: no spaces, no letters beyond ASCII"
    before = ""
    for line in map(str.strip, app.get("extra_unit", "").splitlines()):
        goes_on = before.endswith("\\") and not line.startswith("[")
        if line and not line.startswith(("#", ";")) and not goes_on and not DIRECTIVE.fullmatch(line):
            yield f"extra_unit: {shown(line)} is no line of [Service], which is written Directive=value"
        before = line


def of_settings(app: dict) -> Iterator[str]:
    environment, secrets = app.get("environment", {}), app.get("secrets", {})
    for key, settings in (("environment", environment), ("secrets", secrets)):
        for variable, value in settings.items():
            if not VARIABLE.fullmatch(str(variable)):
                yield f"{key}: {shown(variable)} is no name of an environment variable: it takes letters, digits and _"
            elif variable in OURS:
                yield f"{key}: {variable} is what Sansō itself sets"
            elif isinstance(value, (dict, list)) or value is None or "\0" in str(value):  # never with its value
                yield f"{key}: {variable} is text or a number, without NUL, not {type(value).__name__}"
    for variable in sorted(map(str, environment.keys() & secrets.keys())):
        yield f"{variable} is in environment and in secrets; one of them would be in vain"
    yield from of_headers(app.get("headers", {}))


def of_addresses(app: dict) -> Iterator[str]:
    if not app["server_names"]:
        yield "server_names is empty, so nobody could reach it"
    for host in app["server_names"]:
        if not HOST_NAME.fullmatch(host) or len(host) > 253:
            yield f"{shown(host)} in server_names is not a host name: letters, digits and -, between dots"
    path = app.get("path", "/")
    if path != "/" and not URL_PATH.fullmatch(path):
        yield f"path: {shown(path)} is / or like /shop: letters, digits and _.@~-, between slashes, none at the end"
    seen = set()
    for prefix, folder in app.get("static", {}).items():
        inside = str(folder).removeprefix(f"{BUILD}/")
        if not URL_PATH.fullmatch(str(prefix).rstrip("/")):
            yield (
                f"static maps a URL prefix to a folder inside the source, not {shown(prefix)} to {shown(folder)}: the "
                "prefix is like /static, of letters, digits and _.@~-"
            )
        elif folder != BUILD and (not FOLDER.fullmatch(inside) or CONTROL.search(inside)):
            yield (
                f"static maps a URL prefix to a folder inside the source, not {shown(prefix)} to {shown(folder)}: the "
                f"folder is relative, or begins with {BUILD}; it takes letters, digits and _.+@~-, no .."
            )
        elif str(folder).startswith(BUILD) and not app.get("build"):
            yield f"static: {shown(folder)} is what `build` makes, and there is no build"
        if str(prefix).rstrip("/") in seen:
            yield f"static: {shown(prefix)} is there twice"
        seen.add(str(prefix).rstrip("/"))
    if "body_max" in app and not SIZE.fullmatch(str(app["body_max"])):
        yield f"body_max: {shown(app['body_max'])} is a size of nginx's: a number, with k, m or g"


def of_limits(app: dict, backlog: int) -> Iterator[str]:
    numbers = {**NUMBERS, "waiting_max": (0, backlog)}
    for key, (least, most) in numbers.items():
        if key in app and not (least <= int(app[key]) <= most):
            yield f"{key}: {app[key]} is a number from {least} to {most}{' (app_backlog)' * (key == 'waiting_max')}"
    if "processes_min" in app and int(app["processes_min"]) > int(app.get("processes", 2)):
        yield f"processes_min: {app['processes_min']} is more than processes, {app.get('processes', 2)}"
    limits = app.get("limits", {})
    if "memory" in limits and not MEMORY.fullmatch(str(limits["memory"])):
        yield f"limits.memory: {shown(limits['memory'])} is a share like 80%, bytes like 512M (K, M, G, T), or infinity"
    if limits.get("cpu") and not CPU.fullmatch(str(limits["cpu"])):
        yield f"limits.cpu: {shown(limits['cpu'])} is a share of one core, like 50% or 150%"
    if "tasks" in limits and not 1 <= int(limits["tasks"]) <= 1_000_000:
        yield f"limits.tasks: {limits['tasks']} is a number of processes and threads, from 1"


def of_jobs(app: dict) -> Iterator[str]:
    """Rules for `workers` and `schedule`, whose names are those of units too."""
    for key, known in ENTRIES.items():
        for name, entry in app.get(key, {}).items():
            if not APP_NAME.fullmatch(str(name)):
                yield f"{key}: {shown(name)} is no name: it takes {NAME_ALLOWED}"
                continue
            if not isinstance(entry, dict):
                yield f"{key}.{name}: {shown(entry)} is {{command: …}}, which may say {', '.join(known)} too"
                continue
            for missing in [each for each in NEEDED[key] if not entry.get(each)]:
                yield f"{key}.{name} has no {missing}"
            for said, value in entry.items():
                if problem := of_entry(said, value, known):
                    yield f"{key}.{name}{problem}"


def of_entry(said: str, value: Any, known: dict) -> str:
    if said not in known:
        return f" has no key {said}; known are: {', '.join(known)}"
    kind = known[said]
    if kind is bool:
        return "" if isinstance(value, bool) else f".{said}: {shown(value)} is true or false"
    if isinstance(kind, tuple):
        found = number(value)
        fits = found is not None and kind[0] <= found <= kind[1]
        return "" if fits else f".{said}: {shown(value)} is a whole number from {kind[0]} to {kind[1]}"
    if not isinstance(value, str) or CONTROL.search(value):
        return f".{said}: {shown(value)} is one line of text"
    if said == "at" and value and not CALENDAR.fullmatch(value):
        return f".at: {shown(value)} is a calendar event of systemd's, like daily or Mon *-*-* 03:00"
    return ""


def of_app(app: dict, backlog: int) -> Iterator[str]:
    """What is wrong with one app, without its name."""
    yield from of_source(app)
    yield from of_code(app)
    yield from of_settings(app)
    yield from of_addresses(app)
    yield from of_limits(app, backlog)
    yield from of_jobs(app)


# Several of them


def names_of(app: dict) -> list[str]:
    return sorted({host.lower() for host in app["server_names"]})


def places_of(app: dict) -> set[str]:
    """The URL paths that are its own, but / alone. Its static files are below its own path, as all that it has."""
    path = str(app.get("path", "/")).rstrip("/")
    return {path, *(f"{path}/{str(prefix).strip('/')}" for prefix in app.get("static", {}))} - {""}


def of_neighbours(apps: list[dict]) -> Iterator[str]:
    """Rules for apps that are side by side on one server."""
    names = [app["name"] for app in apps]
    for twice in sorted({name for name in names if names.count(name) > 1}):
        yield f"two apps have the name {twice}"
    for app in apps:
        lower = [host.lower() for host in app["server_names"]]
        for twice in sorted({host for host in lower if lower.count(host) > 1}):
            yield f"{app['name']}: {twice} is twice in server_names"
    pairs = [(app, other) for at, app in enumerate(apps) for other in apps[at + 1 :]]
    for app, other in pairs:
        both = f"{app['name']} and {other['name']}"
        shared = sorted({*names_of(app)} & {*names_of(other)})
        if not shared:
            continue
        if app["server_names"] != other["server_names"]:
            yield (
                f"two apps are served under {shared[0]}: {both}, which have other server_names beside it; apps share "
                "all of them, in the same order, each with a path of its own, or none"
            )
            continue
        if app.get("path", "/") == other.get("path", "/"):
            place = f"{shared[0]}{app.get('path', '/')}"
            yield f"two apps are served under {place}: {both}; a path of its own sets one apart"
            continue
        for key in ("certificate", "certificate_key"):
            if app.get(key) != other.get(key):
                yield f"{both} share {shared[0]}, so they have the same {key}: not {app.get(key)} and {other.get(key)}"
        for each in sorted(places_of(app) & places_of(other)):
            yield f"{both} share {shared[0]}, and both have {each}; one of them has it in static"


def of_apps(apps: list[dict], backlog: int = 65_535) -> Iterator[str]:
    """Rules for app descriptions, as sentences."""
    yield from of_neighbours(apps)
    for app in apps:
        yield from of_name(app["name"])
        yield from (f"{app['name']}: {problem}" for problem in of_app(app, backlog))


def of_run(value: dict) -> Iterator[tuple[str, str]]:
    """Rules for what a run says of apps, as (variable, sentence)."""
    names = [app["name"] for app in value["apps"]]
    known = f"apps has {', '.join(sorted(names))}"
    for name in value["app_only"]:
        if name not in names:
            yield "app_only", f"there is no app {shown(name)}; {known}"
    for name, version in value["app_versions"].items():
        if name not in names:
            yield "app_versions", f"there is no app {shown(name)}; {known}"
        elif not VERSION.fullmatch(str(version)):
            yield "app_versions", f"{name}: {shown(version)} is no branch, tag or commit"
    for variable in ("app_by", "app_why"):
        if CONTROL.search(value[variable]) or len(value[variable]) > 500:
            yield variable, f"{shown(value[variable])} is one line of text, 500 characters at most"
    removed = [entry["name"] for entry in value["apps_removed"]]
    for name in removed:
        for problem in of_name(name):  # what is taken isn't ours to remove
            yield "apps_removed", problem
        if name in names:
            yield "apps_removed", f"{name} is in apps too: it is to be there, or to be gone"
    for twice in sorted({name for name in removed if removed.count(name) > 1}):
        yield "apps_removed", f"{twice} is there twice"
    people = {admin["name"] for admin in value["os_admins"]}
    for name in sorted(people & {*names, *removed}):
        yield "apps", f"{name} is also one of os_admins, and both would be the same user"
