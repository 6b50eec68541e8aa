"""Four 502s, the third: a socket's file was left over, and nobody listens on it (errno 111)."""


def test_request(lab):
    lab.page()


def test_mode(lab):
    lab.socket_is_guarded()
