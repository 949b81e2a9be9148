"""`mlo models list` and `mlo models show`."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from command_line import Mlo
from registry_project import RegistryProject

from mlops_cli.cli.views.registry import scored


@pytest.fixture
def project(here: Path, mlo: Mlo) -> RegistryProject:
    project = RegistryProject(here)
    project.run(params={"depth": 3})
    mlo("register")
    mlo("promote", "flights@1")
    project.run(seed=2)
    mlo("register")
    return project


def test_list_shows_the_newest_version_first_with_aliases_and_scores(project: RegistryProject, mlo: Mlo) -> None:
    lines = mlo("models", "list").stdout.splitlines()
    assert lines[0].split() == ["version", "aliases", "scores", "run", "size", "registered", "by"]
    assert lines[1].startswith("flights@2")
    assert lines[2].startswith("flights@1  production  auc=")
    document = mlo("models", "list", "flights", "--json").json
    assert [(row["title"], row["aliases"]) for row in document["versions"]] == [
        ("flights@2", []),
        ("flights@1", ["production"]),
    ]
    assert "did you mean flights?" in mlo("models", "list", "flight", exit_code=6).stderr


def test_show_gives_everything_of_one_version(project: RegistryProject, mlo: Mlo) -> None:
    text = mlo("models", "show", "flights@production").stdout
    for words in (
        "flights@1  @production",
        "x float",
        "one of 0, 1",
        "depth=3",
        "model.skops",
        "sha256",
        "promoted flights@1 to production",
    ):
        assert words in text
    assert "holds" in text
    document = mlo("models", "show", "flights", "--json").json
    assert document["version"]["version"] == 2
    assert [event["kind"] for event in document["history"]] == ["register"]


def test_show_of_what_is_not_registered_says_so(project: RegistryProject, mlo: Mlo) -> None:
    assert "there is no model other" in mlo("models", "show", "other", exit_code=6).stderr
    assert "is a run" in mlo("models", "show", "runs:abcdef", exit_code=2).stderr


def test_an_empty_registry_says_what_to_do(mlo: Mlo, here: Path) -> None:
    RegistryProject(here)
    assert "mlo run, then mlo register" in mlo("models", "list").stdout
    assert mlo("models", "list", "--json").json["versions"] == []


def test_push_of_a_local_registry_says_what_stays_and_an_empty_list_says_how_to_share(mlo: Mlo, here: Path) -> None:
    project = RegistryProject(here)
    project.run()
    mlo("register")
    (here.parent / "far").mkdir()
    with (here / "mlo.yaml").open("a") as file:
        file.write("remotes: {origin: ../far}\n")
    out = mlo("push").stdout
    assert "with 1 new run and the files of 1 model version\n" in out
    assert "stay on each machine (registry: local); `registry: origin` in mlo.yaml shares" in out
    (here / ".mlo" / "mlo.db").unlink()
    assert "set `registry: origin` in mlo.yaml on both" in mlo("models", "list").stdout


def test_the_scores_of_more_than_two_classes_are_said_to_be_macro_averages(project: RegistryProject) -> None:
    version = project.workspace().registry.version("flights", 1)
    assert "macro" not in scored(version)
    three = msgspec.structs.replace(version.signature, classes=("a", "b", "c"))
    text = scored(msgspec.structs.replace(version, signature=three))
    assert text.endswith("on data/test.csv  (auc, precision, recall, f1: macro averages)")
