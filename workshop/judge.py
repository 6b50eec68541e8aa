"""What a check.py asks with: the learner's machine, as they described it and as it is.

def test_page(lab):
    lab.page("/")                                    # a request that is proved in every tier

def test_mode(lab):
    lab.expect("660", lab.run("stat -c %a /run/app-faults/current.sock"))
"""

from __future__ import annotations

import contextlib
import shlex
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import client
import servers
from evidence import CouldNotCheck
from testinfra.backend.base import CommandResult

from sanso.project import ROOT
from sanso.tracing import Call, CouldNotTrace, Evidence, Trace, follow
from sanso.tracing.request import context, send
from sanso.tracing.spans import TIERS

ALL = ("nginx", "uwsgi", "app", "mysql")
NAME = "test"  # the machine's own name with this domain is what its site is asked under

# Of the reports that workshop/reports.yml found in the end: the newest id (ids count down), their number, and a sum.
COUNTED = "/var/lib/sanso-lab/reports"
COLUMNS = "project, id, fingerprint, type, message, backtrace, context"
SCHEMA = """
SELECT "table", table_name FROM information_schema.tables WHERE table_schema = "{schema}"
UNION SELECT "column", CONCAT_WS(" ", CONCAT(table_name, ".", column_name), column_type, collation_name,
    IF(is_nullable = "YES", "NULL", "NOT NULL"), column_default)
    FROM information_schema.columns WHERE table_schema = "{schema}"
UNION SELECT "index",
    CONCAT(table_name, ".", index_name, " (", GROUP_CONCAT(column_name ORDER BY seq_in_index), ")")
    FROM information_schema.statistics WHERE table_schema = "{schema}" GROUP BY table_name, index_name
"""
SCRATCH = "sanso_lab_scratch"
MADE_ANEW = """
exec 2>/run/sanso-lab-migrations
sanso-app run {app} -- flask --app sample_app db upgrade --sql >/run/sanso-lab-migrations.sql &&
    mysql --execute="DROP SCHEMA IF EXISTS {schema}; CREATE SCHEMA {schema}" &&
    mysql {schema} </run/sanso-lab-migrations.sql
"""


class NotMet(Exception):
    """The machine isn't as the goal has it. expected, found: in words."""

    def __init__(self, expected: str, found: str):
        super().__init__(f"expected {expected}, found {found}")
        self.expected, self.found = expected, found


