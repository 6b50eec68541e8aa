"""The link to sanso-evidence: what it says, and all that can go wrong with it."""

from __future__ import annotations

import pytest
from traced_server import SECRET, LocalWay

from sanso.tracing import evidence
from sanso.tracing.evidence import CouldNotTrace, Evidence, printable

MISSING = "sanso@192.0.2.1 has no /usr/local/bin/sanso-evidence"
HELLO = '{"version": 1, "secret": "abc", "apps": []}'


@pytest.fixture
def tool(tmp_path):
    """A way to a program that says hello, and then does what the test says (Python)."""

    def write(body: str, hello: str = HELLO):
        file = tmp_path / "program.py"
        file.write_text(f"import sys\n{f'sys.stdin.readline(); print({hello!r}, flush=True)' if hello else ''}\n{body}")
        return LocalWay("192.0.2.1", "sanso", options=(str(file),))

    return write


def test_hello_gives_the_secret_for_the_header_and_the_apps(traced):
    with Evidence(traced.way) as link:
        assert link.headers() == {"X-Sanso-Trace": SECRET}
        assert link.apps == ["faults"]


def test_server_without_a_secret_needs_no_header(tool):
    with Evidence(tool("sys.stdin.read()", '{"version": 1, "secret": "", "apps": []}')) as link:
        assert link.headers() == {}


def test_secret_is_in_nothing_that_is_shown(traced):
    with Evidence(traced.way) as link:
        assert SECRET not in repr(link)
        assert SECRET not in " ".join(link._process.args)


def test_command_takes_the_least_privilege_that_does_it(traced, monkeypatch):
    asked = []
    monkeypatch.setattr(LocalWay, "automatic", lambda self, script: [asked.append(script) or "nothing-like-it"])
    with pytest.raises(CouldNotTrace, match="nothing-like-it can't be run here: No such file"):
        Evidence(traced.way, "reader")
    assert asked == ["sudo -n -u reader /usr/local/bin/sanso-evidence"]


@pytest.mark.parametrize("hours", [-1, 0, 1])
def test_clock_of_the_server_is_measured(traced, hours):
    offset = hours * 3600 * 10**9
    traced.configure(offset=offset)
    with Evidence(traced.way) as link:
        clock = link.clock()
    # Its own clock and this computer's are the same one: the truth is the offset, and it lies within the error.
    assert abs(clock.offset - offset) <= clock.error + 1_000_000


def test_best_reading_counts(traced, monkeypatch):
    times = iter([0, 0, 100, 1000, 1010, 2000, 2500])  # begins; then asked and answered, three times
    monkeypatch.setattr(evidence, "now", lambda: next(times))
    with Evidence(traced.way) as link:
        monkeypatch.setattr(link, "_ask", lambda seconds, **question: {"time": 5000})
        assert link.clock(3) == evidence.Clock(5000 - 1005, 5)


def test_far_server_is_asked_less_often(traced, monkeypatch):
    times = iter(range(0, 10**12, 10**8))  # 0.1 s a look
    monkeypatch.setattr(evidence, "now", lambda: next(times))
    asked = []
    with Evidence(traced.way) as link:
        monkeypatch.setattr(link, "_ask", lambda seconds, **question: asked.append(question) or {"time": 0})
        link.clock()
    assert len(asked) == evidence.PINGS_AT_LEAST


def test_one_link_serves_many_traces(traced):
    with Evidence(traced.way) as link:
        assert [link.trace("0" * 32)["nginx"] for _ in range(3)] == [[], [], []]


def test_second_close_does_nothing(traced):
    link = Evidence(traced.way)
    link.close()
    link.close()
    assert link._process.returncode == 0


