"""`mlo audit`."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from command_line import Mlo
from registry_project import MLO_YAML, RegistryProject


@pytest.fixture
def project(here: Path, mlo: Mlo) -> RegistryProject:
    project = RegistryProject(here)
    project.run()
    mlo("register")
    mlo("promote", "flights@1")
    return project


def test_a_sound_chain_is_summed_up(project: RegistryProject, mlo: Mlo) -> None:
    text = mlo("audit").stdout
    assert "2 events in" in text
    assert "every event is as it was written" in text
    document = mlo("audit", "--json").json
    assert (document["events"], document["broken"]) == (2, None)
    assert document["kinds"] == {"register": 1, "promote": 1}


def test_an_altered_row_is_named_and_exits_7(project: RegistryProject, mlo: Mlo) -> None:
    database = sqlite3.connect(project.root / ".mlo" / "mlo.db")
    with database:
        database.execute("UPDATE event SET body = replace(body, 'production', 'staging') WHERE seq = 2")
    database.close()
    answer = mlo("audit", exit_code=7)
    assert "broken at event 2: its bytes were altered" in answer.stdout
    assert mlo("audit", "--json", exit_code=7).json["broken"]["seq"] == 2
    error = mlo("models", "list", exit_code=7).stderr
    assert "event 2 of" in error
    assert "mlo audit" in error


def test_an_empty_log_is_sound(mlo: Mlo, here: Path) -> None:
    RegistryProject(here)
    assert mlo("audit").stdout.startswith("no event in ")


def test_a_registry_out_of_reach_exits_8(mlo: Mlo, here: Path) -> None:
    RegistryProject(here, MLO_YAML + "registry: ./gone\n")
    for command in (("audit",), ("models", "list"), ("promote", "flights@1")):
        assert "there is no folder" in mlo(*command, exit_code=8).stderr


def test_postgres_is_not_there_yet_and_says_what_is(mlo: Mlo, here: Path) -> None:
    RegistryProject(here, MLO_YAML + "registry: postgresql://db/registry\n")
    assert "not available in this version" in mlo("audit", exit_code=5).stderr