class Lab:
    """inventory: the learner's; server, app: as tests/tiers know them; attempt: progress.Attempt, as data."""

    def __init__(self, inventory: Path, attempt: Mapping):
        self.inventory, self.attempt = inventory, attempt
        (self.server,) = servers.read(inventory)
        self._traces: list[Trace] = []
        self._told: list[str] = []
        self._open = contextlib.ExitStack()

    @classmethod
    @contextlib.contextmanager
    def of(cls, path: Path, attempt: Mapping) -> Iterator[Lab]:
        lab = cls(path, attempt)
        if lab.server.obstacle:
            raise CouldNotCheck(lab.server.obstacle)
        with lab._open:
            yield lab

    # The machine

    @property
    def app(self) -> servers.App:
        return self.server.apps[0]

    @property
    def name(self) -> str:
        """The name that its site is to be asked under, whatever the inventory serves."""
        return f"{self.server.name}.{NAME}"

    @property
    def token(self) -> str:
        """A word that is this attempt's alone."""
        return self.attempt["token"]

    @property
    def folder(self) -> Path:
        """The learner's: inventory and app are in it."""
        return self.inventory.parent

    @property
    def source(self) -> Path:
        """The learner's copy of the sample app."""
        return ROOT / self.server.settings["apps"][0]["source"]

    def run(self, command: str, *words: str) -> str:
        """What a command of the machine's root says, successful or not; each %s is one of the words, quoted."""
        done = self._done(command, *words)
        return (done.stdout or done.stderr).strip()

    def succeeds(self, command: str, *words: str) -> bool:
        return self._done(command, *words).succeeded

    def _done(self, command: str, *words: str) -> CommandResult:
        try:
            return self.server.host.run(command, *words)
        except RuntimeError as error:  # ssh itself failed
            raise CouldNotCheck(str(error)) from error

    def mysql(self, query: str, *words: str) -> list[list[str]]:
        """The rows of a query, asked as root over the socket. MySQL that can't be asked is NotMet: it is a tier."""
        command = f"mysql {shlex.join(words)} --batch --skip-column-names --raw --execute=%s"
        done = self._done(command, query)
        if done.failed:
            raise NotMet("MySQL answers when it is asked over its socket", done.stderr.strip())
        return [row.split("\t") for row in done.stdout.splitlines()]

    # Judging

    def expect(self, expected, found, ok: bool | None = None):
        """The goal is met if both are the same, or, where it is given, if `ok`."""
        if not (expected == found if ok is None else ok):
            raise NotMet(str(expected), str(found))

    def page(self, path: str = "/", status: int = 200, tiers: Sequence[str] = ALL, **words) -> Trace:
        """Ask for a page, and follow that request through every tier: the goal is met if all proofs hold.

        tiers: who has to have a part in it. words: those of sanso.tracing.Call, such as method and data. Nothing else
        than the three tiers can meet it: what answers in their place leaves no evidence of it, or a wrong one.
        """
        url = f"https://{self.name}{path}"
        expected = f"{words.get('method', 'GET')} {url} answers {status}, and every tier proves its part"
        call = Call(url, self.server.address, **words)
        self._reach(Call(url, self.server.address, method="HEAD", seconds=20), expected)
        try:
            trace = follow(
                self.server.way,
                call,
                ca=self.server.voucher(self.app),
                app=asdict(self.app),
                evidence=self._evidence,
            )
        except CouldNotTrace as error:
            raise NotMet(expected, self._also(error.sentence)) from error
        self._traces.append(trace)
        if trace.ended:
            # Not what the trace makes of it: that is the learner's to find out.
            ended = f"{trace.status or 'no answer'}: the trace ended at {TIERS[trace.ended.tier]}"
            raise NotMet(expected, self._also(ended))
        wrong = [f"{proof.name}: {proof.said}" for proof in trace.proofs if not proof.ok]
        took_part = {span.tier for span in trace.spans}
        wrong += [f"no {tier} took part in it" for tier in tiers if tier not in took_part]
        if trace.status != status or wrong:
            raise NotMet(expected, "; ".join([str(trace.status), *wrong]))
        return trace

    def _reach(self, call: Call, expected: str):
        """Whether anything answers there, as a visitor's browser sees it: who can't come in is no proof of anything."""
        if self.knock(call.port) == "no answer":  # who goes on waiting hears the same, ten times as late
            raise NotMet(expected, "no answer: timed out")
        exchange = send(call, context(self.server.voucher(self.app)))
        if error := exchange.error:
            said = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else str(error)
            raise NotMet(expected, f"no answer: {said or type(error).__name__}")

    def _also(self, said: str) -> str:
        """With the last line of nginx's log of errors, which has the kernel's own word."""
        last = self.run("tail -qn1 /var/log/sanso/nginx/error.log")
        return f"{said}; nginx's log: {last}" if last else said

    @cached_property
    def _evidence(self) -> Evidence:
        return self._open.enter_context(Evidence(self.server.way, user=self.server.settings["trace_user"]))

    def tell(self, said: str):
        """Something to be shown with a goal that is met."""
        self._told.append(said)

    def take(self) -> dict[str, str]:
        """What belongs to a goal, since this was asked last: the request that was followed, and what was told."""
        traces, told = self._traces, self._told
        self._traces, self._told = [], []
        return {"trace": traces[-1].text(100) if traces else "", "found": "; ".join(told)}

    def ask(self, path: str = "/", **words) -> client.Answer:
        """Ask for a page, without following it. words: those of client.request in tests/tiers."""
        try:
            return client.request(self.server, self.name, path, **words)
        except OSError as error:
            raise NotMet(f"https://{self.name}{path} answers", f"no answer: {error}") from error

    def knock(self, port: int) -> str:
        """open, refused, or no answer."""
        return client.knock(self.server, port)

    # What several exercises ask

    def socket_is_guarded(self):
        """The app's socket is nginx's and the app's alone, all the way: no mode 777 on it, or above it."""
        folder = f"/run/app-{self.app.name}"
        found = self.run("stat -Lc '%%a %%U:%%G' %s %s", folder, self.app.socket).splitlines()
        self.expect(["755 root:root", "660 root:www-data"], found)

    def reports_are_kept(self):
        """The reports that workshop/reports.yml counted are all there, as they were; what came since doesn't matter."""
        newest, *counted = self.run("cat %s 2>/dev/null", COUNTED).split() or (2**63 - 1, "0", "0")
        counts = f"COUNT(*), COALESCE(BIT_XOR(CRC32(CONCAT_WS('|', {COLUMNS}))), 0)"
        (found,) = self.mysql(f"SELECT {counts} FROM error WHERE id >= {newest}", self.app.name)
        said = f"{found[0]} reports from before" + (", not all as they were" if found[0] == counted[0] else "")
        self.expect(f"{counted[0]} reports from before, as they were", said, found == counted)

    def tables_are_as_migrated(self):
        """The app's tables and their revision are what the migrations of the release that serves make of nothing."""
        here, anew = self.schema(), self.schema_made_anew()
        differs = [f"missing: {each}" for each in sorted(anew - here)]
        differs += [f"too many: {each}" for each in sorted(here - anew)]
        self.expect("the tables that the app's migrations make", "; ".join(differs) or "the same", not differs)

    def schema(self, name: str = "") -> set[str]:
        """A schema's tables, columns, indexes and revision, in words; the app's, unless another is named."""
        name = name or self.app.name
        found = {" ".join(row) for row in self.mysql(SCHEMA.replace("{schema}", name))}
        if "table alembic_version" in found:
            found |= {f"revision {row[0]}" for row in self.mysql("SELECT version_num FROM alembic_version", name)}
        return found

    def schema_made_anew(self) -> set[str]:
        """The same of what the migrations of the release that serves make of an empty schema, which goes again."""
        try:
            if not self.succeeds("sh -c %s", MADE_ANEW.format(app=self.app.name, schema=SCRATCH)):
                said = self.run("cat /run/sanso-lab-migrations")
                raise NotMet("the app's migrations can be applied to an empty database", said[-500:])
            return self.schema(SCRATCH)
        finally:
            self.run("mysql --execute=%s", f"DROP SCHEMA IF EXISTS {SCRATCH}")

    def lines(self, found: str) -> Sequence[str]:
        return [line for line in found.splitlines() if line.strip()]
