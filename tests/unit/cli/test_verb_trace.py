from __future__ import annotations

import dataclasses
import json

import pytest
import trace_builder
from traced_server import NAME, SECRET

from sanso.tracing import judged, request
from sanso.verbs import trace

APPS = [
    {"name": "faults", "server_names": ["faults.test"]},
    {"name": "quiet"},
    {"name": "any", "server_names": ["*.any.test"]},
]
# ssh that reaches the fake of sanso-evidence, and anything else without a word.
SSH = """
if sys.argv[-1].endswith("/sanso-evidence"):
    os.execv(sys.executable, [sys.executable, "-IS", {tool!r}, {folder!r}])
"""


@pytest.fixture
def served(machine, programs, traced, monkeypatch):
    """A machine that is the traced server on this computer, which answers on the ports that it should."""
    machine(apps=APPS, ansible_host="127.0.0.1", nginx_local_ca_directory=str(traced.ca.parent))
    programs.fake("ssh", SSH.format(tool=str(traced.tool), folder=str(traced.folder)))
    monkeypatch.setitem(request.PORTS, "https", traced.port)
    monkeypatch.setenv("COLUMNS", "120")
    return traced


def test_request_that_went_well_ends_with_the_verdict(sanso, served):
    done = sanso("trace")
    lines = done.stdout.splitlines()
    assert done.exit_code == 0
    assert lines[0].startswith("GET https://faults.test/ → 200  trace ")
    assert "✓ nginx recorded this trace  pid 123, connection 45" in lines
    assert lines[-1].startswith("✓ 200 in ")
    assert lines[-1].endswith("through client → nginx → uwsgi → app → mysql; all 13 proofs hold")


def test_failed_proof_is_exit_code_1_with_the_next_command(sanso, served):
    served.edit = lambda seen: seen.update(mysql_tcp=True)
    done = sanso("trace")
    assert done.exit_code == 1
    assert "✗ No TCP between the tiers  MySQL listens on TCP" in done.stdout
    assert done.stdout.splitlines()[-1] == "  next  ./sanso check"


def test_broken_hop_is_named_last(sanso, served):
    text = f"connect() to {trace_builder.SOCKET} failed (111: Connection refused) while connecting to upstream"
    served.edit = lambda seen: trace_builder.refused(seen, text)
    served.respond = lambda handler, ids: handler.well(ids, status=502)
    done = sanso("trace")
    assert done.exit_code == 1
    assert "The trace ended at uWSGI: nginx got connect() failed (111" in done.stdout.splitlines()[-2]
    assert done.stdout.splitlines()[-1] == "  next  ./sanso logs --tier app"


def test_web_server_that_is_down_ends_the_trace_there(sanso, served, monkeypatch):
    monkeypatch.setitem(request.PORTS, "https", 1)
    done = sanso("trace")
    assert done.exit_code == 1
    assert "nothing answers on faults.test:1 (127.0.0.1): Connection refused: nginx isn't running" in done.stdout
    assert done.stdout.splitlines()[-1] == "  next  ./sanso logs --tier web"


def test_next_command_names_the_inventory(sanso, served, tmp_path):
    served.edit = lambda seen: seen.update(mysql_tcp=True)
    (tmp_path / "mine").mkdir()
    done = sanso("trace", "-i", str(tmp_path / "mine"))
    assert done.stdout.splitlines()[-1] == f"  next  ./sanso check -i {tmp_path / 'mine'}"


@pytest.mark.parametrize(
    ("words", "method", "path", "body"),
    [
        (["/a?b=c"], "GET", "/a?b=c", b""),
        (["https://faults.test/a"], "GET", "/a", b""),
        (["https://FAULTS.test/a"], "GET", "/a", b""),
        (["/a", "--data", "b=ä"], "POST", "/a", "b=ä".encode()),
        (["/a", "--data", ""], "POST", "/a", b""),
        (["/a", "--data", "b", "--method", "PUT"], "PUT", "/a", b"b"),
        (["/a", "--method", "HEAD"], "HEAD", "/a", b""),
    ],
)
def test_request_is_what_the_words_say(sanso, served, words, method, path, body):
    assert sanso("trace", *words).exit_code == 0
    ((sent, target, _, read),) = served.received
    assert (sent, target, read) == (method, path, body)


