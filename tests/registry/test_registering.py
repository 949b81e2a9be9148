"""From a run to a version: what is recorded, what is refused, and what a killed writer leaves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from registry_project import RegistryProject, rows

from mlops_cli.core.base.digest import Digest, digest_bytes, sha256_file
from mlops_cli.core.errors import IntegrityError, NotFound, ProjectError, RemoteError, UsageError
from mlops_cli.core.events.chain import verify
from mlops_cli.core.workflows.register import register, register_model
from mlops_cli.core.workflows.resolve import load_resolved, resolve_model


@pytest.fixture
def project(tmp_path: Path) -> RegistryProject:
    return RegistryProject(tmp_path / "project")


def test_a_version_holds_every_fact_of_its_run(project: RegistryProject) -> None:
    run_id = project.run(metrics={"val/acc": 0.8, "bad": float("nan")}, params={"depth": 3})
    version = register_model(project.workspace())
    workspace = project.workspace()
    run = workspace.runs.get(run_id)
    assert (version.title, version.run, version.params) == ("flights@1", run_id, {"depth": 3})
    assert version.metrics == {"val/acc": 0.8, "bad": None}
    assert version.files == {path.name: sha256_file(path) for path in sorted((project.root / "model").iterdir())}
    assert version.inputs == run.inputs
    assert version.stages == run.stages
    assert version.evaluate is not None
    assert version.evaluate.data == run.outputs["data/test.csv"]
    assert version.evaluate.target == "late"
    assert 0.9 < (version.scores["auc"] or 0) <= 1
    assert set(version.scores) >= {"auc", "accuracy", "log_loss"}
    assert version.actor == "Ada <ada@example.org>"
    assert version.manifest is not None
    assert workspace.store.read(Digest.parse(version.manifest)) == workspace.runs.manifest(run_id)


def test_the_last_finished_run_is_registered_and_one_may_be_named_by_a_prefix(project: RegistryProject) -> None:
    first = project.run(seed=1)
    second = project.run(seed=2)
    project.run(seed=3, status="failed")
    assert register_model(project.workspace()).run == second
    assert register_model(project.workspace(), first[:4]).run == first
    assert register_model(project.workspace(), f"runs:{first}").version == 2


def test_a_trial_and_another_branch_s_run_are_not_registered_unless_they_are_named(project: RegistryProject) -> None:
    good = project.run(seed=1)
    trial = project.run(seed=2, overrides={"seed": 2})
    other = project.run(seed=3, lock=False)
    assert register_model(project.workspace()).run == good
    made = register(project.workspace(), trial)
    assert (made.version.run, made.overrides) == (trial, {"seed": 2})
    assert any("-P" in note for note in made.notes)
    assert register_model(project.workspace(), other).run == other


def test_no_run_with_the_model_of_the_lock_is_refused_with_the_ways_on(project: RegistryProject) -> None:
    lock = project.workspace().paths.lock
    project.run(seed=1)
    kept = lock.read_text()
    clone = RegistryProject(project.root.parent / "clone")
    trial = clone.run(seed=2, overrides={"seed": 2})
    (clone.root / "mlo.lock").write_text(kept)
    with pytest.raises(NotFound, match="no finished run here made the model") as caught:
        register_model(clone.workspace())
    assert f"mlo register {trial[:8]}" in str(caught.value.hint)


def test_a_lock_without_a_model_falls_back_to_the_latest_run_and_says_so(project: RegistryProject) -> None:
    run_id = project.run(lock=False)
    made = register(project.workspace())
    assert made.version.run == run_id
    assert "mlo.lock records no model at model" in made.notes[0]


def test_a_run_that_found_the_model_up_to_date_gives_way_to_the_one_that_made_it(project: RegistryProject) -> None:
    maker = project.run()
    workspace = project.workspace()
    again = msgspec.structs.replace(workspace.runs.latest(), id="d" * 32, start="2026-02-01T00:00:00.000000Z", pid=0)
    workspace.runs.start(msgspec.structs.replace(again, status="running"))
    workspace.runs.finish(again)
    assert register_model(project.workspace()).run == maker
    rescored = {**again.outputs, "data/test.csv": again.outputs["data/train.csv"]}
    other = msgspec.structs.replace(again, id="c" * 32, start="2026-02-02T00:00:00.000000Z", outputs=rescored)
    workspace.runs.start(msgspec.structs.replace(other, status="running"))
    workspace.runs.finish(other)
    assert register_model(project.workspace()).run == "c" * 32  # its evaluation rows are others


def test_the_notes_say_what_sets_the_run_apart_from_the_present_commit(project: RegistryProject) -> None:
    project.commit("first")
    project.run()
    (project.root / "more.txt").write_text("more\n")
    project.commit("second")
    assert any("is not HEAD" in note for note in register(project.workspace()).notes)


def test_code_that_no_commit_holds_is_noted(project: RegistryProject) -> None:
    project.commit("first")
    project.run()
    workspace = project.workspace()
    run = workspace.runs.latest()
    code = {path: str(digest_bytes(path.encode(), "xxh128")) for path in ("train.py", "mlo.yaml")}
    mine = msgspec.structs.replace(run, id="d" * 32, inputs={**run.inputs, **code}, dirty=True)
    workspace.runs.start(msgspec.structs.replace(mine, status="running"))
    workspace.runs.finish(mine)
    notes = register(project.workspace(), "d" * 32).notes
    assert "train.py, which the run read, is in no commit: commit it, or the code may be lost" in notes
    assert "the work tree had changes that were not committed; they were not kept" in notes


def test_registering_the_same_model_again_gives_the_version_it_has(project: RegistryProject) -> None:
    project.run()
    first = register(project.workspace())
    again = register(project.workspace())
    assert (first.created, again.created) == (True, False)
    assert again.version == first.version
    assert len(project.workspace().registry.history()) == 1


def test_another_name_may_be_given(project: RegistryProject) -> None:
    project.run()
    assert register_model(project.workspace(), name="other").title == "other@1"
    with pytest.raises(UsageError, match="not a name"):
        register_model(project.workspace(), name="a b")


def test_a_run_without_a_model_is_refused_and_the_last_one_with_a_model_named(project: RegistryProject) -> None:
    with pytest.raises(NotFound):
        register_model(project.workspace())
    good = project.run()
    project.run(model=False, seed=2)
    with pytest.raises(NotFound, match="logged no model") as caught:
        register_model(project.workspace())
    assert f"mlo register {good[:8]}" in str(caught.value.hint)
    failed = project.run(status="failed", seed=3)
    with pytest.raises(ProjectError, match="is failed"):
        register_model(project.workspace(), failed)
    with pytest.raises(NotFound):
        register_model(project.workspace(), "ffff")


def test_a_model_folder_that_the_run_wrote_without_logging_it_is_found(project: RegistryProject) -> None:
    project.run()
    workspace = project.workspace()
    run = workspace.runs.latest()
    quiet = msgspec.structs.replace(run, id="f" * 32, model=None, start="2026-02-01T00:00:00.000000Z", pid=0)
    workspace.runs.start(msgspec.structs.replace(quiet, status="running"))
    workspace.runs.finish(quiet)
    assert register_model(project.workspace(), "f" * 32).run == "f" * 32


def test_without_evaluation_rows_or_a_model_section_the_notes_say_what_is_lacking(project: RegistryProject) -> None:
    project.configure("  evaluate: {data: data/test.csv, target: late}\n", "")
    project.run()
    made = register(project.workspace())
    assert made.version.scores == {}
    assert any("model.evaluate" in note for note in made.notes)
    assert any("model.reference" in note for note in made.notes)


def test_an_evaluation_file_that_is_nowhere_is_an_error_that_names_its_key(project: RegistryProject) -> None:
    project.configure("data: data/test.csv", "data: data/gone.csv")
    project.run()
    with pytest.raises(ProjectError, match=r"model.evaluate names data/gone.csv"):
        register_model(project.workspace())
    assert project.workspace().registry.history() == []


def test_the_evaluation_rows_are_those_of_the_run_not_those_in_the_work_tree_now(project: RegistryProject) -> None:
    run_id = project.run()
    rows(99).to_csv(project.root / "data" / "test.csv", index=False)
    version = register_model(project.workspace())
    assert version.evaluate is not None
    assert version.evaluate.data == project.workspace().runs.get(run_id).outputs["data/test.csv"]


def test_evaluation_rows_may_be_a_file_inside_added_data_or_one_that_only_stands_there(
    project: RegistryProject,
) -> None:
    project.configure("data: data/test.csv", "data: data/raw/c.csv")
    rows(7).to_csv(project.root / "data" / "raw" / "c.csv", index=False)
    project.run()
    version = register_model(project.workspace())
    assert version.evaluate is not None
    assert version.evaluate.path == "data/raw/c.csv"
    project.configure("data: data/raw/c.csv", "data: holdout.csv")
    rows(8).to_csv(project.root / "holdout.csv", index=False)
    other = register_model(project.workspace(), name="other")
    assert other.evaluate is not None
    assert project.workspace().store.has(other.evaluate.data.name)


def test_a_model_whose_file_is_not_the_one_the_script_logged_is_refused(project: RegistryProject) -> None:
    project.run()
    workspace = project.workspace()
    run = workspace.runs.latest()
    assert run.model is not None
    lying = msgspec.structs.replace(run.model, files={**run.model.files, "model.skops": "0" * 64})
    other = msgspec.structs.replace(run, id="e" * 32, model=lying, start="2026-02-01T00:00:00.000000Z", pid=0)
    workspace.runs.start(msgspec.structs.replace(other, status="running", model=None))
    workspace.runs.finish(other)
    with pytest.raises(IntegrityError, match=r"model/model.skops is not what run eeeeeeee logged"):
        register_model(project.workspace(), "e" * 32)
    assert project.workspace().registry.history() == []


def test_with_a_reference_the_drift_profile_is_made_and_stored(project: RegistryProject) -> None:
    from mlops_cli.core.drift.profile import Profile

    project.configure("  evaluate:", "  reference: data/train.csv\n  evaluate:")
    project.run()
    version = register_model(project.workspace())
    workspace = project.workspace()
    assert version.profile is not None
    assert version.reference == workspace.runs.latest().outputs["data/train.csv"]
    assert Profile.from_bytes(workspace.store.read(Digest.parse(version.profile)))


def test_a_registered_pickle_loads_and_a_run_s_unregistered_one_does_not(project: RegistryProject) -> None:
    from mlops_cli.core.models.errors import ModelUntrusted

    run_id = project.run(pickle=True)
    workspace = project.workspace()
    with pytest.raises(ModelUntrusted):
        load_resolved(workspace, resolve_model(workspace, f"runs:{run_id}"))
    register_model(project.workspace())
    workspace = project.workspace()
    assert load_resolved(workspace, resolve_model(workspace, "flights@1")).signature.task == "classification"
    assert load_resolved(workspace, resolve_model(workspace, f"runs:{run_id}")) is not None


_KILLED = """
import os, sys
from pathlib import Path
from mlops_cli.core.registry.registry import Registry
from mlops_cli.core.workflows.register import register_model
from mlops_cli.core.workflows.workspace import Workspace

