"""The map of a bare machine: what was predicted, held against what the machine itself does."""

import json
import re
import socket

from judge import NotMet

SEEN = {"refused": "refused", "no answer": "no-answer"}
NAMES = {22: "ssh", 80: "http", 443: "http", 3306: "mysql"}


def test_prediction(lab):
    compare(lab, first_dead(lab))


def test_listeners(lab):
    compare(lab, {"listens": listeners(lab)})


def test_refusal(lab):
    compare(lab, {"who": refuser(lab)})


def compare(lab, shown: dict[str, str]):
    """The last answers to these questions, with what the machine shows; which of both is wrong is the learner's."""
    said = {key: word for answer in lab.attempt["answers"] for key, word in answer["said"].items() if key in shown}
    if said.keys() != shown.keys():
        raise NotMet(f"an answer to {', '.join(shown)}", "no prediction yet")
    found = " ".join(f"{key}={word}" for key, word in said.items())
    lab.expect(
        "what was answered is what the machine shows", f"the machine shows another thing than {found}", said == shown
    )


def first_dead(lab) -> dict[str, str]:
    """The first hop of a request that isn't there, and what is seen of it."""
    try:
        known = {each[4][0] for each in socket.getaddrinfo(lab.name, 443, type=socket.SOCK_STREAM)}
    except socket.gaierror:
        known = set()
    if lab.server.address not in known:
        return {"hop": "name", "seen": "unknown-host"}
    said = lab.knock(443)
    # What listens there is none of the tiers, which come later: it has no certificate for this name.
    return {"hop": "tcp", "seen": SEEN[said]} if said in SEEN else {"hop": "tls", "seen": "certificate"}


def listeners(lab) -> str:
    """What listens on TCP for more than the machine itself."""
    places = [line.split()[3] for line in lab.lines(lab.run("ss -Hltn"))]
    ports = {int(place.rpartition(":")[2]) for place in places if not re.match(r"127\.|\[::1\]", place)}
    names = sorted({NAMES.get(port, str(port)) for port in ports}, key=lambda name: (name != "ssh", name))
    return "-and-".join(names) or "nothing"


def refuser(lab) -> str:
    """Who answers a knock at port 443: a firewall may say the same as the kernel, so its rules have to be looked at."""
    if lab.knock(443) != "refused":
        return "nobody"
    rules = json.loads(lab.run("nft --json list ruleset 2>/dev/null || echo '{}'")).get("nftables", [])
    return "firewall" if any("rule" in each for each in rules) else "kernel"
