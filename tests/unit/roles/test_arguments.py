"""A role's defaults, its argument specification and its documentation say the same."""

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
ROLES = sorted(path.parents[1].name for path in ROOT.glob("roles/*/meta/argument_specs.yml"))
# What several roles may take from the inventory; of these two, `apps` has no default.
OF_THE_INVENTORY = {"apps", "apps_removed"}


def read(role, path):
    return yaml.safe_load((ROOT / "roles" / role / path).read_text())


def options(role):
    return read(role, "meta/argument_specs.yml")["argument_specs"]["main"]["options"]


@pytest.mark.parametrize("role", ROLES)
def test_every_default_is_specified_and_every_option_has_its_default(role):
    assert set(read(role, "defaults/main.yml")) == set(options(role)) - {"apps"}


@pytest.mark.parametrize("role", ROLES)
def test_default_is_what_the_specification_says(role):
    specified = {name: option["default"] for name, option in options(role).items() if "default" in option}
    defaults = read(role, "defaults/main.yml")
    assert {name: defaults[name] for name in specified} == specified


@pytest.mark.parametrize("role", ROLES)
def test_defaults_are_literals_that_any_engine_can_read(role):
    assert "{{" not in (ROOT / "roles" / role / "defaults/main.yml").read_text()


@pytest.mark.parametrize("role", ROLES)
def test_variables_carry_the_role_as_prefix(role):
    strangers = [name for name in options(role) if not name.startswith(f"{role}_")]
    assert set(strangers) <= OF_THE_INVENTORY


@pytest.mark.parametrize("role", ROLES)
def test_role_has_fewer_than_20_inputs(role):
    assert len(options(role)) < 20


@pytest.mark.parametrize("role", ROLES)
def test_every_option_is_described(role):
    def undescribed(specified):
        for name, option in specified.items():
            if not option.get("description"):
                yield name
            yield from undescribed(option.get("options", {}))

    assert list(undescribed(options(role))) == []


def test_app_description_is_the_same_in_the_role_and_in_its_specification():
    described = options("app")["apps"]["options"]
    text = (ROOT / "roles/app/vars/main.yml").read_text()
    defaults = yaml.safe_load(text)["__app_defaults"]
    assert defaults == {name: option["default"] for name, option in described.items() if "default" in option}
