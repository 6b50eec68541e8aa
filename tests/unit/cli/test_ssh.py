from __future__ import annotations

import pytest

from sanso import reach
from sanso.console import Failure
from sanso.ssh import Way

SAID = {
    "Host key verification failed.": "isn't known here yet",
    "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.": "host key has changed",
    "ubuntu@192.0.2.1: Permission denied (publickey).": "doesn't accept your SSH key",
    "ssh: connect to host 192.0.2.1 port 22: Connection refused": "no SSH server answers",
    "ssh: Could not resolve hostname x: Name or service not known": "isn't known",
    "ssh: connect to host 192.0.2.1 port 22: Connection timed out": "doesn't answer",
    "ssh: connect to host 192.0.2.1 port 22: No route to host": "there is no way to",
    "kex_exchange_identification: read: Connection reset by peer": "Connection reset by peer",
}


@pytest.fixture
def way():
    return Way("192.0.2.1", "ubuntu", 2222)


@pytest.mark.parametrize(("said", "meaning"), SAID.items())
def test_reason_and_next_step_are_told(way, said, meaning):
    what, then = way.explain(said)
    assert meaning in what
    assert "ubuntu@192.0.2.1" in what
    assert then
    assert "{" not in what + then


def test_nothing_is_ever_asked(way, programs):
    way.run()
    assert "BatchMode=yes" in programs.called("ssh")[0]


def test_script_and_answer_pass(way, programs):
    programs.fake("ssh", "print('answer'); print('aside', file=sys.stderr); sys.exit(4)")
    done = way.run("do this")
    assert (done.returncode, done.stdout, done.stderr) == (4, "answer\n", "aside\n")
    assert programs.called("ssh")[0][-4:] == ["-p", "2222", "ubuntu@192.0.2.1", "do this"]


def test_unknown_server_is_shown_on_a_terminal(way, programs, monkeypatch, tmp_path):
    """ssh itself asks, without BatchMode; after a yes it knows the server."""
    known = tmp_path / "known"
    programs.fake(
        "ssh",
        f"""
if "BatchMode=yes" not in sys.argv:
    open({str(known)!r}, "w")
elif not os.path.exists({str(known)!r}):
    sys.exit("Host key verification failed.")
""",
    )
    monkeypatch.setattr("sanso.console.can_ask", lambda: True)
    reach.require(way)
    assert len(programs.called("ssh")) == 3


def test_unknown_server_is_an_error_without_a_terminal(way, programs):
    programs.fake("ssh", "sys.exit('Host key verification failed.')")
    with pytest.raises(Failure, match="isn't known here yet"):
        reach.require(way)
    assert len(programs.called("ssh")) == 1


def test_changed_host_key_is_never_asked_away(way, programs, monkeypatch):
    programs.fake("ssh", "sys.exit('REMOTE HOST IDENTIFICATION HAS CHANGED! Host key verification failed.')")
    monkeypatch.setattr("sanso.console.can_ask", lambda: True)
    with pytest.raises(Failure, match="has changed"):
        reach.require(way, yes=True)
    assert len(programs.called("ssh")) == 1


@pytest.mark.parametrize("yes", [True, False])
def test_yes_takes_a_new_host_key_and_only_yes_does(way, programs, yes):
    reach.require(way, yes=yes)
    assert ("StrictHostKeyChecking=accept-new" in programs.called("ssh")[0]) is yes
