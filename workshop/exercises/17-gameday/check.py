"""GameDay: two faults in two tiers, one of which may hide the other."""


def test_page(lab):
    lab.page()


def test_rules(lab):
    """The firewall that runs is the one in its file: the fix is no rule that lets everything in."""
    ports = {port: lab.knock(port) for port in (80, 443, 3306)}
    lab.expect({80: "open", 443: "open", 3306: "no answer"}, ports)


def test_restart(lab):
    """nginx would start again: its whole configuration is good."""
    lab.expect("nginx -t: successful", lab.run("nginx -t"), lab.succeeds("nginx -t"))


def test_socket(lab):
    lab.socket_is_guarded()
