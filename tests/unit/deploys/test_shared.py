"""The operations of deploys/_shared.py: real pyinfra on a role of the tests' own, whose server is this computer.

A program that poses as ssh runs here what it is told to run there, and writes down how it was called.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from sanso.project import ROOT

SSH = """#!/bin/sh
printf '%s\\n' "$*" >>"$CALLS"
[ ! -e "$CALLS.closed" ] || { echo 'ssh: connect to host: Connection refused' >&2; exit 255; }
for last; do :; done
exec sh -c "$last"
"""
SUDO = '#!/bin/sh\nwhile [ "$1" != sh ]; do shift; done\nexec "$@"\n'
DEPLOY = """
from pathlib import Path
import sanso.variables
sanso.variables.ROLES = Path({roles!r})
from deploys._shared import *
role = Role("demo")
{code}
"""


@pytest.fixture
def run(pyinfra, tmp_path, monkeypatch):
    """run(code, tasks, *options, files={…}) runs a deploy for a role with these tasks (YAML; {here} is a folder of the
    test's own): the finished process, with `changed`, the names of the operations that changed something.
    """
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    for name, text in {"ssh": SSH, "sudo": SUDO}.items():
        write(tmp_path / "bin" / name, text).chmod(0o755)
    hosts = {group: {"hosts": {"here": {}}} for group in ("web", "app", "db")}
    write(tmp_path / "inventory/hosts.yml", yaml.dump({"all": {"children": hosts}}))
    app = {"name": "demo", "source": "sample_app", "wsgi": "a:b", "server_names": ["demo.test"]}
    write(tmp_path / "inventory/group_vars/all/apps.yml", yaml.dump({"apps": [app], "demo_word": "a word"}))

    def run(code, tasks, *options, files=()):
        write(tmp_path / "roles/demo/tasks/main.yml", tasks.replace("{here}", str(tmp_path)))
        for name, text in dict(files).items():
            write(tmp_path / "roles/demo" / name, text.replace("{here}", str(tmp_path)))
        deploy = write(tmp_path / "deploy.py", DEPLOY.format(roles=str(tmp_path / "roles"), code=code))
        mode = ["--dry"] if "--dry" in options else ["-y"]
        done = pyinfra.run(["--json", *mode, *options, f"@sanso/{tmp_path}/inventory", str(deploy)], folder=ROOT)
        done.changed = changed(done.stdout)
        return done

    return run


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def changed(answer: str) -> list[str]:
    """The operations that changed something, or would, by pyinfra's own count."""
    if not answer:
        return []
    found = json.loads(answer)
    if found["results"] is None:
        return [each["names"][0] for each in found["plan"] if each["hosts_with_change"]]
    return [each["name"] for each in found["results"]["operations"] if each["success"]]


def mine(tmp_path) -> str:
    """Owner and group of what this user makes, for a task that renders."""
    return f"owner: {tmp_path.owner()}, group: {tmp_path.group()}"


RENDER = """
- name: Settings | Render them
  render:
    files: {"{here}/settings": {validate: grep word %s, template: settings.j2, MINE}}
  register: __demo_settings
"""


def test_file_is_written_once(run, tmp_path):
    tasks, files = RENDER.replace("MINE", mine(tmp_path)), {"templates/settings.j2": "{{ demo_word }}\n"}
    first, second = (run('render(role, "Settings | Render them")', tasks, files=files) for _ in range(2))
    assert (first.returncode, first.changed) == (0, ["Settings | Render them"]), first.stderr
    assert (second.returncode, second.changed) == (0, []), second.stderr
    assert (tmp_path / "settings").read_text() == "a word\n"


def test_content_stands_in_no_command_line(run, tmp_path):
    tasks, files = RENDER.replace("MINE", mine(tmp_path)), {"templates/settings.j2": "{{ demo_word }}\n"}
    assert run('render(role, "Settings | Render them")', tasks, files=files).changed
    assert "a word" not in (tmp_path / "calls").read_text()


def test_file_that_would_not_be_valid_changes_nothing_and_says_why(run, tmp_path):
    tasks, files = RENDER.replace("MINE", mine(tmp_path)), {"templates/settings.j2": "wrong\n"}
    done = run('render(role, "Settings | Render them")', tasks, files=files)
    assert done.returncode == 1
    assert "settings would not be valid, nothing was changed" in done.stderr
    assert not (tmp_path / "settings").exists()


def test_missing_variable_is_named(run, tmp_path):
    tasks, files = RENDER.replace("MINE", mine(tmp_path)), {"templates/settings.j2": "{{ demo_wrod }}\n"}
    done = run('render(role, "Settings | Render them")', tasks, files=files)
    assert done.returncode == 1
    assert "demo_wrod" in done.stderr
    assert "Traceback" not in done.stderr


def test_plan_changes_nothing(run, tmp_path):
    tasks, files = RENDER.replace("MINE", mine(tmp_path)), {"templates/settings.j2": "{{ demo_word }}\n"}
    done = run('render(role, "Settings | Render them")', tasks, "--dry", files=files)
    assert (done.returncode, done.changed) == (0, ["Settings | Render them"]), done.stderr
    assert not (tmp_path / "settings").exists()


HANDLED = 'settings = render(role, "Settings | Render them")\ncommand(role, "Tell it", after=[settings])'


@pytest.mark.parametrize("condition", ["true", "false"])
def test_handler_follows_a_change_where_its_condition_holds(run, tmp_path, condition):
    tasks = RENDER.replace("MINE", mine(tmp_path))
    handlers = f"""
- name: Tell it
  ansible.builtin.command: touch {{here}}/told
  when: {condition}
"""
    files = {"templates/settings.j2": "{{ demo_word }}\n", "handlers/main.yml": handlers}
    first, second = (run(HANDLED, tasks, files=files) for _ in range(2))
    assert ("Tell it" in first.changed, "Tell it" in second.changed) == (condition == "true", False), first.stderr
    assert (tmp_path / "told").exists() == (condition == "true")


COMMANDS = {
    "words": ("ansible.builtin.command: touch '{here}/a file'", "a file"),
    "argv": ("ansible.builtin.command: {argv: [touch, '{here}/a file']}", "a file"),
    "no shell": ("ansible.builtin.command: touch {here}/$(id)", "$(id)"),
    "shell": ("ansible.builtin.shell: touch {here}/one; touch {here}/two", "two"),
    "folder": ("ansible.builtin.shell: touch one\n  args: {chdir: '{here}'}", "one"),
    "environment": ('ansible.builtin.shell: touch "{here}/$NAME"\n  environment: {NAME: a b}', "a b"),
    "input": ("ansible.builtin.command: {cmd: tee {here}/out, stdin: '{{ demo_word }}'}", "out"),
}


@pytest.mark.parametrize(("how", "made"), COMMANDS.values(), ids=COMMANDS)
def test_command_is_run_as_ansible_runs_it(run, tmp_path, how, made):
    done = run('command(role, "Do it")', f"- name: Do it\n  {how}\n")
    assert (done.returncode, done.changed) == (0, ["Do it"]), done.stderr
    assert (tmp_path / made).exists()


def test_command_that_fails_says_what_it_said(run):
    done = run('command(role, "Do it")', "- name: Do it\n  ansible.builtin.shell: echo no luck >&2; exit 4\n")
    assert done.returncode == 1
    assert "Do it: no luck (exit code 4)" in done.stderr


def test_command_is_not_run_for_what_it_made_already(run, tmp_path):
    tasks = "- name: Do it\n  ansible.builtin.shell: touch {here}/made\n  args: {creates: '{here}/made'}\n"
    first, second = (run('command(role, "Do it")', tasks) for _ in range(2))
    assert (first.changed, second.changed) == (["Do it"], []), second.stderr


def test_command_that_removes_a_folder_is_run_while_that_is_there(run, tmp_path):
    (tmp_path / "folder").mkdir()
    tasks = "- name: Do it\n  ansible.builtin.command: rmdir {here}/folder\n  args: {removes: '{here}/folder'}\n"
    first, second = (run('command(role, "Do it")', tasks) for _ in range(2))
    assert (first.changed, second.changed) == (["Do it"], []), second.stderr


LOOK = """
- name: See
  ansible.builtin.shell: cat {here}/old 2>/dev/null || true
  register: __demo_old
  changed_when: __demo_old.stdout | length > 0
- name: Mend
  ansible.builtin.command: rm {here}/old
  when: "'something' in __demo_old.stdout_lines"
"""


def test_what_a_look_says_decides_what_is_done_after(run, tmp_path):
    code = 'old = look(role, "See")\ncommand(role, "Mend", after=[old])'
    assert run(code, LOOK).changed == []
    write(tmp_path / "old", "something")
    assert run(code, LOOK).changed == ["Mend"]
    assert not (tmp_path / "old").exists()


HERE = """
from pathlib import Path
def run(arguments, checking):
    with Path(arguments["log"]).open("a") as log:
        log.write("checked\\n" if checking else "done\\n")
    return {"changed": True, "id": 7, "diff": []}
"""


def test_module_that_prepares_something_runs_once_and_changes_no_server(run, tmp_path):
    tasks = """
- name: Prepare
  demo_module: {log: "{here}/log"}
  changed_when: false
  register: __demo_made
- name: Use it
  ansible.builtin.command: touch {here}/{{ __demo_made.id }}
"""
    code = 'local(role, "Prepare")\nlocal(role, "Prepare")\ncommand(role, "Use it")'
    done = run(code, tasks, files={"library/demo_module.py": HERE})
    assert (done.returncode, done.changed) == (0, ["Use it"]), done.stderr
    assert (tmp_path / "log").read_text() == "done\n"
    assert (tmp_path / "7").exists()


def test_module_that_changes_something_here_is_asked_before(run, tmp_path):
    tasks = '- name: Make\n  demo_module: {log: "{here}/log"}\n'
    done = run('local(role, "Make")', tasks, files={"library/demo_module.py": HERE})
    assert (done.returncode, done.changed) == (0, ["Make"]), done.stderr
    assert (tmp_path / "log").read_text() == "checked\ndone\n"


def test_packages_are_compared_by_name(run, tmp_path):
    """apt-get is a program of the test's own, which writes down what it is told; dpkg's tool knows one package."""
    write(tmp_path / "bin/dpkg-query", "#!/bin/sh\necho installed here; echo config-files gone\n").chmod(0o755)
    write(tmp_path / "bin/apt-get", '#!/bin/sh\necho "$*" >>"$CALLS.apt"\n').chmod(0o755)
    tasks = """
- name: All there
  packages: {name: [here]}
- name: Some there
  packages: {name: [here, gone, other]}
- name: Away
  ansible.builtin.apt: {name: [here, gone], state: absent, purge: true}
"""
    done = run("\n".join(f'packages(role, "{name}")' for name in ("All there", "Some there", "Away")), tasks)
    assert (done.returncode, done.changed) == (0, ["Some there", "Away"]), done.stderr
    some, away = (tmp_path / "calls.apt").read_text().splitlines()
    assert some.endswith("install --no-install-recommends -o DPkg::Lock::Timeout=60 gone other")
    assert away.endswith("purge -o DPkg::Lock::Timeout=60 here")


def test_extra_variables_win(run, tmp_path):
    extra = write(tmp_path / "extra.json", '{"demo_word": "another"}')
    tasks = "- name: Do it\n  ansible.builtin.command: touch {here}/{{ demo_word }}\n"
    assert run('command(role, "Do it")', tasks, f"--data=variables={extra}").returncode == 0
    assert (tmp_path / "another").exists()


def test_server_that_refuses_is_told_as_what_it_is(run, tmp_path):
    (tmp_path / "calls.closed").touch()
    done = run("", "[]")
    assert done.returncode == 1
    assert "no SSH server answers on here" in done.stderr


def test_task_that_no_role_has_is_named(run):
    done = run('command(role, "Do it")', "- name: Do that\n  ansible.builtin.command: 'true'\n")
    assert "the role demo has no task 'Do it'" in done.stderr


# Units

SYSTEMCTL = """#!/bin/sh
case "$*" in
    "show "*runs*) echo ActiveState=active; echo UnitFileState=enabled ;;
    "show "*) echo ActiveState=inactive; echo UnitFileState=disabled ;;
    *) echo "$*" >>"$CALLS.systemctl" ;;
esac
"""
UNITS = """
- name: Units | Start
  unit: {name: "{{ item }}", state: started, enabled: true}
  loop: [runs.service, rests.service]
- name: Units | Stop
  unit: {name: "{{ item }}", state: stopped, enabled: false}
  loop: [runs.service, rests.service]
"""


@pytest.mark.parametrize(
    ("verb", "told"),
    {
        "Start": ["start rests.service", "enable rests.service"],
        "Stop": ["stop runs.service", "disable runs.service"],
    }.items(),
)
def test_units_of_a_loop_are_told_what_they_are_not_yet(run, tmp_path, verb, told):
    write(tmp_path / "bin/systemctl", SYSTEMCTL).chmod(0o755)
    done = run(f'service(role, "Units | {verb}")', UNITS)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "calls.systemctl").read_text().splitlines() == told
