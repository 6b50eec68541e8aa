"""Follow one request through every tier of a host, as ./sanso trace does, and fail where a proof does.

Everything happens on this computer, and over SSH as the inventory says; the work is done by src/sanso/tracing.

Arguments: url (a URL, or a path of the app), method, data, headers (a dictionary), app (for a path: which one), html
and otlp (files to write). Prints the picture; returns the verdict as `msg`, and the data of --json as `trace`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ansible.plugins.action import ActionBase

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from sanso.inventory import ca_of  # noqa: E402 -- it lies in the checkout, not in Ansible's Python
from sanso.ssh import Way  # noqa: E402 -- as above
from sanso.tracing import (  # noqa: E402 -- as above
    Call,
    CouldNotTrace,
    Evidence,
    Trace,
    evidence,
    follow,
    page,
    refuse_untraced,
    site_of,
)

ARGUMENTS = ("url", "method", "data", "headers", "app", "html", "otlp")
CONNECTION = ("host", "user", "port", "ssh_private_key_file", "ssh_common_args", "ssh_extra_args")
CERTIFICATES = ("acme_ca_certificate", "nginx_certificates", "nginx_local_ca_directory")
SETTINGS = ("apps", "trace_user", "nginx_trace_sampling", *CERTIFICATES)
WIDTH = 120


class ActionModule(ActionBase):
    _supports_check_mode = True  # a request changes no more than any other
    _VALID_ARGS = frozenset(ARGUMENTS)

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        given = {name: self._task.args.get(name) for name in ARGUMENTS}
        names = {f"ansible_{name}" for name in CONNECTION} | set(SETTINGS)
        variables = {name: self._templar.template(task_vars[name]) for name in names & task_vars.keys()}
        try:
            trace = self.follow(task_vars["inventory_hostname"], variables, given)
            self.write(trace, given)
        except CouldNotTrace as error:
            return {"failed": True, "msg": f"Could not check: {error.sentence}\nNext: {error.next_step}"}
        except (ValueError, OSError) as error:
            return {"failed": True, "msg": str(error)}
        self._display.display(trace.text(WIDTH))
        return {"failed": not trace.ok, "msg": trace.verdict, "trace": trace.as_data()}

    def follow(self, name: str, variables: dict, given: dict) -> Trace:
        refuse_untraced(variables)
        url, app = site_of(variables.get("apps", []), given["url"] or "/", given["app"] or "")
        data = None if given["data"] is None else str(given["data"]).encode()
        method = given["method"] or ("GET" if data is None else "POST")
        headers = tuple((key, str(value)) for key, value in (given["headers"] or {}).items())
        way = Way.by(name, variables)
        call = Call(url, way.address, method, headers, data)
        with Evidence(way, variables.get("trace_user", evidence.USER)) as link:
            return follow(way, call, ca=ca_of(variables), app=app, evidence=link)

    @staticmethod
    def write(trace: Trace, given: dict):
        if given["html"]:
            Path(given["html"]).expanduser().write_text(page.render(trace.as_data()), encoding="utf-8")
        if given["otlp"]:
            Path(given["otlp"]).expanduser().write_text(json.dumps(trace.otlp(), indent=1), encoding="utf-8")
