"""Check an inventory against what the roles document, on the controller, before anything is sent to a server.

Both engines call check(), so that a wrong inventory gives the same message with either. Ansible itself checks a role's
variables when the role begins: by then the layers before it have changed the server. And it can't notice a misspelt
name, which is just another variable. Each problem names the variable, what is expected, and where it is set.
"""

from __future__ import annotations

import difflib
import ipaddress
import itertools
import re
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from sanso import app_rules
from sanso.app_rules import GIT_URL, of_headers
from sanso.places import where_set

ROOT = Path(__file__).resolve().parents[2]  # not from sanso.project, which needs more than Ansible's Python has
GROUPS = ("web", "app", "db")
NO_HOST = "the inventory has no host in this group, which says where that tier runs"
ACCOUNT = re.compile(r"[^@\s]+@[^@\s]+")


def load_specs(roles=ROOT / "roles"):
    """Role name to the options of its argument_specs.yml; the roles without one take no variables."""
    return {
        path.parents[1].name: yaml.safe_load(path.read_text())["argument_specs"]["main"].get("options", {})
        for path in sorted(roles.glob("*/meta/argument_specs.yml"))
    }


def concerned(names, specs):
    """Those of the variables that the rules look at: they are a role's, or look like one."""
    known = {name for options in specs.values() for name in options}
    prefixes = tuple(f"{role}_" for role in specs)
    return [name for name in names if name in known or name.startswith(prefixes)]


def suggestion(name, known):
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known are: {', '.join(sorted(known))}"


def misspelt(variables, specs):
    """Variables that carry a role's prefix and that no role knows."""
    known = {name for options in specs.values() for name in options}
    for name in sorted(variables):
        role = name.split("_", 1)[0]
        if role in specs and name.startswith(f"{role}_") and name not in known:
            of_the_role = {each for each in known if each.startswith(f"{role}_")}
            yield name, f"no role knows this variable{suggestion(name, of_the_role)}"


def unknown_keys(variables, options):
    """Keys inside a list of dictionaries (an app, an admin) that its description doesn't have."""
    for name, option in options.items():
        items = variables.get(name)
        if "options" not in option or not isinstance(items, list):
            continue
        for item in items:
            for key in sorted(set(item) - set(option["options"])) if isinstance(item, dict) else ():
                yield name, f"{item.get('name', 'an entry')} has no key {key}{suggestion(key, list(option['options']))}"


def mistyped(variables, options):
    """What Ansible's own check of types, choices and required options finds."""
    given = {name: variables[name] for name in options if name in variables}
    for message in ArgumentSpecValidator(options).validate(given).error_messages:
        named = (name for name in sorted(options, key=len, reverse=True) if re.search(rf"\b{name}\b", message))
        yield next(named, "inventory"), message


def of_access(value):
    """Rules for what decides who gets in. What it then does to us is tried on the server."""
    port = int(value["os_ssh_port"])
    if not 0 <= port <= 65535:
        yield "os_ssh_port", "it is a port, 1 to 65535, or 0 to leave sshd's own as it is"
    elif port in (80, 443):
        yield "os_ssh_port", f"{port} is nginx's"
    for number, line in enumerate(value["os_firewall_extra_rules"].splitlines(), start=1):
        # Outside of this project's table it would stay behind when the firewall goes back to what it was.
        depths = list(itertools.accumulate({"{": 1, "}": -1}.get(sign, 0) for sign in line.partition("#")[0]))
        if depths and (min(depths) < 0 or depths[-1] != 0):
            yield "os_firewall_extra_rules", f"line {number} leaves the input chain: {line.strip()}"
    for address in value["os_ban_ignored"]:
        try:
            ipaddress.ip_network(address, strict=False)
        except ValueError:
            yield "os_ban_ignored", f"{address} is no address and no network, like 198.51.100.0/24"
    if int(value["os_ban_after"]) < 0:
        yield "os_ban_after", "it is a number of failures, or 0 for no bans"
    if int(value["os_ban_minutes"]) < 1:
        yield "os_ban_minutes", "it is a number of minutes, 1 at least"


def of_certificates(apps, value):
    """Rules for who makes an app's certificate, as (variable, sentence)."""
    of_acme = []
    for app in apps:
        name, source = app["name"], app.get("certificate")
        if source in (None, "local", "acme"):
            if app.get("certificate_key"):
                yield "apps", f"{name}: certificate_key goes with a certificate that is a file"
            if (source or (not value["nginx_tls_certificate"] and value["nginx_certificates"])) == "acme":
                of_acme.append(app)
        elif not app.get("certificate_key"):
            yield "apps", f"{name}: certificate is a file (neither local nor acme), so it needs a certificate_key"
        else:
            for file in (source, app["certificate_key"]):
                if not Path(file).expanduser().is_file():
                    yield "apps", f"{name}: there is no file {file} on this computer"
    if not of_acme:
        return
    if not value["acme_agree_tos"]:
        yield (
            "acme_agree_tos",
            f"it must be true: read the terms of the CA, {value['acme_directory']}, and agree to them",
        )
    if not value["acme_directory"].startswith("https://"):
        yield "acme_directory", "it is the https:// URL of the CA's directory"
    for app in of_acme:
        for host in app["server_names"]:
            if host.startswith("*.") and not value["acme_dns_hook"]:
                yield "acme_dns_hook", f"{app['name']}: a CA proves {host} by DNS only, so it needs your hook"


