"""Proves every exercise of the workshop on a machine: SANSO_LAB=lab2@10.77.0.51 pytest tests/workshop, from the root.

The machine of SANSO_LAB is made and thrown away; without that variable, nothing is run: the learner's own machine may
be in the middle of an exercise.
"""

from __future__ import annotations

import os
import shutil

import pytest

from sanso.lab.desk import Desk


def pytest_configure(config):
    config.addinivalue_line("markers", "wrong: a wrong solution, which must not pass")


@pytest.fixture(scope="session")
def desk():
    """A learner's, with a folder and a machine of their own."""
    if not os.environ.get("SANSO_LAB"):
        pytest.exit("SANSO_LAB=machine@address names the machine that is used, and thrown away", 2)
    made = Desk()
    shutil.rmtree(made.place.root, ignore_errors=True)
    try:
        yield Desk()
    finally:
        if made.place.inventory.exists():
            made.stages.machine("absent")  # its stages stay, for the next run
        shutil.rmtree(made.place.root, ignore_errors=True)
