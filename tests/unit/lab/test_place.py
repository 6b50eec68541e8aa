"""The learner's folder: what is theirs is never overwritten."""

import pytest

from sanso.console import Failure
from sanso.lab.place import Place


@pytest.fixture
def here(checkout):
    place = Place()
    place.begin("6a")
    return place


def test_what_the_lab_wrote_is_no_change_of_the_learners(here):
    assert here.changes() == ""
    assert here.begin("6a") is None


@pytest.mark.parametrize("name", ["app/app.py", "app/new.py", "inventory/group_vars/all/mine.yml"])
def test_what_the_learner_changed_is_moved_away_as_it_was(here, name):
    file = here.root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("mine\n")
    assert f"b/{name}" in here.changes()
    kept = here.begin("6a")
    assert (kept / name).read_text() == "mine\n"
    assert here.changes() == ""


def test_what_the_learner_removed_is_a_change(here):
    (here.root / "app/app.py").unlink()
    assert "deleted file" in here.changes()
    kept = here.begin("6a")
    assert not (kept / "app/app.py").exists()
    assert (here.root / "app/app.py").exists()


def test_what_the_learner_committed_is_a_change_still(here):
    (here.root / "app/app.py").write_text("mine\n")
    here.note("the learner's commit")
    here._git("update-ref", "refs/sanso/written", "HEAD~1")
    assert "+mine" in here.changes()


def test_faults_files_are_the_labs(here, tmp_path):
    fault = tmp_path / "fault/app"
    fault.mkdir(parents=True)
    (fault / "app.py").write_text("broken\n")
    here.lay(fault.parent)
    here.note("Exercise 6a")
    assert (here.root / "app/app.py").read_text() == "broken\n"
    assert here.changes() == ""


def test_patch_is_applied(here, tmp_path):
    patch = tmp_path / "fault.patch"
    patch.write_text("--- a/app/app.py\n+++ b/app/app.py\n@@ -1 +1 @@\n-print(1)\n+print(2)\n")
    here.patch(patch)
    assert (here.root / "app/app.py").read_text() == "print(2)\n"


def test_patch_that_does_not_fit_any_more_is_said(here, tmp_path):
    patch = tmp_path / "fault.patch"
    patch.write_text("--- a/app/app.py\n+++ b/app/app.py\n@@ -1 +1 @@\n-print(3)\n+print(2)\n")
    with pytest.raises(Failure, match="doesn't fit"):
        here.patch(patch)


def test_another_place_has_its_own_names(checkout, monkeypatch):
    monkeypatch.setenv("SANSO_LAB", "two@10.77.0.9")
    place = Place.here()
    place.begin("6a")
    assert place.root == checkout / "lab-two"
    assert (place.inventory / "hosts.yml").read_text() == "all:\n    two:\n      x: 10.77.0.9\n"
    assert place.localized("see lab/inventory at https://lab.test/, not collab/app") == (
        "see lab-two/inventory at https://two.test/, not collab/app"
    )


@pytest.mark.parametrize("wanted", ["two", "two@", "@10.77.0.9", "Two@10.77.0.9", "../x@10.77.0.9"])
def test_place_that_is_none_is_refused(monkeypatch, wanted):
    monkeypatch.setenv("SANSO_LAB", wanted)
    with pytest.raises(Failure, match="machine@address"):
        Place.here()