@pytest.mark.parametrize(
    ("said", "code", "sentence", "step"),
    [
        ("ssh: connect to host x port 22: Connection refused", 255, "no SSH server answers on sanso@192.0.2.1", "port"),
        ("sudo: a password is required", 1, "sudo on sanso@192.0.2.1 doesn't let this user run", "without a password"),
        ("sudo: interactive authentication is required", 1, "doesn't let this user run", "without a password"),
        (
            "sudo: unknown user sanso-trace\nsudo: error initializing audit plugin sudoers_audit",
            1,
            f"{MISSING}, or no user sanso-trace to run it: sudo: unknown user sanso-trace",
            "./sanso up",
        ),
        ("sudo: user 'sanso-trace' not found", 1, MISSING, "ansible-playbook site.yml"),
        ("sudo: /usr/local/bin/sanso-evidence: command not found", 1, MISSING, "./sanso up -i x"),
        ("bash: line 1: sudo: command not found", 127, MISSING, "./sanso up"),
        ("Traceback\nMemoryError", 1, "ended too early: MemoryError", "./sanso status"),
        ("", 7, "ended too early: exit code 7", "./sanso status"),
    ],
)  # fmt: skip
def test_tool_that_does_not_start_says_why(tool, said, code, sentence, step):
    way = tool(f"print({said!r}, file=sys.stderr); sys.exit({code})", hello="")
    with pytest.raises(CouldNotTrace) as refused:
        Evidence(way, option=" -i x")
    assert sentence in refused.value.sentence
    assert step in refused.value.next_step


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ("Welcome!", "something that isn't JSON ('Welcome!')"),
        ("\x1b[2J", r"\\x1b"),
        ("[1]", "JSON that is no object"),
        (
            '{"error": "ValueError: no \x1b such trace"}'.replace("\x1b", "\\u001b"),
            r"failed: ValueError: no \x1b such trace",
        ),
        ("{}", "another version"),
        ('{"version": 2}', "another version than this checkout (2)"),
        ('{"version": 1, "secret": "a\\r\\nX: b"}', "a secret that is none"),
        ('{"version": 1}', "a secret that is none"),
    ],
)
def test_answer_that_makes_no_sense_is_said(tool, answer, sentence):
    with pytest.raises(CouldNotTrace) as refused:
        Evidence(tool("sys.stdin.read()", hello=answer))
    assert sentence in refused.value.sentence
    assert refused.value.sentence.isprintable()
    assert refused.value.next_step


def test_half_of_a_secret_is_not_shown(tool):
    with pytest.raises(CouldNotTrace) as refused:
        Evidence(tool("", hello='{"version": 1, "secret": "abcdef'))
    assert "abcdef" not in str(refused.value)


def test_time_that_is_no_number_is_said(tool):
    with (
        Evidence(tool('sys.stdin.readline(); print(\'{"time": "soon"}\', flush=True); sys.stdin.read()')) as link,
        pytest.raises(CouldNotTrace, match="a time that is no number"),
    ):
        link.clock()


def test_tool_that_hangs_is_not_waited_for_for_ever(tool, monkeypatch):
    monkeypatch.setattr(evidence, "SECONDS", 0.05)
    monkeypatch.setattr(evidence, "LOOK", 0.01)
    with pytest.raises(CouldNotTrace, match="doesn't answer within"):
        Evidence(tool("sys.stdin.read()", hello=""))


def test_tool_that_ends_in_between_is_told(tool):
    with Evidence(tool("sys.exit('killed')")) as link, pytest.raises(CouldNotTrace, match="ended too early: killed"):
        link.clock()


def test_answer_in_several_pieces_is_one(tool):
    body = "sys.stdin.readline(); sys.stdout.write('{\"nginx\": '); sys.stdout.flush(); print('[]}', flush=True)"
    with Evidence(tool(body)) as link:
        assert link.trace("0" * 32) == {"nginx": []}


def test_long_answer_is_read_whole(tool):
    with Evidence(tool("sys.stdin.readline(); print('{\"a\": \"' + 'x' * 1_000_000 + '\"}', flush=True)")) as link:
        assert len(link.trace("0" * 32)["a"]) == 1_000_000


def test_evidence_does_nothing_to_a_terminal(tool):
    with Evidence(tool(r"""sys.stdin.readline(); print('{"nginx": [{"uri": "/\\u001b[2J"}]}', flush=True)""")) as link:
        assert link.trace("0" * 32) == {"nginx": [{"uri": r"/\x1b[2J"}]}


@pytest.mark.parametrize(
    ("text", "shown"), [("ä 日本", "ä 日本"), ("a\nb", r"a\nb"), ("\udcff", r"\udcff"), ("\u202e", r"\u202e")]
)
def test_what_is_not_printable_is_escaped(text, shown):
    assert printable([{"a": text}, 1]) == [{"a": shown}, 1]
