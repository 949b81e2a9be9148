"""The house around the code: its workflow is valid, its files stand where the design puts them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_workflow_follows_the_schema_of_github_and_runs_what_ci_runs() -> None:
    workflow = ROOT / ".github" / "workflows" / "ci.yml"
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(workflow)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "run: .ci/run" in workflow.read_text()


def test_nothing_stands_at_the_top_that_does_not_belong_there() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    top = {line.partition("/")[0] for line in tracked.splitlines() if not line.startswith(".")}
    expected = {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "mlops_cli",
        "tests",
        "examples",
        "completions",
    }
    assert top <= expected


def test_no_room_is_named_for_nothing_in_particular() -> None:
    vague = {"utils", "helpers", "manager", "common", "misc"}
    assert not [path for path in (ROOT / "mlops_cli").rglob("*") if path.stem in vague]


def test_a_package_file_is_empty_or_only_hands_on_names() -> None:
    for path in (ROOT / "mlops_cli").rglob("__init__.py"):
        if path.parent.name != "mlops_cli":
            assert "def " not in path.read_text(), path


def test_the_map_of_the_store_names_every_module() -> None:
    room = ROOT / "mlops_cli/core/store"
    chart = (room / "FORMAT.md").read_text().partition("## Where it is done")[2]
    named = set(re.findall(r"`(\w+)`", chart))
    assert named == {path.stem for path in room.glob("*.py")} - {"__init__"}
