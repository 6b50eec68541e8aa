"""The callback plugin in a real run of Ansible: what it reports is what the command line builds on."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from sanso import ansible, run

PLAYBOOK = """
- name: Changes
  hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Change and notify
      ansible.builtin.debug:
      changed_when: true
      notify: Reload
    - name: Change nothing
      ansible.builtin.debug:
      changed_when: false
    - name: Leave out
      ansible.builtin.debug:
      when: false
    - name: Say something
      ansible.builtin.debug: {msg: it serves}
    - name: Write
      ansible.builtin.copy: {content: "new line", dest: FOLDER/file, mode: "0600"}
    - name: Write some
      ansible.builtin.copy: {content: "{{ item }}", dest: "FOLDER/{{ item }}", mode: "0600"}
      loop: [one, two]
    - name: Write in secret
      ansible.builtin.copy: {content: "hunter2", dest: FOLDER/secret, mode: "0600"}
      no_log: true
  handlers:
    - name: Reload
      ansible.builtin.debug:
      changed_when: true

- name: Failures
  hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Pass over
      ansible.builtin.fail: {msg: ignored}
      failed_when: true
      ignore_errors: true # what is passed over must not be reported as a failure
    - name: Try
      block:
        - name: Fail in secret
          ansible.builtin.command: sh -c "echo hunter2; exit 1"
          no_log: true
          changed_when: false
      rescue:
        - name: Fail for some items
          ansible.builtin.fail: {msg: "{{ item }} was tried"}
          loop: [one, two]
          when: item == "two"
"""


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    """All events of one run with --diff. It comes before the fakes that tests put on PATH."""
    folder = tmp_path_factory.mktemp("events")
    (folder / "file").write_text("old line\n")
    (folder / "playbook.yml").write_text(PLAYBOOK.replace("FOLDER", str(folder)))
    read_end, write_end = os.pipe()
    command = ["ansible-playbook", "-i", "localhost,", "-e", f"ansible_python_interpreter={sys.executable}", "--diff"]
    options = {"env": ansible.environment(write_end), "pass_fds": [write_end], "capture_output": True, "text": True}
    with os.fdopen(read_end) as reader:
        done = subprocess.run([*command, "playbook.yml"], cwd=folder, check=False, **options)
        os.close(write_end)
        assert done.returncode == 2, done.stdout + done.stderr
        return [json.loads(line) for line in reader]


@pytest.fixture
def result(events):
    return {event["task"]: event for event in events if event["event"] == "result"}


def test_plays_are_reported_in_their_order(events):
    assert [event["name"] for event in events if event["event"] == "play"] == ["Changes", "Failures"]


def test_tasks_and_handlers_are_reported_as_they_begin(events):
    names = [event["name"] for event in events if event["event"] == "task"]
    assert names[0] == "Change and notify"
    assert "Reload" in names


@pytest.mark.parametrize(
    ("task", "status"),
    [
        ("Change and notify", "changed"),
        ("Change nothing", "ok"),
        ("Leave out", "skipped"),
        ("Reload", "changed"),
        ("Pass over", "ignored"),
        ("Fail in secret", "rescued"),
        ("Fail for some items", "failed"),
    ],
)
def test_result_has_the_status_that_ansible_shows(result, task, status):
    assert result[task]["status"] == status


def test_what_a_playbook_only_says_is_a_notice(result):
    assert result["Say something"]["notice"] == "it serves"


def test_change_comes_with_its_diff(result):
    assert "-old line\n+new line" in result["Write"]["diff"]


def test_changes_of_items_come_with_their_diffs(result):
    assert "+one" in result["Write some"]["diff"]
    assert "+two" in result["Write some"]["diff"]


def test_failed_item_tells_what_it_said(result):
    (evidence,) = result["Fail for some items"]["evidence"]
    assert evidence == {"msg": "two was tried", "item": "two"}


def test_secret_is_in_no_event(events):
    assert "hunter2" not in json.dumps(events)


def test_words_of_a_failure_are_readable(result):
    assert run.words(result["Fail for some items"]).splitlines()[0] == "localhost: Fail for some items"