def problems(variables, specs, groups, root):
    """Every problem as (variable, sentence). `root`: the folder that relative sources count from."""
    found = [
        *((group, NO_HOST) for group in GROUPS if not groups.get(group)),
        *misspelt(variables, specs),
    ]
    for options in specs.values():
        unknown = list(unknown_keys(variables, options))
        found += unknown or mistyped(variables, options)
    if found:
        return list(dict.fromkeys(found))  # what two roles take would be said twice; the rest relies on types

    apps = variables["apps"]
    value = {
        name: variables.get(name, option.get("default"))
        for options in specs.values()
        for name, option in options.items()
    }
    found += [("apps", sentence) for sentence in app_rules.of_apps(apps, int(value["app_backlog"]))]
    found += app_rules.of_run(value)
    for app in apps:
        source = Path(app["source"]).expanduser()
        if not GIT_URL.match(app["source"]) and not (root / source).is_dir():
            found.append(
                ("apps", f"{app['name']}: its source {app['source']} is neither a folder in {root} nor a git URL")
            )
    found += [("nginx_headers", sentence) for sentence in of_headers(value["nginx_headers"])]
    for account in value["mysql_extra_accounts"]:
        if not ACCOUNT.fullmatch(account):
            found.append(("mysql_extra_accounts", f"{account!r} is no account, which is written name@host"))
    for pattern in value["hardening_integrity_ignored"]:
        try:
            re.compile(pattern)
        except re.error as error:
            found.append(("hardening_integrity_ignored", f"{pattern!r} is no regular expression: {error}"))
    certificate, key = value["nginx_tls_certificate"], value["nginx_tls_key"]
    if bool(certificate) != bool(key):
        found.append(("nginx_tls_certificate", "it and nginx_tls_key go together: set both or neither"))
    if certificate and value["nginx_certificates"] != "local":
        found.append(("nginx_certificates", "nginx_tls_certificate is for all apps, so nobody else makes one"))
    for name in ("nginx_tls_certificate", "nginx_tls_key", "acme_ca_certificate", "acme_dns_hook"):
        if value[name] and not Path(value[name]).expanduser().is_file():
            found.append((name, f"there is no file {value[name]} on this computer"))
    found += of_certificates(apps, value)
    if int(value["app_harakiri"]) >= int(value["nginx_upstream_timeout"]):
        found.append(("app_harakiri", "it must be less than nginx_upstream_timeout, or nginx gives up first"))
    if value["app_mysql_group"] != value["mysql_socket_group"]:
        found.append(("app_mysql_group", "it and mysql_socket_group must be the same group"))
    readers = ["nginx_trace_group", "app_trace_group", "mysql_trace_user"]
    if value["hardening_profile"] == "strict":
        readers.append("hardening_proc_group")
    for name in readers:
        if value[name] not in ({value["trace_user"]} | ({""} if name == "mysql_trace_user" else set())):
            found.append((name, f"it must be what trace_user says, {value['trace_user']}"))
    if not 0 <= float(value["nginx_trace_ratio"]) <= 100:
        found.append(("nginx_trace_ratio", "it is a percentage, 0 to 100"))
    found += of_access(value)
    return found


def message(problems, folder):
    """All problems as the one text that a person reads. `folder`: the inventory, to say where each is set."""
    lines = [f"  {name}: {sentence}\n    ({where_set(name, folder)})" for name, sentence in problems]
    count = "One thing is" if len(lines) == 1 else f"{len(lines)} things are"
    return f"{count} wrong in the inventory {folder}. Nothing was changed.\n" + "\n".join(lines)


def explained(name, error, can_ask=True):
    """Why a variable can't be read, and for Ansible Vault how it could. `can_ask`: whether the engine asks for it."""
    file = "the file that ANSIBLE_VAULT_PASSWORD_FILE names"
    ways = f"with --ask-vault-pass, or from {file}" if can_ask else f"from {file}"
    hint = f"\nVault's password comes {ways}."
    return f"{name}: {error}{hint if 'vault' in str(error).lower() else ''}"


def check(variables: dict[str, Any], groups: dict[str, list[str]], folder: Path) -> str:
    """What is wrong in an inventory, as a text for a person; empty if nothing is.

    variables: as a host has them, templated; groups: group name to host names; folder: the inventory.
    """
    found = problems(variables, load_specs(), groups, ROOT)
    return message(found, folder) if found else ""
