"""`mlo push` and `mlo pull`: data, runs and models travel together."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from far_remote import objects_on
from registry_project import RegistryProject

from mlops_cli.core.base.digest import Digest
from mlops_cli.core.base.records import ModelRef
from mlops_cli.core.errors import IntegrityError, NotFound
from mlops_cli.core.project.lock import read_lock
from mlops_cli.core.store.tree import closure
from mlops_cli.core.tracking.records import Run
from mlops_cli.core.workflows.register import register_model
from mlops_cli.core.workflows.transfer import pull_project, push_project
from mlops_cli.core.workflows.workspace import Workspace


@pytest.fixture
def project(tmp_path: Path) -> RegistryProject:
    made = RegistryProject(tmp_path / "project")
    (tmp_path / "far").mkdir()
    with (made.root / "mlo.yaml").open("a") as file:
        file.write("remotes: {origin: ../far}\nregistry: origin\n")
    return made


def clone(project: RegistryProject) -> Workspace:
    """The project as git would bring it to another machine."""
    root = project.root.parent / "clone"
    root.mkdir(exist_ok=True)
    for name in ("mlo.yaml", "mlo.lock"):
        shutil.copy(project.root / name, root / name)
    return Workspace.find(root, dict(os.environ))


def test_a_clone_gets_data_runs_and_models(project: RegistryProject) -> None:
    run = project.run(metrics={"auc": 0.7})
    version = register_model(project.workspace())
    sent = push_project(project.workspace())
    sent.raise_if_incomplete()
    assert (sent.runs, sent.models) == (1, 1)
    there = clone(project)
    brought = pull_project(there)
    brought.raise_if_incomplete()
    assert (brought.runs, brought.models) == (1, 1)
    assert there.runs.get(run).metrics == {"auc": 0.7}
    assert (there.root / "data/raw/a.csv").read_text() == "x,z,late\n1,2,0\n"
    assert (there.root / "model").is_dir()
    registered = there.registry.versions("flights")[0]
    assert registered.model == version.model
    for digest in closure(there.store, registered.model):
        there.store.verify(digest)
    for text in (registered.profile, registered.manifest):
        assert text is None or there.store.has(Digest.parse(text))


def test_a_local_registry_is_said_to_stay_behind(project: RegistryProject) -> None:
    project.configure("registry: origin\n", "")
    project.run()
    register_model(project.workspace())
    sent = push_project(project.workspace())
    assert (sent.runs, sent.models, sent.registry_stays) == (1, 1, True)
    there = clone(project)
    brought = pull_project(there)
    assert (brought.runs, brought.models, brought.registry_stays) == (1, 0, True)
    with pytest.raises(NotFound, match="no model is registered") as caught:
        there.registry.versions("flights") or there.registry.resolve(ModelRef.parse("flights@latest"))
    assert "`registry: origin`" in str(caught.value.hint)


def test_the_second_push_and_pull_move_nothing(project: RegistryProject) -> None:
    project.run()
    push_project(project.workspace())
    again = push_project(project.workspace())
    assert (again.runs, again.transfer.objects) == (0, 0)
    pull_project(clone(project))
    brought = pull_project(clone(project))
    assert (brought.runs, brought.transfer.objects) == (0, 0)


def test_a_run_that_is_not_over_stays(project: RegistryProject) -> None:
    project.run(model=False)
    project.workspace().runs.start(Run(id="f" * 32, start="2026-01-01T00:00:00.000000Z", pid=os.getpid()))
    assert push_project(project.workspace()).runs == 1
    assert [path.name for path in (project.root.parent / "far/runs").iterdir()] != [f"{'f' * 32}.json"]


def test_a_run_without_its_bytes_still_travels(project: RegistryProject) -> None:
    first = project.run(seed=1)
    model = project.workspace().runs.get(first).model
    assert model is not None
    assert model.entry is not None
    project.run(seed=2)
    project.workspace().store.quarantine(model.entry.name)
    sent = push_project(project.workspace())
    assert sent.runs == 2
    sent.raise_if_incomplete()
    there = clone(project)
    pull_project(there).raise_if_incomplete()
    assert there.runs.get(first).model == model


def test_a_damaged_manifest_is_named_after_the_data_came(project: RegistryProject) -> None:
    project.run()
    push_project(project.workspace())
    [path] = (project.root.parent / "far/runs").iterdir()
    path.write_bytes(b"{}")
    (path.parent / "README.txt").write_text("not a run")
    there = clone(project)
    with pytest.raises(IntegrityError, match=path.name):
        pull_project(there)
    assert (there.root / "data/raw/a.csv").exists()


def test_everything_in_the_lock_is_on_the_remote(project: RegistryProject) -> None:
    project.run()
    push_project(project.workspace())
    workspace = project.workspace()
    found = objects_on(workspace.remote())
    for entry in read_lock(workspace.paths.lock).entries.values():
        assert {str(digest) for digest in closure(workspace.store, entry)} <= found.keys()
