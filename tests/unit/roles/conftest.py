"""The roles' own Python (modules, plugins), loaded from where Ansible finds it."""

import importlib.util
from importlib.machinery import SourceFileLoader
from pathlib import Path

import ansible.module_utils
import pytest
from app_server import OLD, Server

ROOT = Path(__file__).parents[3]

# Ansible puts a role's module_utils there while the role runs, and those beside a playbook.
OURS = ["playbooks", "roles/machine", "roles/nginx"]
ansible.module_utils.__path__ += [str(ROOT / folder / "module_utils") for folder in OURS]


@pytest.fixture(scope="session")
def load():
    """load("roles/x/library/y.py") returns that file as a module."""

    def load(path):
        loader = SourceFileLoader(Path(path).stem, str(ROOT / path))  # which takes a program without .py too
        module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
        loader.exec_module(module)
        return module

    return load


@pytest.fixture
def server(tmp_path):
    return Server(tmp_path)


@pytest.fixture
def tool(load, server, monkeypatch):
    found = load("roles/uwsgi/files/usr/local/sbin/sanso-app")
    from sanso_app import system, uwsgi  # where the program looks for it

    places = {"HOME": server.srv, "UNITS": server.units, "SOCKETS": server.sockets}
    for name, value in {**places, "LOGS": server.logs, "SITES": server.sites}.items():
        monkeypatch.setattr(system, name, value)
    monkeypatch.setattr(system, "run", server.run)
    monkeypatch.setattr(uwsgi, "ask", server.ask)
    monkeypatch.setattr("sanso_app.app.MOMENT", 0)
    replace = system.replace

    def replace_or_die(path, make):
        server.moment()
        replace(path, make)
        server.moment()

    monkeypatch.setattr(system, "replace", replace_or_die)
    return found


@pytest.fixture
def call(tool, monkeypatch, capsys):
    """call("rollback", "shop") runs a verb: (exit code, standard output, standard error)."""

    def call(*words):
        monkeypatch.setattr("sys.argv", ["sanso-app", *words])
        code = tool.main()
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def release(call):
    """release(id) runs the verb: (exit code, what it said on standard error)."""

    def release(id, *more, seconds=0, kept=5):
        words = ["release", "shop", id, "--host=shop.test", f"--seconds={seconds}", f"--kept={kept}", "--by=me"]
        code, _, said = call(*words, *more)
        return code, said

    return release


@pytest.fixture
def old(server, release):
    """One release serves, and from now on nobody must be let down."""
    server.bring(OLD)
    assert release(OLD) == (0, "")
    assert (server.serves, server.served) == ((OLD, OLD), OLD)
    server.commands.clear()
    server.is_watched = True
    yield
    assert server.wrong == []
