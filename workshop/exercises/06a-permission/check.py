"""Four 502s, the first: nginx may not open the app's socket (errno 13)."""


def test_request(lab):
    lab.page()


def test_mode(lab):
    lab.socket_is_guarded()
