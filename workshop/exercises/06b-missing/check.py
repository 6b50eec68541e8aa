"""Four 502s, the second: the app's socket was removed, and its unit doesn't know (errno 2)."""


def test_request(lab):
    lab.page()


def test_mode(lab):
    lab.socket_is_guarded()
