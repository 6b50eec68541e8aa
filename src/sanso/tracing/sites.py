"""Which app a URL is for, as nginx would choose it among the apps that an inventory describes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sanso.tracing.evidence import CouldNotTrace
from sanso.tracing.request import Call

UNTRACED = {
    "disabled": "nginx takes no part in traces there (nginx_trace_sampling: disabled)",
    "nobody": "nobody may have a request traced there (nginx_trace_sampling: nobody)",
}


def refuse_untraced(settings: Mapping):
    """Raise CouldNotTrace if the inventory says that no request of ours can be traced."""
    if said := UNTRACED.get(settings.get("nginx_trace_sampling", "")):
        raise CouldNotTrace(said, "nginx_trace_sampling: secret in the inventory, then ./sanso up, lets this be traced")


def site_of(apps: Sequence[Mapping], what: str, app_name: str = "") -> tuple[str, Mapping]:
    """The URL to ask for, and the description of its app. `what`: a URL, or a path of the app (of the first one).

    Raises ValueError where the words make no sense, CouldNotTrace where no app is served under that name.
    """
    served = {app["name"]: app for app in apps if app.get("server_names")}
    if not served:
        raise CouldNotTrace("no app is served under a name", "group_vars/all/apps.yml of the inventory says which")
    if app_name and app_name not in served:
        raise ValueError(f"the inventory has no app {app_name}, but {', '.join(served)}")
    if what.startswith("/"):
        app = served[app_name] if app_name else next(iter(served.values()))
        # Any name will do where all names of a domain are the app's.
        return f"https://{app['server_names'][0].replace('*', 'sanso-trace')}{begin(app)}{what}", app
    try:
        call = Call(what, "")
    except ValueError as error:
        raise ValueError(f"{error}; a path starts with /") from error
    name = call.host
    app = app_of(apps, name, call.target)
    if not app:
        known = ", ".join(name for app in served.values() for name in app["server_names"])
        raise CouldNotTrace(f"{name} is no name that is served; {known} is", "with one of these, or only a path")
    if app_name and app["name"] != app_name:
        raise ValueError(f"{name} is a name of the app {app['name']}, not of {app_name}")
    return what, app


def begin(app: Mapping) -> str:
    """What stands before each of an app's paths: nothing, or where it begins below its names."""
    return app.get("path", "/").rstrip("/")


def app_of(apps: Sequence[Mapping], name: str, path: str = "/") -> Mapping | None:
    """The app that is served under a name, at a path of it, or None."""
    patterns = {pattern for app in apps for pattern in app.get("server_names", [])}
    # The whole name, then the longest *.pattern, then the longest pattern.*
    fitting = [pattern for pattern in patterns if fits(pattern.lower(), name.lower())]
    fitting.sort(key=lambda pattern: ("*" in pattern, pattern.endswith("*"), -len(pattern)))
    below = [app for app in apps if fitting and fitting[0] in app.get("server_names", [])]
    below = [app for app in below if f"{path.partition('?')[0]}/".startswith(f"{begin(app)}/")]
    return max(below, key=lambda app: len(begin(app)), default=None)


def fits(pattern: str, name: str) -> bool:
    """Tell whether nginx takes a name for one of this server_name."""
    if pattern.startswith("*."):
        return name.endswith(pattern[1:])
    if pattern.startswith("."):
        return name == pattern[1:] or name.endswith(pattern)
    if pattern.endswith(".*"):
        return name.startswith(pattern[:-1])
    return name == pattern
