"""One request through all tiers, and the traces that it leaves in each.

The sample app is asked to store an error report under the project sanso-check: all that these checks ever write.
"""

from __future__ import annotations

import html
import json
import re
import uuid
from collections import Counter
from itertools import groupby
from typing import NamedTuple

import pytest
from client import request, require_traces, trace_id
from evidence import CouldNotCheck, ask, journal, modes, mysql
from sockets import Process, UnixSocket, processes, unix_sockets

GROUPS = {"web"}

PROJECT = "sanso-check"
API = f"/api/projects/{PROJECT}/errors"

NUMBER = r"\d+(?:\.\d+)+"
VERSION_OF = {
    "nginx": "nginx -v 2>&1",
    "uWSGI": "uwsgi --version",
    "MySQL": "mysql --batch --skip-column-names --execute='SELECT VERSION()'",
}


def require_one_host(server):
    if not {"web", "app", "db"} <= server.groups:
        pytest.skip("the tiers are on several hosts")


# Any app


def test_app_is_healthy(server, host, app):
    answer = request(server, app.host_name, app.at(app.health_path))
    assert answer.status == 200, f"{answer}\n{journal(host, app.service)}"


def test_request_is_a_line_in_the_log_of_nginx(server, host, app):
    """As JSON, which says where it was handed on to."""
    require_traces(server)
    require_one_host(server)
    answer = request(server, app.host_name, app.at(app.health_path))
    line = json.loads(ask(host, "grep -F %s /var/log/sanso/nginx/access.jsonl", trace_id(answer)))
    seen = {key: line[key] for key in ("method", "host", "uri", "status", "upstream")}
    handed_on = {"uri": app.at(app.health_path), "upstream": f"unix:{app.upstream}"}
    assert seen == {"method": "GET", "host": app.host_name, "status": answer.status, **handed_on}, answer


# The sample app stores and reads


class Report(NamedTuple):
    id: int
    message: str


@pytest.fixture(scope="module")
def message():
    """Different in each run, and so long that nginx compresses it."""
    return f"A check of the tiers, {uuid.uuid4()}, ä三" + "." * 1024


@pytest.fixture(scope="module")
def reporting(server, sample, message):
    """The answer to a report."""
    return request(server, sample.host_name, API, "POST", body={"type": "SansoCheck", "message": message})


@pytest.fixture(scope="module")
def report(reporting, message):
    if reporting.status != 201:
        raise CouldNotCheck(f"could not check: no report was stored\n{reporting}")
    return Report(int(reporting.data["id"]), message)


def test_report_is_stored(host, reporting, sample):
    assert reporting.status == 201, f"{reporting}\n{journal(host, sample.service)}"


def test_report_is_a_row_in_mysql(server, host, report, sample):
    require_one_host(server)
    query = f"SELECT message FROM {sample.name}.error WHERE project = '{PROJECT}' AND id = {report.id}"
    assert mysql(host, query) == [[report.message]]


def test_report_is_read_back_through_the_api(server, report, sample):
    answer = request(server, sample.host_name, API)
    assert report.message in [error["message"] for error in answer.data["errors"]], answer


def test_report_is_read_back_as_a_page(server, report, sample):
    answer = request(server, sample.host_name, f"/projects/{PROJECT}/errors/{report.id}")
    assert report.message in html.unescape(answer.text), answer


# It says what is wrong


@pytest.mark.parametrize(
    ("path", "kind"), [("/sanso-check", "text/html"), (f"{API}/none", "application/json")], ids=["page", "api"]
)
def test_what_is_not_there_is_said_to_be_so(server, sample, path, kind):
    answer = request(server, sample.host_name, path)
    assert (answer.status, answer.headers.get_content_type()) == (404, kind), answer


def test_report_that_is_too_large_is_refused(server, sample):
    """By the app, whose limit is lower than nginx's."""
    answer = request(server, sample.host_name, API, "POST", body={"type": "Large", "message": "x" * 260 * 1024})
    assert (answer.status, answer.headers.get_content_type()) == (413, "application/json"), answer


@pytest.mark.parametrize("path", ["/", API], ids=["page", "api"])
def test_answer_is_compressed_only_if_wanted(server, report, sample, path):
    """A page with a secret and what its visitor typed gives the secret away by its length."""
    answer = request(server, sample.host_name, path, headers={"Accept-Encoding": "gzip"})
    wanted = ("gzip", "Accept-Encoding") if sample.gzip else (None, None)
    assert (answer.headers["Content-Encoding"], answer.headers["Vary"]) == wanted, answer


# Its way, by what each tier wrote about it


@pytest.fixture(scope="module")
def followed(server, trace, report, sample):
    """The trace of a page that needs every tier."""
    require_one_host(server)
    return trace(sample, f"/projects/{PROJECT}/errors/{report.id}")


