"""An inventory's hosts with all of their variables, as Ansible's roles see them, without a run of Ansible.

The second engine reads everything through this: inventories (files of Vault too), the roles' defaults, variables and
templates. Ansible's own code loads and fills them in, so that both engines mean the same by each word of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from ansible.cli import CLI
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import add_all_plugin_dirs, filter_loader, init_plugin_loader, lookup_loader, test_loader
from ansible.template import Templar, trust_as_template
from ansible.vars.manager import VariableManager

from sanso.project import ROOT

ROLES = ROOT / "roles"
INCLUDES = ("ansible.builtin.import_tasks", "ansible.builtin.include_tasks")
TIERS = ("web", "app", "db")  # the groups that the layers are for, as in playbooks/

# One filter, or test, brings all.
EARLY = ((filter_loader, "bool"), (test_loader, "defined"), (lookup_loader, "file"), (lookup_loader, "template"))


@cache
def loader() -> DataLoader:
    """Ansible's reader of files, those of Vault too, with the password that ANSIBLE_VAULT_PASSWORD_FILE names."""
    init_plugin_loader()
    for role in ROLES.iterdir():
        add_all_plugin_dirs(str(role))  # their filters
    # Now: hosts that pyinfra looks at side by side would find them half loaded.
    for plugins, name in EARLY:
        plugins.get(f"ansible.builtin.{name}")
    made = DataLoader()
    made.set_basedir(str(ROOT))
    CLI.setup_vault_secrets(made, [], auto_prompt=False)
    return made


class Variables(Mapping):
    """The variables of one host. Each is filled in when it is asked for.

    variables["nginx_http2"] is a value; it raises AnsibleError where it can't be filled in. Setting one is what a play
    would register, or gather.
    """

    def __init__(self, loader: DataLoader, values: dict[str, Any]):
        self._loader = loader
        self._values = values

    def __getitem__(self, name: str) -> Any:
        return self._templar().template(self._values[name])

    def __setitem__(self, name: str, value: Any):
        self._values[name] = value

    def __iter__(self):
        return iter(self._values)

    def __len__(self):
        return len(self._values)

    def within(self, role: str, **more: Any) -> RoleVariables:
        """As a role sees them, apart from all others that look at this host, and with some more."""
        return RoleVariables(self._loader, role, self._values | more)

    def real(self, path: str) -> str:
        """Where the plain text of a file can be read, which may be Vault's."""
        return self._loader.get_real_file(path)

    def _templar(self, **more: Any) -> Templar:
        return Templar(loader=self._loader, variables=self._values | more)


class RoleVariables(Variables):
    """Variables, and what a role makes of them."""

    def __init__(self, loader: DataLoader, role: str, values: dict[str, Any]):
        where = {"role_path": str(ROLES / role), "ansible_search_path": [str(ROLES / role)]}
        super().__init__(loader, values | where)
        self._role = ROLES / role

    def fill(self, value: Any, **more: Any) -> Any:
        """A value as it stands in the role's tasks (or a text like that), filled in."""
        return self._templar(**more).template(trust_as_template(value) if isinstance(value, str) else value)

    def render(self, template: str, **more: Any) -> str:
        """The text of a template, named by its path below templates/; more: variables for it alone."""
        lookup = lookup_loader.get("ansible.builtin.template", loader=self._loader, templar=self._templar())
        return lookup.run([template], variables=Shallow(self._values), template_vars=more)[0]

    def tasks(self) -> list[dict[str, Any]]:
        """All tasks of the role as they are written, in their order, and its handlers after them.

        Those of a block or of an included file stand where that does, and have its conditions (`when`, a list) too.
        """
        return [*tasks_in(self._role / "tasks/main.yml"), *tasks_in(self._role / "handlers/main.yml")]


@cache
def written(file: Path) -> Any:
    """What a YAML file of a role says; None where there is none. Shared by all who ask: not to be changed."""
    return loader().load_from_file(str(file), cache="none", trusted_as_template=True) if file.exists() else None


@cache
def tasks_in(file: Path, conditions: tuple = ()) -> list[dict[str, Any]]:
    return unfolded(written(file) or [], conditions, file.parent)


def unfolded(tasks: list[dict[str, Any]], conditions: tuple, folder: Path) -> list[dict[str, Any]]:
    """Tasks, with those of blocks and of files in the folder in the place of what includes them."""
    found = []
    for task in tasks:
        own = task.get("when", [])
        holds = (*conditions, *(own if isinstance(own, list) else [own]))
        included = next((task[word] for word in INCLUDES if word in task), None)
        if included:
            found += tasks_in(folder / included, holds)
        elif "block" in task:
            found += unfolded([*task["block"], *task.get("rescue", [])], holds, folder)
        else:
            found.append({**task, "when": list(holds)})
    return found


class Shallow(dict):
    """Not copied in depth, which the lookup would do before each template: templates change no variables."""

    def __deepcopy__(self, memo):
        return dict(self)


class Landscape:
    """The servers of an inventory. extra: variables that win over all others, as ansible-playbook's -e does."""

    def __init__(self, path: Path, extra: Mapping[str, Any] | None = None):
        self._loader = loader()
        self._inventory = InventoryManager(loader=self._loader, sources=[str(path)])
        self._manager = VariableManager(loader=self._loader, inventory=self._inventory)
        self._extra = dict(extra or {})
        self.path = path

    @property
    def folder(self) -> Path:
        return self.path.parent if self.path.is_file() else self.path

    @cached_property
    def hosts(self) -> dict[str, set[str]]:
        """Name to groups."""
        names = dict.fromkeys(name for tier in TIERS for name in self.groups.get(tier, []))
        return {name: {group.name for group in self._inventory.get_host(name).groups} for name in names}

    @property
    def groups(self) -> dict[str, list[str]]:
        return self._inventory.get_groups_dict()

    def inventory_of(self, name: str) -> Variables:
        """What the inventory says of a host, and nothing else."""
        return Variables(self._loader, self._said_of(name))

    def names_of(self, name: str) -> set[str]:
        """The names of the variables that the inventory sets for a host."""
        return set(self._said_of(name))

    def variables_of(self, name: str) -> Variables:
        """What the roles see of a host: their defaults, the inventory, their own variables; the later one wins."""
        return Variables(
            self._loader, {**self._of_roles("defaults"), **self._said_of(name), **self._of_roles("vars")} | self._extra
        )

    def _said_of(self, name: str) -> dict[str, Any]:
        host = self._inventory.get_host(name)
        # Where relative paths count from, as in a run of site.yml.
        return self._manager.get_vars(host=host) | self._extra | {"playbook_dir": str(ROOT / "playbooks")}

    def _of_roles(self, kind: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for file in sorted(ROLES.glob(f"*/{kind}/main.yml")):
            found |= written(file) or {}
        return found
