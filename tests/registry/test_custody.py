"""Why a model is what it is, and where some data went."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from registry_project import RegistryProject

from mlops_cli.core.errors import NotFound, UsageError
from mlops_cli.core.workflows.blame import blame, split_target
from mlops_cli.core.workflows.custody import Chain, explain_model
from mlops_cli.core.workflows.promote import promote_model
from mlops_cli.core.workflows.register import register_model


@pytest.fixture
def project(tmp_path: Path) -> RegistryProject:
    """Two versions: the second was made after b.csv changed; production points at it."""
    project = RegistryProject(tmp_path / "project")
    project.configure('["auc >= 0.65", "auc >= champion.auc - 0.005"]', '["auc >= 0.65"]')
    project.run(metrics={"val/acc": 0.8}, params={"depth": 3})
    project.commit("Add January")
    register_model(project.workspace())
    promote_model(project.workspace(), "flights@1")
    (project.root / "data" / "raw" / "b.csv").write_text("x,z,late\n9,9,1\n")
    project.run(seed=2)
    project.commit("Add February")
    register_model(project.workspace())
    promote_model(project.workspace(), "flights@2")
    return project


def record(project: RegistryProject, kind: str, subject: str, **data: object) -> None:
    project.workspace().registry.record(kind, subject, data)


def chain(project: RegistryProject, ref: str) -> Chain:
    return explain_model(project.workspace(), ref)


def test_the_chain_runs_from_the_alias_to_the_data_and_the_commit(project: RegistryProject) -> None:
    found = chain(project, "flights@production")
    assert found.title == "flights@2"
    [alias] = found.aliases
    assert (alias.alias, alias.before, alias.version) == ("production", 1, 2)
    assert alias.gates[0]["gate"] == "auc >= 0.65"
    assert alias.gates[0]["comparisons"][0]["values"]["auc"] == found.version.scores["auc"]  # type: ignore[union-attr]
    assert found.run.command == "mlo run"
    assert [stage.name for stage in found.stages] == ["train", "prepare"]
    train, prepare = found.stages
    assert [(data.path, data.made_by) for data in train.reads] == [("data/train.csv", "prepare")]
    raw = next(data for data in prepare.reads if data.path == "data/raw")
    assert (raw.files, raw.size, raw.in_lock, raw.in_cache) == (2, 30, True, True)
    assert raw.recorded is not None
    assert (raw.recorded.subject, raw.recorded.author) == ("Add February", "Ada")
    code = next(data for data in prepare.reads if data.path == "prepare.py")
    assert code.recorded is not None
    assert code.recorded.subject == "Add January"
    assert (code.in_commit, raw.in_commit) == (True, False)
    assert found.run.commit is not None


def test_the_chain_of_an_older_version_keeps_the_data_it_saw(project: RegistryProject) -> None:
    old, new = chain(project, "flights@1"), chain(project, "flights@2")
    raw = {found.title: next(it for it in found.inputs if it.path == "data/raw") for found in (old, new)}
    assert raw["flights@1"].digest != raw["flights@2"].digest
    assert not raw["flights@1"].in_lock
    assert raw["flights@1"].files == 2
    assert raw["flights@1"].recorded is not None
    assert raw["flights@1"].recorded.subject == "Add January"
    assert old.aliases == []
    assert [event.kind for event in old.later] == ["promote"]
    assert old.run.params == {"depth": 3}


def test_the_chain_knows_what_came_of_a_model(project: RegistryProject) -> None:
    record(project, "deploy", "flights@2", address="http://127.0.0.1:8080", previous="flights@1")
    record(project, "drift", "flights@2", verdict="drift", alarms=["x"], rows=500)
    record(project, "retrain", "flights@3", decision="rejected", champion="flights@2", challenger="flights@3")
    record(project, "deploy", "other@1", address="elsewhere")
    kinds = [event.kind for event in chain(project, "flights@2").later]
    assert kinds == ["deploy", "drift", "retrain"]
    assert [event.kind for event in chain(project, "flights@1").later] == ["promote", "deploy"]


def test_the_retraining_that_made_a_version_is_its_cause(project: RegistryProject) -> None:
    record(project, "retrain", "flights@2", decision="promoted", champion="flights@1", challenger="flights@2")
    made = chain(project, "flights@2").made_by
    assert made is not None
    assert made.data["decision"] == "promoted"
    assert chain(project, "flights@1").made_by is None


def test_a_run_has_a_chain_and_so_has_a_version_whose_run_is_not_here(project: RegistryProject) -> None:
    run = project.workspace().runs.list()[0]
    found = chain(project, f"runs:{run.id[:8]}")
    assert (found.run.id, found.run.known) == (run.id, True)
    assert found.version is not None
    unregistered = project.run(seed=5)
    assert chain(project, f"runs:{unregistered}").version is None
    shared = project.root.parent / "shared"
    shared.mkdir()
    (project.root / "mlo.yaml").write_text((project.root / "mlo.yaml").read_text() + f"registry: {shared}\n")
    register_model(project.workspace())
    (project.root / ".mlo" / "mlo.db").unlink()
    elsewhere = chain(project, "flights@1")
    assert (elsewhere.run.known, elsewhere.run.command) == (False, "mlo run")
    with pytest.raises(NotFound):
        chain(project, "flights@9")


# -- blame ---------------------------------------------------------------------------------------------------


def test_blame_names_runs_versions_and_how_long_an_alias_held_them(project: RegistryProject) -> None:
    found = blame(project.workspace(), "data/raw")
    assert found.in_lock
    assert [run.how for run in found.runs] == [["prepare read data/raw"]]
    assert [version.title for version in found.versions] == ["flights@2"]
    [span] = found.versions[0].aliases
    assert (span.alias, span.until) == ("production", None)
    old = found_digest(project, "flights@1")
    before = blame(project.workspace(), "data/raw", old[:16])
    assert not before.in_lock
    assert [version.title for version in before.versions] == ["flights@1"]
    assert before.versions[0].aliases[0].until is not None


def found_digest(project: RegistryProject, title: str) -> str:
    return next(it for it in chain(project, title).inputs if it.path == "data/raw").digest


def test_blame_looks_into_folders(project: RegistryProject) -> None:
    unchanged = blame(project.workspace(), "data/raw/a.csv")
    assert [version.title for version in unchanged.versions] == ["flights@1", "flights@2"]
    changed = blame(project.workspace(), "data/raw/b.csv")
    assert [version.title for version in changed.versions] == ["flights@2"]
    assert changed.size == 15


def test_blame_takes_code_and_outputs_too(project: RegistryProject) -> None:
    assert len(blame(project.workspace(), "prepare.py").versions) == 2
    test_rows = blame(project.workspace(), "data/test.csv")
    assert test_rows.versions[0].how == ["prepare wrote data/test.csv", "scored on data/test.csv"]
    assert blame(project.workspace(), "model").versions[0].how == ["train wrote model"]


def test_blame_follows_data_to_deployments_and_prediction_windows(project: RegistryProject) -> None:
    record(project, "deploy", "flights@2", address="http://127.0.0.1:8080", previous="flights@1")
    record(project, "drift", "flights@2", verdict="quiet", window={"start": "a", "end": "b"})
    record(project, "retrain", "flights@3", decision="rejected", champion="flights@2", challenger="flights@3")
    found = blame(project.workspace(), "data/raw/b.csv")
    assert [len(found.deployments), len(found.windows), len(found.retrainings)] == [1, 1, 1]
    old = blame(project.workspace(), "data/raw", found_digest(project, "flights@1"))
    assert [len(old.deployments), len(old.windows), len(old.retrainings)] == [0, 0, 0]


def test_blame_of_what_nobody_knows_says_what_is_known(project: RegistryProject) -> None:
    for path, digest, error, words in (
        ("data/none", None, NotFound, "no run, no version"),
        ("data/raw", "ffffffff", NotFound, "never held ffffffff; it held xxh128:"),
        ("data/raw", "xxh128:", UsageError, "could be xxh128:"),
    ):
        with pytest.raises(error, match=words):
            blame(project.workspace(), path, digest)
    shutil.copy(project.root / "mlo.lock", project.root / "old.lock")
    (project.root / "mlo.lock").write_text("version: 1\n")
    with pytest.raises(NotFound, match=r"not in mlo\.lock now") as caught:
        blame(project.workspace(), "data/raw")
    assert "mlo blame data/raw@xxh128:" in str(caught.value.hint)


def test_blame_gives_what_it_can_when_the_objects_are_gone(project: RegistryProject) -> None:
    shutil.rmtree(project.root / ".mlo" / "cache")
    assert [version.title for version in blame(project.workspace(), "data/raw").versions] == ["flights@2"]


def test_a_target_is_a_path_from_here_and_perhaps_a_digest(project: RegistryProject) -> None:
    workspace = project.workspace()
    inside = project.root / "data"
    assert split_target(workspace, "raw", inside) == ("data/raw", None)
    assert split_target(workspace, "raw@xxh128:3f2a", inside) == ("data/raw", "xxh128:3f2a")
    assert split_target(workspace, "./raw/../raw@3f2a91", inside) == ("data/raw", "3f2a91")
    assert split_target(workspace, "raw@home", inside) == ("data/raw@home", None)
    with pytest.raises(UsageError, match="outside the project"):
        split_target(workspace, "../../x", inside)
