"""`mlo promote` and `mlo rollback`."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Mlo
from registry_project import RegistryProject


@pytest.fixture
def project(here: Path, mlo: Mlo) -> RegistryProject:
    project = RegistryProject(here)
    project.run()
    mlo("register")
    return project


def test_promote_prints_each_gate_with_its_numbers(project: RegistryProject, mlo: Mlo) -> None:
    lines = mlo("promote", "flights@1").stdout.splitlines()
    assert lines[0] == "flights@production points at version 1 (it pointed nowhere before)"
    assert lines[1].split()[:4] == ["holds", "auc", ">=", "0.65"]
    assert lines[1].endswith(">= 0.65")
    assert "no champion in production yet" in lines[3]


def test_a_refused_gate_exits_3_with_the_numbers_and_leaves_the_alias(project: RegistryProject, mlo: Mlo) -> None:
    mlo("promote", "flights@1")
    project.run(skill=-1.0, seed=2)
    mlo("register")
    answer = mlo("promote", "flights@2", exit_code=3)
    assert "flights@2 was not promoted to production: 2 gates of 2 refused it" in answer.stdout
    assert "champion.auc=0.9" in answer.stdout
    assert "flights@production still points at version 1" in answer.stdout
    document = mlo("promote", "flights@2", "--json", exit_code=3).json
    assert document["refused"]
    assert document["gates"][1]["comparisons"][0]["values"]["champion.auc"] > 0.9
    assert mlo("models", "show", "flights@production", "--json").json["version"]["version"] == 1


def test_dry_run_judges_only(project: RegistryProject, mlo: Mlo) -> None:
    assert "would point at version 1" in mlo("promote", "flights@1", "--dry-run").stdout
    assert mlo("audit", "--json").json["kinds"] == {"register": 1}


def test_promoting_again_says_that_nothing_changed(project: RegistryProject, mlo: Mlo) -> None:
    mlo("promote", "flights@latest", "staging")
    assert "points at version 1 already; nothing was changed" in mlo("promote", "flights@1", "staging").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("flights@1", "2"), 2, "no name for an alias"),
        (("flights@1", "latest"), 2, "always the newest version"),
        (("flights",), 2, "not a reference to a model"),
        (("flihgts@1",), 6, "did you mean flights?"),
        (("flights@9",), 6, "it has version 1 only"),
        (("flights@prod",), 6, "no alias prod"),
    ],
)
def test_what_cannot_be_promoted_says_why(
    project: RegistryProject, mlo: Mlo, arguments: tuple[str, ...], code: int, words: str
) -> None:
    assert words in mlo("promote", *arguments, exit_code=code).stderr


def test_an_unknown_name_in_a_gate_is_a_project_error(project: RegistryProject, mlo: Mlo) -> None:
    project.configure('"auc >= 0.65"', '"acu >= 0.65"')
    stderr = mlo("promote", "flights@1", exit_code=5).stderr
    assert "uses acu" in stderr
    assert "hint: mlo scores auc" in stderr or "hint: mlo scores accuracy" in stderr


def test_rollback_goes_back_and_promote_forward_again(project: RegistryProject, mlo: Mlo) -> None:
    project.configure('["auc >= 0.65", "auc >= champion.auc - 0.005"]', "[]")
    mlo("promote", "flights@1")
    project.run(seed=2)
    mlo("register")
    mlo("promote", "flights@2")
    answer = mlo("rollback", "flights")
    assert answer.stdout.splitlines()[0] == "flights@production points back at version 1 (it was version 2)"
    assert "nothing was promoted there before it" in mlo("rollback", "flights", exit_code=6).stderr
    assert mlo("promote", "flights@2", "--json").json["before"] == 1
    assert "no alias staging" in mlo("rollback", "flights", "staging", exit_code=6).stderr
