"""`mlo status`: what is told of each part."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from mlops_cli.core.workflows.workspace import Workspace


def test_a_new_project_says_what_to_do_first(here: Path, mlo: Any) -> None:
    mlo("init", "--name", "new")
    text = mlo("status").stdout
    assert "none yet: mlo data add PATH" in text
    assert "none yet: mlo run" in text
    assert mlo("status", "--exit-code").exit_code == 0


def test_what_has_changed_is_named_and_can_be_an_exit_code(trained: Path, mlo: Any) -> None:
    clean = mlo("status", "--json", "--exit-code").json
    assert clean["changes"] == clean["troubles"] == []
    assert {stage["action"] for stage in clean["stages"]} == {"cached"}
    assert clean["run"]["status"] == "finished"
    assert clean["models"][0]["title"] == "tiny@1"
    assert clean["models"][0]["aliases"] == ["production"]
    (trained / "data" / "raw" / "two.csv").write_text("new")
    (trained / "mlo.yaml").write_text((trained / "mlo.yaml").read_text().replace("depth: 3", "depth: 4"))
    changed = mlo("status", "--json", "--exit-code", exit_code=3).json
    assert [(change["path"], change["state"]) for change in changed["changes"]] == [("data/raw/two.csv", "added")]
    assert {stage["stage"]: stage["action"] for stage in changed["stages"]}["train"] == "run"
    text = mlo("status").stdout
    assert "1 added" in text
    assert "data/raw/two.csv" in text
    assert "tiny@1  <- production" in text


def test_a_part_that_cannot_be_read_hides_no_other(trained: Path, mlo: Any) -> None:
    text = (trained / "mlo.yaml").read_text()
    (trained / "mlo.yaml").write_text(text.replace("deps: [data/train.parquet, train.py]", "deps: [gone.parquet]"))
    found = mlo("status", "--json", exit_code=0).json
    assert [trouble["part"] for trouble in found["troubles"]] == ["pipeline"]
    assert "gone.parquet" in found["troubles"][0]["message"]
    assert found["models"][0]["title"] == "tiny@1"
    assert "gone.parquet" in mlo("status").stdout


def test_the_work_tree_says_which_trial_it_holds(trained: Path, mlo: Any) -> None:
    mlo("run", "-P", "depth=2", "--quiet")
    assert "depth=2" in mlo("status", "--json").json["worktree"]
    assert "the work tree holds run" in mlo("status").stdout
    mlo("run", "--quiet")
    assert mlo("status", "--json").json["worktree"] is None


def test_after_a_checkout_no_trial_stands_in_the_work_tree(trained: Path, mlo: Any) -> None:
    mlo("run", "-P", "depth=2", "--quiet")
    mlo("data", "checkout", "model", "--quiet")
    assert "depth=2" in mlo("status", "--json").json["worktree"]  # metrics.json is still the trial's
    mlo("data", "checkout", "--quiet")
    assert mlo("status", "--json").json["worktree"] is None


def test_only_checks_of_versions_that_an_alias_points_at_are_told(trained: Path, mlo: Any) -> None:
    registry = Workspace.find(trained, {}).registry
    for subject, verdict, alarms in (("tiny@1", "drift", ["temp"]), ("tiny@2", "quiet", [])):
        registry.record("drift", subject, {"verdict": verdict, "alarms": alarms})
    assert [check["model"] for check in mlo("status", "--json").json["drift"]] == ["tiny@1"]
    assert "drift     tiny@1 drift: temp (checked" in mlo("status").stdout
    registry.record("drift", "tiny@1", {"verdict": "too_little", "alarms": []})
    assert "drift     tiny@1 too little (checked" in mlo("status").stdout


def test_states_are_words_in_one_column(trained: Path, mlo: Any) -> None:
    (trained / "data" / "raw" / "two.csv").write_text("new")
    shutil.rmtree(trained / ".mlo" / "cache")
    lines = [line for line in mlo("status").stdout.splitlines() if line.startswith("  ") and "  data/" in line]
    assert not any("_cached" in line for line in lines)
    assert any("not cached" in line for line in lines)
    assert len({line.index("data/") for line in lines}) == 1
