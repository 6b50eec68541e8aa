"""What one engine built, the other one leaves as it is."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def built_by(both):
    """built_by(engine) is the server that it built."""

    def built_by(engine):
        found = [each for each in both if each.engine == engine]
        if not found:
            pytest.skip(f"--engines says that {engine} built neither server")
        return found[0]

    return built_by


def test_ansible_would_change_nothing_that_pyinfra_built(built_by):
    built = built_by("pyinfra")
    command = ["ansible-playbook", "-i", built.inventory, "site.yml", "--check", "--diff", f"--limit={built.host.name}"]
    environment = {**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_DISPLAY_OK_HOSTS": "0"}
    environment |= {"ANSIBLE_DISPLAY_SKIPPED_HOSTS": "0", "ANSIBLE_STDOUT_CALLBACK": "default"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    recap = re.search(rf"(?m)^{re.escape(built.host.name)} +: ok=(\d+) +changed=(\d+)", done.stdout)
    assert int(recap[1]), "no task ran"
    if int(recap[2]):
        pytest.fail(f"on the server that {built.engine} built, Ansible would change:\n{done.stdout}", pytrace=False)


def test_pyinfra_changes_nothing_that_ansible_built(built_by):
    built = built_by("ansible")
    place = os.path.relpath(built.inventory, ROOT)
    command = ["pyinfra", "-y", "--json", "--diff", f"--limit={built.host.name}", f"@sanso/{place}", "deploys/site.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    run = json.loads(done.stdout)["results"]
    assert run["totals"]["no_change"], "no operation ran"
    changed = [each["name"] for each in run["operations"] if each["success"] or each["error"]]
    if changed:
        said = "\n".join(["", *changed, "", done.stderr])
        pytest.fail(f"on the server that {built.engine} built, pyinfra changed:{said}", pytrace=False)