Registry.append = lambda self, compose: os._exit(9)
register_model(Workspace.find(Path(sys.argv[1]), dict(os.environ)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("registry", ["local", "../registry"])
def test_a_writer_killed_between_the_objects_and_the_event_leaves_nothing_half(
    project: RegistryProject, registry: str
) -> None:
    (project.root.parent / "registry").mkdir()
    (project.root / "mlo.yaml").write_text((project.root / "mlo.yaml").read_text() + f"registry: {registry}\n")
    project.run()
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(project.root)], check=False)
    assert killed.returncode == 9
    workspace = project.workspace()
    assert workspace.registry.history() == []
    assert verify(workspace.events).holds
    assert register_model(project.workspace()).title == "flights@1"


def test_a_shared_registry_brings_the_model_to_a_clone_that_has_nothing(
    project: RegistryProject, tmp_path: Path
) -> None:
    (tmp_path / "registry").mkdir()
    (project.root / "mlo.yaml").write_text((project.root / "mlo.yaml").read_text() + f"registry: {tmp_path}/registry\n")
    project.run()
    version = register_model(project.workspace())
    clone = tmp_path / "clone"
    clone.mkdir()
    (clone / "mlo.yaml").write_text((project.root / "mlo.yaml").read_text())
    project.root = clone
    workspace = project.workspace()
    assert workspace.registry.versions("flights") == [version]
    loaded = load_resolved(workspace, resolve_model(workspace, "flights@latest"))
    assert len(loaded.predict(rows(3)[["x", "z"]])) == 120


def test_a_registry_out_of_reach_is_an_error_and_nothing_is_registered(
    project: RegistryProject, tmp_path: Path
) -> None:
    (project.root / "mlo.yaml").write_text((project.root / "mlo.yaml").read_text() + f"registry: {tmp_path}/gone\n")
    project.run()
    with pytest.raises(RemoteError):
        register_model(project.workspace())
    assert not (tmp_path / "gone").exists()
