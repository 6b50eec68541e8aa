"""Both engines build the same: pytest tests/agreement --inventory PATH, from the root.

The inventory holds two servers that are described alike (or there are two inventories with one each), the first built
by Ansible, the second by pyinfra; --engines says otherwise. It wants local machines: where the engines don't agree, one
of them changes what the other one built.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from sanso import digest, inventory
from sanso.console import Failure
from sanso.digest import compare, origin
from sanso.digest.compare import Difference
from sanso.inventory import Host
from sanso.ssh import Way

ENGINES = ("ansible", "pyinfra")
SHOWN = 20  # differences of one section


@dataclass(frozen=True, eq=False)
class Built:
    """A server, and the engine that built it."""

    engine: str
    host: Host
    inventory: Path

    @property
    def name(self) -> str:
        return f"{self.engine} ({self.host.name})"

    @property
    def way(self) -> Way:
        return Way.to(self.host)


def pytest_addoption(parser):
    parser.addoption("--inventory", type=Path, action="append", required=True, help="of two servers (or one, twice)")
    parser.addoption("--engines", default=",".join(ENGINES), help="who built the first, and who the second")


@pytest.fixture(scope="session")
def both(pytestconfig) -> tuple[Built, Built]:
    try:
        described = [inventory.read(path) for path in pytestconfig.getoption("--inventory")]
    except Failure as failure:
        pytest.exit(str(failure), 3)
    hosts = [(host, each.path) for each in described for host in each.hosts.values()]
    engines = pytestconfig.getoption("--engines").split(",")
    if len(hosts) != len(engines) or len(hosts) != 2 or set(engines) - set(ENGINES):
        pytest.exit(f"two servers, and the engine of each, make an agreement: {len(hosts)} and {engines}", 3)
    if outside := [host.name for host, _ in hosts if not host.is_machine]:
        pytest.exit(f"tests/agreement runs the engines: it wants local machines, and no server ({outside})", 3)
    one, other = (Built(engine, *where) for engine, where in zip(engines, hosts, strict=True))
    return one, other


@pytest.fixture(scope="session")
def digests(both) -> tuple[digest.Digest, digest.Digest]:
    try:
        one, other = (digest.take(built.host.name, built.way) for built in both)
    except digest.CouldNotDigest as problem:
        pytest.exit(f"{problem.sentence}; {problem.next_step}", 3)
    return one, other


@pytest.fixture(scope="session")
def told(both):
    """told(differences) shows each as a diff, with who makes it."""

    def texts(built: Built, found: list[Difference]) -> dict[str, str]:
        paths = [each.key for each in found if each.section == "files" and each.contents_differ]
        return digest.texts(built.host.name, built.way, paths)

    def told(found: list[Difference]) -> str:
        shown = found[:SHOWN]
        one, other = (texts(built, shown) for built in both)
        parts = [f"{diff(each, one.get(each.key), other.get(each.key))}\n    {maker(each)}" for each in shown]
        return "\n\n".join([f"{len(found)} differ", *parts, *(["…"] if len(found) > SHOWN else [])])

    def diff(each: Difference, *texts: str | None) -> str:
        return compare.diff(each, tuple(built.name for built in both), texts)

    def maker(each: Difference) -> str:
        found = origin.of(each.section, each.key, [app["name"] for app in both[0].host.get("apps", [])])
        return f"made by {found}" if found else "no task names it: a package, or a program that runs there, made it"

    return told
