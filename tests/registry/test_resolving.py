"""References, and the verified copy of a model that they lead to."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from registry_project import RegistryProject, rows

from mlops_cli.core.errors import IntegrityError, NotFound, RemoteError, UsageError
from mlops_cli.core.store.protocol import ObjectMissing
from mlops_cli.core.store.transfer import push_digests
from mlops_cli.core.workflows.promote import promote_model
from mlops_cli.core.workflows.register import register_model
from mlops_cli.core.workflows.resolve import bring_digest, entry_of, load_resolved, model_folder, resolve_model
from mlops_cli.core.workflows.transfer import push_project


@pytest.fixture
def project(tmp_path: Path) -> RegistryProject:
    return RegistryProject(tmp_path / "project")


def test_every_form_of_a_reference_leads_to_the_version(project: RegistryProject) -> None:
    run = project.run()
    register_model(project.workspace())
    promote_model(project.workspace(), "flights@1")
    workspace = project.workspace()
    expected = resolve_model(workspace, "flights@1")
    assert (expected.title, expected.run) == ("flights@1", run)
    forms = ("flights@production", "flights@latest", "models:/flights/1", "models:/flights@production")
    assert all(resolve_model(workspace, form) == expected for form in forms)
    of_run = resolve_model(workspace, f"runs:/{run}/model")
    assert (of_run.version, of_run.model, of_run.files) == (None, expected.model, expected.files)
    assert of_run == resolve_model(workspace, f"runs:{run[:6]}") == resolve_model(workspace, "runs:latest")


def test_what_cannot_be_resolved_says_why(project: RegistryProject) -> None:
    run = project.run(model=False)
    workspace = project.workspace()
    for text, kind in (
        ("flights", UsageError),
        ("flights@1", NotFound),
        ("runs:ffff0000", NotFound),
        (f"runs:{run}", NotFound),
    ):
        with pytest.raises(kind):
            resolve_model(workspace, text)


def test_the_folder_holds_the_registered_bytes_read_only(project: RegistryProject) -> None:
    project.run()
    version = register_model(project.workspace())
    workspace = project.workspace()
    folder = model_folder(workspace, resolve_model(workspace, "flights@1"))
    assert folder == workspace.paths.private / "models" / version.model.name.hex
    assert sorted(path.name for path in folder.iterdir()) == sorted(version.files)
    assert all(path.stat().st_mode & 0o222 == 0 for path in folder.iterdir())
    assert model_folder(workspace, resolve_model(workspace, "flights@1")) == folder


@pytest.mark.parametrize("harm", ["alter", "remove", "add"])
def test_a_copy_that_was_changed_is_made_again(project: RegistryProject, harm: str) -> None:
    project.run()
    version = register_model(project.workspace())
    workspace = project.workspace()
    resolved = resolve_model(workspace, "flights@1")
    file = model_folder(workspace, resolved) / "model.skops"
    if harm == "add":
        (file.parent / "extra.py").write_text("import os")
    else:
        file.unlink()
    if harm == "alter":
        file.write_bytes(b"other")
    assert sorted(path.name for path in model_folder(workspace, resolved).iterdir()) == sorted(version.files)
    assert len(load_resolved(workspace, resolved).predict(rows(2)[["x", "z"]])) == 120


def test_a_registered_sha256_that_does_not_fit_is_an_integrity_error(project: RegistryProject) -> None:
    import msgspec

    project.run()
    register_model(project.workspace())
    workspace = project.workspace()
    resolved = resolve_model(workspace, "flights@1")
    forged = msgspec.structs.replace(resolved, files={**resolved.files, "model.skops": "0" * 64})
    with pytest.raises(IntegrityError, match="not what was registered"):
        model_folder(workspace, forged)


def test_objects_that_the_cache_lacks_come_from_a_remote(project: RegistryProject, tmp_path: Path) -> None:
    (tmp_path / "remote").mkdir()
    (project.root / "mlo.yaml").write_text(
        (project.root / "mlo.yaml").read_text() + f"remotes: {{origin: {tmp_path}/remote}}\n"
    )
    project.run()
    register_model(project.workspace())
    push_project(project.workspace())
    for gone in ("cache", "models"):
        shutil.rmtree(project.root / ".mlo" / gone)
    workspace = project.workspace()
    assert (model_folder(workspace, resolve_model(workspace, "flights@1")) / "model.skops").is_file()


def test_objects_that_are_nowhere_are_named_with_the_places_that_were_asked(
    project: RegistryProject, tmp_path: Path
) -> None:
    project.run()
    register_model(project.workspace())
    for gone in ("cache", "models"):
        shutil.rmtree(project.root / ".mlo" / gone)
    workspace = project.workspace()
    with pytest.raises(ObjectMissing, match="there is no remote"):
        model_folder(workspace, resolve_model(workspace, "flights@1"))
    (tmp_path / "remote").mkdir()
    (project.root / "mlo.yaml").write_text(
        (project.root / "mlo.yaml").read_text() + f"remotes: {{origin: {tmp_path}/remote}}\n"
    )
    workspace = project.workspace()
    with pytest.raises(ObjectMissing, match="neither the cache nor origin"):
        model_folder(workspace, resolve_model(workspace, "flights@1"))


def test_a_run_s_model_can_be_used_while_the_registry_is_out_of_reach(project: RegistryProject, tmp_path: Path) -> None:
    run = project.run()
    (project.root / "mlo.yaml").write_text((project.root / "mlo.yaml").read_text() + f"registry: {tmp_path}/gone\n")
    workspace = project.workspace()
    assert resolve_model(workspace, f"runs:{run}").files == {}
    with pytest.raises(RemoteError):
        resolve_model(workspace, "flights@1")


@pytest.mark.parametrize("harm", ["alter", "remove", "add"])
def test_a_changed_copy_of_an_unregistered_model_is_made_again(project: RegistryProject, harm: str) -> None:
    run = project.run()
    workspace = project.workspace()
    resolved = resolve_model(workspace, f"runs:{run}")
    file = model_folder(workspace, resolved) / "model.skops"
    good = file.read_bytes()
    if harm == "add":
        (file.parent / "extra.py").write_text("import os")
    else:
        file.unlink()
    if harm == "alter":
        file.write_bytes(b"other")
    folder = model_folder(workspace, resolved)
    assert (folder / "model.skops").read_bytes() == good
    assert not (folder / "extra.py").exists()


def test_single_objects_come_from_a_remote_too(project: RegistryProject, tmp_path: Path) -> None:
    (tmp_path / "remote").mkdir()
    with (project.root / "mlo.yaml").open("a") as file:
        file.write(f"remotes: {{first: {tmp_path}/nowhere, origin: {tmp_path}/remote}}\n")
    project.run()
    workspace = project.workspace()
    digest = str(workspace.store.put_bytes(b"a profile"))
    push_digests(workspace.store, workspace.remote("origin"), [digest])
    other = str(workspace.store.put_bytes(b"never pushed"))
    shutil.rmtree(project.root / ".mlo" / "cache")
    workspace = project.workspace()
    assert bring_digest(workspace, digest, what="the profile") == b"a profile"
    with pytest.raises(RemoteError, match="nowhere"):  # the one that cannot be asked might have it
        bring_digest(workspace, other, what="the profile")
    (tmp_path / "nowhere").mkdir()
    with pytest.raises(ObjectMissing, match=r"the profile is .*neither the cache nor origin nor first"):
        bring_digest(workspace, other, what="the profile")


def test_a_folder_wears_its_kind_in_its_object(project: RegistryProject) -> None:
    project.run()
    workspace = project.workspace()
    held = workspace.read_lock().entries
    assert entry_of(workspace, held["data/raw"].digest) == held["data/raw"]
    assert entry_of(workspace, held["data/test.csv"].digest) == held["data/test.csv"]
    assert entry_of(workspace, f"xxh128:{'0' * 32}") is None