def test_headers_are_sent(sanso, served):
    assert sanso("trace", "--header", "X-A: b: c", "--header", "Cookie:d").exit_code == 0
    assert served.received[0][2].items() >= {("X-A", "b: c"), ("Cookie", "d")}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["faults.test/a"], "a path starts with /"),
        (["ftp://faults.test/a"], "a path starts with /"),
        (["/a\r\nX-B: c"], "control characters"),
        (["https://faults.test/a\nb"], "control characters"),
        (["--header", "X-A"], "'Name: value'"),
        (["--header", "X-A: b\r\nX-B: c"], "control characters"),
        (["--header", "X A: b"], "isn't the name of a header"),
        (["--header", "traceparent: b"], "the trace's own"),
        (["--method", "GET /"], "isn't a method"),
        (["--app", "other"], "has no app other, but faults, any"),
        (["--app", "quiet"], "has no app quiet"),
        (["--app", "any", "https://faults.test/"], "faults.test is a name of the app faults, not of any"),
        (["--host", "other"], "other is no host of the web tier; these are: sanso"),
        (["--repeat", "0"], "0 is not in the range"),
    ],
)
def test_wrong_words_are_a_usage_error_and_nothing_is_sent(sanso, served, words, why):
    done = sanso("trace", *words)
    assert done.exit_code == 2
    assert why in done.stderr
    assert served.received == []


def test_name_that_is_not_served_lists_those_that_are(sanso, served, programs):
    done = sanso("trace", "https://elsewhere.test/")
    assert done.exit_code == 3
    assert "elsewhere.test is no name that is served; faults.test, *.any.test is" in done.stderr
    assert programs.called("ssh") == []


@pytest.mark.parametrize("sampling", ["disabled", "nobody"])
def test_server_that_traces_nothing_is_not_asked(sanso, machine, programs, sampling):
    machine(apps=APPS, nginx_trace_sampling=sampling)
    done = sanso("trace")
    assert (done.exit_code, f"nginx_trace_sampling: {sampling}" in done.stderr) == (3, True)
    assert programs.called("ssh") == []


def test_app_with_all_names_of_a_domain_is_asked_under_one(sanso, served):
    done = sanso("trace", "--app", "any", "/")
    assert done.exit_code == 3
    assert "the certificate of sanso-trace.any.test" in done.stderr


def test_first_host_of_the_web_tier_is_asked_or_the_named_one(sanso, served, hosts):
    web = {"groups": ["web"], "apps": APPS, "nginx_local_ca_directory": str(served.ca.parent)}
    hosts(a={**web, "ansible_host": "127.0.0.1"}, b={**web, "ansible_host": "127.0.0.2"}, c={"groups": ["db"]})
    assert sanso("trace").exit_code == 0
    hosts(a={**web, "ansible_host": "127.0.0.2"}, b={**web, "ansible_host": "127.0.0.1"}, c={"groups": ["db"]})
    assert sanso("trace", "--host", "b").exit_code == 0


def test_inventory_without_a_web_tier_can_not_be_traced(sanso, hosts):
    hosts(a={"groups": ["db"]})
    done = sanso("trace")
    assert done.exit_code == 3
    assert "no host in the group web" in done.stderr


def test_host_without_an_app_can_not_be_traced(sanso, machine):
    machine(apps=[{"name": "quiet"}])
    done = sanso("trace")
    assert done.exit_code == 3
    assert "no app is served under a name" in done.stderr


def test_machine_that_is_not_there_is_told(sanso, machine):
    machine(exists=False, apps=APPS)
    done = sanso("trace")
    assert done.exit_code == 3
    assert done.stderr.splitlines() == ["✗ the machine sanso doesn't exist", "  next  ./sanso up"]


@pytest.mark.parametrize(
    ("said", "sentence", "step"),
    [
        ("ssh: connect to host 127.0.0.1 port 22: Connection refused", "no SSH server answers", "right port"),
        ("sudo: a password is required", "can't be reached: sudo: a password is required", "ssh"),
    ],
)
def test_host_that_can_not_be_reached_is_told(sanso, served, programs, said, sentence, step):
    programs.fake("ssh", f"print({said!r}, file=sys.stderr); sys.exit(255)")
    done = sanso("trace")
    assert done.exit_code == 3
    assert sentence in done.stderr
    assert step in done.stderr.splitlines()[-1]


def test_tool_that_is_missing_is_told_with_what_installs_it(sanso, served, programs):
    said = "sudo: /usr/local/bin/sanso-evidence: command not found"
    programs.fake("ssh", f"if sys.argv[-1] != 'true': print({said!r}, file=sys.stderr); sys.exit(1)")
    done = sanso("trace")
    assert done.exit_code == 3
    assert "has no /usr/local/bin/sanso-evidence" in done.stderr
    assert done.stderr.splitlines()[-1] == "  next  ./sanso up, or ansible-playbook site.yml, installs it"


def test_refused_certificate_names_the_reason_and_the_ca(sanso, served):
    done = sanso("trace", "--app", "any", "/")
    assert done.exit_code == 3
    assert "was refused: Hostname mismatch" in done.stderr
    assert str(served.ca) in done.stderr


def test_log_that_is_missing_is_no_verdict(sanso, served):
    served.writes = False
    served.configure(notes=["/var/log/sanso/nginx/access.jsonl is missing"])
    done = sanso("trace")
    assert done.exit_code == 3
    assert "/var/log/sanso/nginx/access.jsonl is missing" in done.stderr
    assert "tier" not in done.stdout


