"""A machine that works, and won't after a restart: MySQL isn't enabled, and nobody makes nginx's folder below /run."""


def test_page(lab):
    lab.page()


def test_units(lab):
    # Their number, not their names: which ones is for the learner to find out.
    failed = lab.lines(lab.run("systemctl list-units --failed --plain --no-legend"))
    lab.expect("no unit has failed since the start", f"{len(failed)} failed", not failed)
