"""`mlo run` at the prompt: answers, bad input, exit codes, and what it does not import."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import Mlo

HEAVY = {"numpy", "pandas", "git", "rich", "sklearn", "pyarrow", "fsspec", "scipy", "skops", "fastapi", "asyncio"}

YAML = """\
name: tiny
params: {alpha: 0.1, model: {depth: 3}}
stages:
  one:
    cmd: cat in.txt > one.txt; echo from one
    deps: [in.txt]
    outs: [one.txt]
  two:
    cmd: "cat one.txt > two.txt; echo '{\\"auc\\": 0.75}' > m.json"
    deps: [one.txt]
    params: [alpha]
    outs: [two.txt]
    metrics: [m.json]
"""


@pytest.fixture
def project(here: Path) -> Path:
    (here / "mlo.yaml").write_text(YAML)
    (here / "in.txt").write_text("1\n")
    return here


def test_a_run_shows_stages_metrics_and_its_id(project: Path, mlo: Mlo) -> None:
    answer = mlo("run")
    assert re.match(r"stage  result +time\none    ran +[\d.]+ s\ntwo    ran +[\d.]+ s\n", answer.stdout)
    assert "auc     0.75" in answer.stdout
    assert "from one\n" in answer.stderr
    assert "one: running (it never ran)\n" in answer.stderr
    assert mlo("run").stdout.startswith("Nothing to do: 2 stages up to date.")


def test_the_document_of_a_run(project: Path, mlo: Mlo) -> None:
    answer = mlo("run", "--json", "-P", "alpha=0.5")
    document = answer.json
    assert answer.stderr.count("from one") == 0
    assert document["status"] == "finished"
    assert document["overrides"] == {"alpha": 0.5}
    assert document["metrics"] == {"auc": 0.75}
    assert [(stage["name"], stage["status"]) for stage in document["stages"]] == [("one", "ran"), ("two", "ran")]
    assert document["stages"][1]["params"] == {"alpha": 0.5}
    assert document["worktree"] is True


def test_quiet_says_nothing(project: Path, mlo: Mlo) -> None:
    answer = mlo("run", "--quiet")
    assert (answer.stdout, answer.stderr) == ("", "")


def test_a_dry_run_shows_reasons(project: Path, mlo: Mlo) -> None:
    lines = mlo("run", "--dry").stdout.splitlines()
    assert lines[1] == "one    run    it never ran"
    assert lines[-1] == "2 stages of 2 would run."
    assert not (project / ".mlo").exists()
    mlo("run")
    assert mlo("run", "--dry", "-P", "alpha=0.2").stdout.splitlines()[2] == "two    run         param alpha: 0.1 -> 0.2"
    plan = mlo("run", "--dry", "--json", "-P", "alpha=0.2").json["plan"]
    assert plan[1]["reasons"] == [
        {"kind": "param", "text": "param alpha: 0.1 -> 0.2", "name": "alpha", "old": 0.1, "new": 0.2, "inside": []}
    ]


def test_other_parameters_are_said_to_stand_in_the_work_tree(project: Path, mlo: Mlo) -> None:
    mlo("run")
    (project / "mlo.yaml").write_text(YAML.replace("cat one.txt >", "echo $MLO_PARAMS >"))
    mlo("run")
    assert "The work tree holds the outputs of alpha=0.5" in mlo("run", "-P", "alpha=0.5").stdout
    assert "restored" in mlo("run").stdout


def test_a_failing_stage_exits_9_with_its_last_lines(project: Path, mlo: Mlo) -> None:
    (project / "mlo.yaml").write_text(YAML.replace("echo from one", "echo sorry; exit 4"))
    answer = mlo("run", exit_code=9)
    assert "error: stage one failed with exit code 4" in answer.stderr
    assert answer.stderr.count("sorry") == 1  # as it was printed, not once more in the error
    assert "hint: all that it printed is in .mlo/failed/" in answer.stderr
    document = json.loads(mlo("run", "--json", exit_code=9).stderr.split("\n{", 1)[-1].join(("{", "")))
    assert document["code"] == "stage_failed"
    assert document["stage"] == "one"
    assert (project / document["log"]).read_text() == "sorry\n"
    assert not (project / "mlo.lock").exists()


def test_json_errors_are_one_object_on_stderr(project: Path, mlo: Mlo) -> None:
    (project / "in.txt").unlink()
    answer = mlo("run", "--json", exit_code=6)
    assert json.loads(answer.stderr)["code"] == "dependency_missing"


def test_without_a_project_there_is_nothing_to_run(here: Path, mlo: Mlo) -> None:
    assert "no mlo.yaml" in mlo("run", exit_code=5).stderr


@pytest.mark.parametrize(
    ("old", "new", "code", "says"),
    [
        ("deps: [in.txt]", "deps: [two.txt]", 5, "cycle: "),
        ("outs: [two.txt]", "outs: [one.txt]", 5, "one.txt is an output of two stages: one and two"),
        ("deps: [in.txt]", "deps: [gone.txt]", 6, "stage one reads gone.txt, which does not exist"),
        ("outs: [two.txt]", "outs: [../two.txt]", 5, "outside the project"),
        ("params: [alpha]", "params: [alhpa]", 5, "did you mean alpha?"),
        ("deps: [in.txt]", "dep: [in.txt]", 5, "did you mean deps?"),
        ("0.75", '\\\\\\"high\\\\\\"', 9, "m.json"),
        ("    outs: [two.txt]", "    timeout: soon\n    outs: [two.txt]", 5, "timeout"),
    ],
)
def test_a_wrong_project_is_named_and_nothing_is_recorded(
    project: Path, mlo: Mlo, old: str, new: str, code: int, says: str
) -> None:
    assert old in YAML
    (project / "mlo.yaml").write_text(YAML.replace(old, new, 1))
    answer = mlo("run", exit_code=code)
    assert says in answer.stderr
    assert "hint: " in answer.stderr
    assert not (project / "two.txt").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["-P", "alhpa=1"], 2, "did you mean alpha?"),
        (["-P", "alpha=high"], 2, "alpha is a number"),
        (["-P", "model.depth=2.5"], 2, "model.depth is a whole number"),
        (["-P", "alpha"], 2, "is not name=value"),
        (["tow"], 6, "did you mean two?"),
    ],
)
def test_a_wrong_argument_changes_nothing(project: Path, mlo: Mlo, arguments: list[str], code: int, says: str) -> None:
    assert says in mlo("run", *arguments, exit_code=code).stderr
    assert not (project / "one.txt").exists()


def test_an_output_of_the_users_is_exit_5(project: Path, mlo: Mlo) -> None:
    (project / "one.txt").write_text("mine")
    answer = mlo("run", exit_code=5)
    assert "--force" in answer.stderr
    assert (project / "one.txt").read_text() == "mine"
    mlo("run", "--force")


def test_a_second_run_is_refused_or_waits(project: Path, mlo: Mlo) -> None:
    os.mkfifo(project / "started")
    os.mkfifo(project / "go")
    (project / "mlo.yaml").write_text(YAML.replace("echo from one", "echo > started; cat go"))
    first = subprocess.Popen([sys.executable, "-m", "mlops_cli", "run"], stderr=subprocess.PIPE, text=True)
    (project / "started").read_text()
    refused = mlo("run", "--no-wait", exit_code=10)
    assert f"mlo run` (process {first.pid}" in refused.stderr
    second = subprocess.Popen([sys.executable, "-m", "mlops_cli", "run"], stderr=subprocess.PIPE, text=True)
    assert second.stderr is not None
    assert second.stderr.readline().startswith(f"waiting for `mlo run` (process {first.pid}")
    (project / "go").write_text("now\n")
    assert first.wait() == 0
    assert second.wait() == 0
    assert "one: up to date" in second.communicate()[1]
    first.communicate()


@pytest.mark.parametrize("arguments", [["run", "--dry"], ["run"], ["dag"]])
def test_planning_and_a_run_with_nothing_to_do_import_nothing_heavy(
    project: Path, mlo: Mlo, arguments: list[str]
) -> None:
    mlo("run")
    assert loaded(arguments) & HEAVY == set()


def test_running_a_stage_imports_nothing_heavy(project: Path) -> None:
    assert loaded(["run"]) & HEAVY == set()


def loaded(arguments: list[str]) -> set[str]:
    """The top-level modules in memory after a command."""
    code = (
        "import sys; from mlops_cli.cli.main import main; code = main(sys.argv[1:]); "
        "print('\\n' + '\\n'.join(sorted(sys.modules))); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split("\n")}


def test_a_long_chain_costs_a_constant_amount_a_stage(here: Path, mlo: Mlo, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = "\n".join(f"  s{n}: {{cmd: cp f{n} f{n + 1}, deps: [f{n}], outs: [f{n + 1}]}}" for n in range(60))
    (here / "mlo.yaml").write_text(f"name: chain\nstages:\n{stages}\n")
    (here / "f0").write_text("x")
    mlo("run")
    calls = count(monkeypatch)
    assert mlo("run").stdout.startswith("Nothing to do: 60 stages")
    assert calls["survey"] <= 2 * 60
    assert calls["read_lock"] == 2  # the plan's, and under its lock the one that .gitignore is written by
    assert calls["write_lock"] == 0


def count(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often the work tree was looked at and the lock read and written."""
    from mlops_cli.core.pipeline import worktree
    from mlops_cli.core.workflows.workspace import Workspace

    calls = {"survey": 0, "read_lock": 0, "write_lock": 0}

    def counted(name: str, function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            calls[name] += 1
            return function(*arguments, **options)

        return call

    monkeypatch.setattr(worktree, "survey", counted("survey", worktree.survey))
    monkeypatch.setattr(Workspace, "read_lock", counted("read_lock", Workspace.read_lock))
    monkeypatch.setattr(Workspace, "write_lock", counted("write_lock", Workspace.write_lock))
    return calls


def test_a_failure_that_nobody_watched_shows_the_end_of_the_last_attempt(
    mlo: Mlo, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlops_cli.core.pipeline.stage.RETRY_S", 0.0)
    script = "echo x >> tries; for n in $(seq 30); do echo try$(wc -l < tries) line$n; done; exit 1"
    (project / "mlo.yaml").write_text(f"name: t\nstages:\n  one: {{cmd: '{script}', retries: 1}}\n")
    error = mlo("run", "--quiet", exit_code=9).stderr
    assert "  | try2 line30\n" in error
    assert "try1" not in error
    assert error.count("  | ") == 20
    assert "  | try4 line30" in mlo("run", "--json", exit_code=9).stderr