def test_reader_is_the_one_that_the_inventory_names(sanso, served, machine, programs, hosts):
    web = {"groups": ["web"], "apps": APPS, "ansible_host": "127.0.0.1", "trace_user": "reader"}
    hosts(a={**web, "nginx_local_ca_directory": str(served.ca.parent)})
    assert sanso("trace").exit_code == 0
    assert programs.called("ssh")[-1][-1] == "sudo -n -u reader /usr/local/bin/sanso-evidence"


def test_secret_is_in_nothing_that_is_said_written_or_run(sanso, served, programs, tmp_path, state):
    files = [tmp_path / "a.json", tmp_path / "a.html"]
    done = sanso("trace", "--otlp", str(files[0]), "--html", str(files[1]), "--json")
    assert done.exit_code == 0
    assert served.received[0][2]["X-Sanso-Trace"] == SECRET
    seen = [done.output, *(file.read_text() for file in files), programs.calls.read_text()]
    seen += [file.read_text() for file in state.rglob("*") if file.is_file()]
    assert not any(SECRET in text for text in seen)


def test_json_is_the_trace_and_messages_go_elsewhere(sanso, served):
    done = sanso("trace", "--json")
    data = json.loads(done.stdout)
    assert (data["ok"], data["status"], data["app"], data["url"]) == (True, 200, "faults", f"https://{NAME}/")
    assert "all 13 proofs hold" in done.stderr


def test_json_of_several_is_a_list(sanso, served):
    data = json.loads(sanso("trace", "--repeat", "3", "--json").stdout)
    assert len({trace["trace_id"] for trace in data["traces"]}) == 3


def test_json_of_what_could_not_be_traced_is_its_error(sanso, served, programs):
    programs.fake("ssh", "sys.exit(255)")
    done = sanso("trace", "--json")
    assert done.exit_code == 3
    assert "can't be reached" in json.loads(done.stdout)["error"]


def test_several_requests_are_a_line_each_over_one_link(sanso, served, programs):
    done = sanso("trace", "--repeat", "3")
    lines = done.stdout.splitlines()
    assert done.exit_code == 0
    assert [line.split()[:3] for line in lines[:3]] == [["✓", str(number), "200"] for number in (1, 2, 3)]
    assert lines[3].startswith("3 requests  min ")
    assert lines[-1] == "✓ all proofs of all 3 requests hold"
    assert len([words for words in programs.called("ssh") if words[-1].endswith("sanso-evidence")]) == 1


def test_one_failure_of_several_is_a_failure(sanso, served):
    def edit(seen):
        seen["mysql_tcp"] = len(served.received) == 2

    served.edit = edit
    done = sanso("trace", "--repeat", "3")
    assert done.exit_code == 1
    assert [line[0] for line in done.stdout.splitlines()[:3]] == ["✓", "✗", "✓"]
    assert "1 of 3 requests failed; the first: 200 in " in done.stdout.splitlines()[-2]
    assert done.stdout.splitlines()[-1] == "  next  ./sanso check"


@pytest.mark.parametrize(("words", "number"), [([], 2), (["--slowest"], 0)])
def test_last_or_slowest_of_several_is_shown(sanso, served, monkeypatch, words, number):
    whole = judged(trace_builder.case())
    made = [dataclasses.replace(whole, duration=ms * 1_000_000, trace_id=f"{ms:032x}") for ms in (30, 10, 20)]
    requests = iter(made)

    monkeypatch.setattr(trace, "follow", lambda *words, **options: next(requests))
    done = sanso("trace", "--repeat", "3", *words)
    assert f"trace {made[number].trace_id}" in done.stdout
    assert "3 requests  min 10.0 ms, median 20.0 ms, max 30.0 ms" in done.stdout


def test_otlp_holds_all_requests(sanso, served, tmp_path):
    done = sanso("trace", "--repeat", "2", "--otlp", str(tmp_path / "a.json"))
    spans = json.loads((tmp_path / "a.json").read_text())["resourceSpans"]
    assert len(spans) == 10
    assert f"  wrote {tmp_path / 'a.json'}" in done.stdout.splitlines()


def test_page_is_written(sanso, served, tmp_path):
    assert sanso("trace", "--html", str(tmp_path / "a.html")).exit_code == 0
    assert "<html" in (tmp_path / "a.html").read_text()


def test_file_that_can_not_be_written_is_told(sanso, served, tmp_path):
    done = sanso("trace", "--otlp", str(tmp_path / "none" / "a.json"))
    assert done.exit_code == 1
    assert "can't be written: No such file or directory" in done.stderr


def test_terminal_without_blocks_is_spared_them(sanso, served, monkeypatch):
    monkeypatch.setattr("sanso.console.shows_only_ascii", lambda: True)
    done = sanso("trace")
    assert done.stdout.isascii()
    assert "####" in done.stdout
