"""The roles' own Python (modules, plugins), loaded from where Ansible finds it."""

import importlib.util
from importlib.machinery import SourceFileLoader
from pathlib import Path

import ansible.module_utils
import pytest

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
