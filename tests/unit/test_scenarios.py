"""No test of tests/faults falls between the scenarios that share them."""

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def side_effect():
    """side_effect(scenario) is what its playbook says to molecule/shared/pytest.yml."""
    return lambda scenario: yaml.safe_load((ROOT / f"molecule/{scenario}/side_effect.yml").read_text())[0]["vars"]


def test_what_one_scenario_leaves_out_the_other_runs(side_effect):
    elsewhere = [f"{name}.py" for name in side_effect("alternative")["elsewhere"]]
    assert elsewhere == sorted(side_effect("default")["files"] + side_effect("delivery")["files"])
    assert [name for name in elsewhere if not (ROOT / "tests/faults" / name).is_file()] == []


def test_scenarios_have_the_app_of_the_default_inventory_by_another_name():
    apps = [
        yaml.safe_load((ROOT / path).read_text())["apps"]
        for path in ("inventory/local/group_vars/all/apps.yml", "molecule/shared/vars/apps.yml")
    ]
    ours, shared = ([{**app, "server_names": None} for app in each] for each in apps)
    assert ours == shared


def test_addresses_of_machines_are_all_different():
    """Several scenarios run at once."""
    found = []
    for file in [
        *ROOT.glob("molecule/*/*/hosts.yml"),
        *ROOT.glob("inventory/local/hosts.yml"),
        ROOT / "bench/inventory/hosts.yml",
        ROOT / "workshop/inventory/hosts.yml",
    ]:
        machines = yaml.safe_load(file.read_text())["all"]["children"]["machines"]
        hosts = machines["hosts"]
        found += [(each["ansible_host"], name) for name, each in hosts.items()]
    for part in (0, 1):
        values = [each[part] for each in found]
        assert sorted(values) == sorted(set(values))
