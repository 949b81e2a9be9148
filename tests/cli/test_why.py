"""`mlo why`, of a model and of a stage."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from command_line import Mlo
from registry_project import RegistryProject

from mlops_cli.cli.views.registry import who


@pytest.fixture
def project(here: Path, mlo: Mlo) -> RegistryProject:
    project = RegistryProject(here)
    project.run(metrics={"val/acc": 0.8})
    project.commit("Add January")
    mlo("register")
    mlo("promote", "flights@1")
    return project


def test_why_draws_the_chain_from_the_alias_to_the_data(project: RegistryProject, mlo: Mlo) -> None:
    lines = mlo("why", "flights@production").stdout.splitlines()
    assert lines[0] == "flights@production is flights@1"
    text = "\n".join(lines)
    order = ["alias", "auc >= 0.65", "version", "run", "val/acc=0.8", "commit", "train ran 2.0 s", "from prepare"]
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    [raw] = [line for line in lines if "data/raw" in line]
    assert "2 files, 30 B, recorded" in raw
    assert "(Add January)" in raw
    assert raw.lstrip(" │").startswith(("├─ read", "└─ read"))


def test_why_tells_what_came_of_it(project: RegistryProject, mlo: Mlo) -> None:
    registry = project.workspace().registry
    registry.record("deploy", "flights@1", {"address": "http://127.0.0.1:8080"})
    data = {
        "verdict": "drift",
        "alarms": ["temp"],
        "rows": 4000,
        "window": {"start": "2013-04-01T00:00:00Z", "end": "2013-04-02T00:00:00Z"},
    }
    registry.record("drift", "flights@1", data)
    registry.record("unheard-of", "flights@1", {})
    text = mlo("why", "flights@1").stdout
    assert "deployed flights@1 at http://127.0.0.1:8080" in text
    assert "window of 2013-04-01 00:00 to 2013-04-02 00:00, 4,000 rows: drift: temp" in text


def test_why_as_json_holds_the_whole_chain(project: RegistryProject, mlo: Mlo) -> None:
    document = mlo("why", "models:/flights/1", "--json").json
    assert document["title"] == "flights@1"
    assert document["aliases"][0]["alias"] == "production"
    assert [stage["name"] for stage in document["stages"]] == ["train", "prepare"]
    assert document["inputs"][0]["recorded"]["subject"] == "Add January"


def test_why_of_a_run_and_of_what_is_not_there(project: RegistryProject, mlo: Mlo) -> None:
    run = project.workspace().runs.latest().id
    assert mlo("why", f"runs:{run[:8]}").stdout.startswith(f"runs:{run[:8]}\n")
    assert "has no version 7" in mlo("why", "flights@7", exit_code=6).stderr


def test_why_of_a_stage_says_why_it_would_run(project: RegistryProject, mlo: Mlo) -> None:
    assert "train" in mlo("why", "train").stdout
    assert mlo("why", "nothing", exit_code=6).stderr


def test_people_are_named_without_their_addresses_and_json_keeps_them(project: RegistryProject, mlo: Mlo) -> None:
    for arguments in (("why", "flights@production"), ("models", "show", "flights"), ("models", "list")):
        text = mlo(*arguments).stdout
        assert "Ada" in text
        assert "ada@example.org" not in text
    assert mlo("why", "flights@production", "--json").json["version"]["actor"] == "Ada <ada@example.org>"
    assert [who(actor) for actor in ("Ada <a@b.c>", "ci", "<a@b.c>")] == ["Ada", "ci", "<a@b.c>"]


def test_code_that_was_never_committed_is_said_to_be_not_committed(project: RegistryProject, mlo: Mlo) -> None:
    runs = project.workspace().runs
    code = {"train.py": "xxh128:" + "1" * 32}
    mine = msgspec.structs.replace(runs.latest(), id="d" * 32, inputs={**runs.latest().inputs, **code})
    runs.start(msgspec.structs.replace(mine, status="running", pid=0))
    runs.finish(mine)
    [line] = [line for line in mlo("why", f"runs:{mine.id}").stdout.splitlines() if "train.py" in line]
    assert line.endswith("not committed: it may be lost")
    assert "train.py, which the run read, is in no commit" in mlo("register", mine.id, "--name", "other").stdout


def test_a_stage_of_a_foreach_is_a_stage_although_it_holds_an_at_sign(here: Path, mlo: Mlo) -> None:
    (here / "mlo.yaml").write_text("name: x\nstages: {s: {foreach: [de], cmd: 'echo > out', outs: [out]}}\n")
    assert mlo("why", "s@de").stdout.startswith("s@de would run")
