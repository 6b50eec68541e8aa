"""What the programs that are sent to a server set for themselves ends with the test that calls them here."""

import os

import pytest


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("LC_ALL", "PATH"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