def test_page_that_is_followed_is_there(followed):
    assert followed.status == 200, followed.text()


def test_every_tier_serves_it_once(followed):
    """A server's span is of kind 2 (OTLP)."""
    served = Counter(span.tier for span in followed.spans if span.kind == 2 and span.tier != "mysql")
    assert served == {"nginx": 1, "uwsgi": 1, "app": 1}, followed.text()


def test_statement_came_through_all_tiers_in_their_order(followed):
    """From MySQL upwards, each span names its caller."""
    spans = {span.id: span for span in followed.spans}
    chains = []
    for span in followed.spans:
        if span.tier == "mysql":
            chain = [span]
            while chain[-1].parent in spans:
                chain.append(spans[chain[-1].parent])
            chains.append(tuple(tier for tier, _ in groupby(each.tier for each in chain)))
    assert set(chains) == {("mysql", "app", "uwsgi", "nginx", "client")}, followed.text()


def test_every_proof_of_the_trace_holds(followed):
    assert [proof.name for proof in followed.proofs if not proof.ok] == [], followed.text()


def test_nothing_ended_it_early(followed):
    assert followed.ended is None, followed.text()


def test_app_is_followed_as_far_as_it_takes_part(server, trace, app):
    require_one_host(server)
    found = trace(app, app.at(app.health_path))
    tiers = {"client", "nginx", "uwsgi"} | ({"app"} if app.trace else set())
    assert (found.ok, {span.tier for span in found.spans} - {"mysql"}) == (True, tiers), found.text()


def test_static_file_is_nginxs_own_work(trace, static):
    """Whether it is there or not."""
    found = trace(static.app, f"/{static.prefix}/sanso-check")
    assert (found.ok, {span.tier for span in found.spans}) == (True, {"client", "nginx"}), found.text()


# Its way, by its own account


class Seen(NamedTuple):
    """A page, and right after it who made it: workers come and go."""

    page: str
    processes: list[Process]  # of the app's unit
    sockets: dict[str, UnixSocket]  # in their network namespace, by inode
    mysqld: set[str]  # inodes that MySQL holds


@pytest.fixture(scope="module")
def seen(server, host, report, sample):
    require_one_host(server)
    page = request(server, sample.host_name, f"/projects/{PROJECT}/errors/{report.id}").text
    found = processes(host, sample.service)
    mysqld = {inode for process in processes(host, "mysql.service") for inode in process.sockets}
    return Seen(page, found, unix_sockets(host, found[0]), mysqld)


@pytest.fixture(scope="module")
def way(seen):
    """What a page says of the tiers that served it: product to version and detail."""
    tiers = re.findall(r"<strong>(.*?)</strong>\s*<span>(.*?)</span>", seen.page)
    return {name.partition(" ")[0]: (name.partition(" ")[2], html.unescape(detail)) for name, detail in tiers}


@pytest.fixture(scope="module")
def users(seen):
    """The processes of the app's unit: pid to user."""
    return {process.pid: process.user for process in seen.processes}


@pytest.fixture(scope="module")
def pid(way):
    """Of the process that made the page, by its own account."""
    return int(re.search(r"process (\d+)", way["uWSGI"][1])[1])


@pytest.fixture(scope="module")
def worker(seen, pid, sample):
    """That process, looked at from outside."""
    for process in seen.processes:
        if process.pid == pid:
            return process
    raise CouldNotCheck(f"could not check: process {pid} is none of {sample.service}")


@pytest.mark.parametrize("product", VERSION_OF)
def test_page_names_the_version_of(host, way, sample, product):
    installed = re.search(NUMBER, ask(host, VERSION_OF[product]))[0]
    assert re.findall(NUMBER, way.get(product, ("", ""))[0]) == [installed], way


def test_browser_came_over_tls(way, sample):
    assert way["Browser"] == ("", "HTTP/1.1 over TLS")


def test_page_was_made_by_a_worker_of_the_app(users, pid, sample):
    assert users.get(pid) == sample.name, users


def test_worker_heard_the_request_on_its_unix_socket(host, seen, worker, sample):
    """The only socket on which this process listens, and it holds none that leads out of the machine."""
    known = seen.sockets
    heard = {known[inode].path for inode in worker.sockets if inode in known and known[inode].listens}
    assert (heard, worker.foreign_sockets) == ({sample.socket}, {}), modes(host, sample.socket)


def test_worker_asked_mysql_over_its_unix_socket(seen, worker):
    """The two ends of one connection, each found by its inode: this worker holds one, MySQL the other."""
    known = seen.sockets
    peers = {known[inode].peer for inode in worker.sockets if inode in known}
    ends = [known[inode].path for inode in peers & seen.mysqld if inode in known]
    assert {end.replace("/var/run/", "/run/") for end in ends} == {"/run/mysqld/mysqld.sock"}, known
