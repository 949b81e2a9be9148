"""`mlo blame`."""

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
    mlo("promote", "flights@1")
    return project


def test_blame_draws_runs_versions_aliases_and_deployments(project: RegistryProject, mlo: Mlo) -> None:
    project.workspace().registry.record("deploy", "flights@1", {"address": "http://127.0.0.1:8080"})
    text = mlo("blame", "data/raw/a.csv").stdout
    for words in (
        "data/raw/a.csv@xxh128:",
        "prepare read data/raw",
        "flights@1",
        "@production",
        "until now",
        "deployed",
    ):
        assert words in text


def test_blame_takes_the_beginning_of_a_digest_and_a_path_from_here(
    project: RegistryProject, mlo: Mlo, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = mlo("blame", "data/raw", "--json").json["digest"]
    monkeypatch.chdir(project.root / "data")
    document = mlo("blame", f"raw@{digest[:14]}", "--json").json
    assert (document["path"], document["digest"]) == ("data/raw", digest)
    assert document["versions"][0]["title"] == "flights@1"


def test_blame_of_what_is_unknown_says_so(project: RegistryProject, mlo: Mlo) -> None:
    assert "no run, no version" in mlo("blame", "nothing", exit_code=6).stderr
    assert "never held ffff" in mlo("blame", "data/raw@ffff", exit_code=6).stderr
    assert "outside the project" in mlo("blame", "/etc/hosts", exit_code=2).stderr
