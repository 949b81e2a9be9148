"""`mlo register`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from command_line import Mlo
from registry_project import RegistryProject


def test_register_prints_the_version_its_scores_and_what_to_do_next(mlo: Mlo, here: Path) -> None:
    run = RegistryProject(here).run()
    answer = mlo("register")
    assert f"registered flights@1 from run {run[:8]}" in answer.stdout
    assert "auc=0.9" in answer.stdout
    assert "on data/test.csv" in answer.stdout
    assert answer.stdout.splitlines()[-1] == "next: mlo promote flights@1 production"


def test_register_prints_where_the_run_comes_from(mlo: Mlo, here: Path) -> None:
    project = RegistryProject(here)
    project.commit("first")
    project.run(params={"depth": 3})
    out = mlo("register").stdout
    assert f"  commit   {project.git('rev-parse', 'HEAD')[:8]} on main\n  params   depth=3\n" in out
    trial = project.run(seed=2, overrides={"depth": 9})
    assert "  -P       depth=9\n" in mlo("register", trial).stdout


def test_register_again_says_that_it_is_this_version_already(mlo: Mlo, here: Path) -> None:
    RegistryProject(here).run()
    mlo("register")
    assert "flights@1 is this model already" in mlo("register").stdout
    document = mlo("register", "--json").json
    assert (document["created"], document["version"]["version"]) == (False, 1)


def test_register_takes_a_run_and_a_name_and_answers_json(mlo: Mlo, here: Path) -> None:
    project = RegistryProject(here)
    first = project.run(metrics={"bad": float("nan")})
    project.run(seed=2)
    document = mlo("register", first[:6], "--name", "other", "--json").json
    assert document["created"]
    assert document["version"]["run"] == first
    assert document["version"]["name"] == "other"
    assert document["version"]["metrics"] == {"bad": None}
    assert set(document["version"]["files"]) == {"example.parquet", "mlo-model.json", "model.skops"}


def test_register_without_a_run_or_a_model_is_not_found(mlo: Mlo, here: Path) -> None:
    project = RegistryProject(here)
    assert "mlo run" in mlo("register", exit_code=6).stderr
    project.run(model=False)
    error = json.loads(mlo("register", "--json", exit_code=6).stderr)
    assert error["exit_code"] == 6
    assert "logged no model" in error["message"]
    assert mlo("models", "list").stdout.startswith("no model is registered")


def test_a_gate_that_does_not_parse_is_an_error_of_the_project_with_its_line(mlo: Mlo, here: Path) -> None:
    project = RegistryProject(here)
    project.run()
    project.configure('"auc >= 0.65"', '"auc => 0.65"')
    stderr = mlo("register", exit_code=5).stderr
    assert "mlo.yaml:10:18: a gate of production does not parse" in stderr
    assert "hint: write >=" in stderr


def test_a_model_can_be_registered_after_the_cache_and_the_runs_were_lost(mlo: Mlo, trained: Path) -> None:
    before = mlo("models", "show", "tiny@1", "--json").json["version"]
    shutil.rmtree(trained / ".mlo")
    mlo("run")
    after = mlo("register", "--json").json["version"]
    assert (after["model"], after["files"]) == (before["model"], before["files"])
