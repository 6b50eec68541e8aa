"""A port that is closed: the inventory opens too few of them."""

from concurrent.futures import ThreadPoolExecutor

CLOSED = (21, 25, 3306, 5000, 8000, 8080, 8443)  # some that nobody has opened: what asks there gets no answer at all


def test_request(lab):
    lab.page()


def test_closed(lab):
    with ThreadPoolExecutor(len(CLOSED)) as pool:
        found = dict(zip(CLOSED, pool.map(lab.knock, CLOSED), strict=True))
    answering = [f"port {port} is {said}" for port, said in found.items() if said != "no answer"]
    lab.expect("no answer on any other port", ", ".join(answering) or "no answer", not answering)


def test_redirect(lab):
    answer = lab.ask("/", secure=False)
    found = f"{answer.status} to {answer.headers.get('Location')}"
    lab.expect(f"301 to https://{lab.name}/", found)
