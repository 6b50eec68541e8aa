"""Four 502s, the fourth: the socket's queue is full (errno 11), for the app is paused, and a monitor floods it."""

SECONDS = 1
TIMES = 10


def test_request(lab):
    lab.page()


def test_mode(lab):
    lab.socket_is_guarded()


def test_steady(lab):
    expected = f"{TIMES} requests, one after another, answer 200 within {SECONDS} s"
    for number in range(1, TIMES + 1):
        status = lab.ask("/", seconds=SECONDS).status
        lab.expect(expected, f"request {number} answers {status}", status == 200)
