"""`mlo run --pull`: what somebody else ran and pushed is restored here, checked, and not run again."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from far_remote import spoil
from pipeline_kit import Notes, run, statuses, workspace, write_project

from mlops_cli.core.errors import IntegrityError, NotFound, ProjectError, RemoteError
from mlops_cli.core.workflows.data import add_paths
from mlops_cli.core.workflows.plan import RunRequest
from mlops_cli.core.workflows.run import run_pipeline
from mlops_cli.core.workflows.transfer import push_data, push_project

SCRIPT = """
import os, pathlib
import mlops_cli as mlo
lr = mlo.params()["lr"]
text = pathlib.Path("raw/a.txt").read_text() + str(lr)
pathlib.Path("m").mkdir()
pathlib.Path("m/weights").write_text(text * 3)
pathlib.Path("big").write_bytes(text.encode() * 100_000)
print("trained with", lr)
mlo.log_metric("loss", lr * 2)
mlo.log_param("kind", "tree")
open("calls", "a").write("x")
"""
STAGES: dict[str, Any] = {
    "prepare": {"cmd": "cat raw/a.txt raw/a.txt > p.txt; echo p >> calls", "deps": ["raw"], "outs": ["p.txt"]},
    "train": {"cmd": "python s.py", "deps": ["s.py", "p.txt", "raw/a.txt"], "params": ["lr"], "outs": ["m", "big"]},
    "score": {"cmd": 'echo "{\\"auc\\": 0.75}" > s.json; echo s >> calls', "deps": ["m"], "metrics": ["s.json"]},
}
NAMES = ("mlo.yaml", "mlo.lock", "s.py", "raw.txt")


def laid_out(folder: Path, stages: Mapping[str, Any] = STAGES, **more: Any) -> None:
    remote = folder.parent / "remote"
    remote.mkdir(exist_ok=True)
    (folder / "raw").mkdir(exist_ok=True)
    (folder / "raw" / "a.txt").write_text("rows\n")
    (folder / "s.py").write_text(SCRIPT)
    write_project(folder, dict(stages), {"lr": 0.5}, **{"remotes": {"origin": str(remote)}, **more})
    add_paths(workspace(folder), [folder / "raw"])


def cloned(folder: Path, name: str = "clone") -> Path:
    """What git would bring: neither data, nor a cache, nor runs."""
    clone = folder.parent / name
    clone.mkdir()
    for file in NAMES:
        if (folder / file).exists():
            shutil.copy(folder / file, clone)
    return clone


def calls(folder: Path) -> str:
    path = folder / "calls"
    return path.read_text() if path.exists() else ""


def notes_of(folder: Path, **request: Any) -> tuple[dict[str, str], list[str]]:
    opened = workspace(folder)
    result = run_pipeline(opened, RunRequest(**request))
    assert isinstance(opened.progress, Notes)
    return statuses(result), opened.progress.lines


def test_what_was_run_and_pushed_elsewhere_is_restored_and_logged_as_there(here: Path) -> None:
    laid_out(here)
    first = run(here)
    push_project(workspace(here))
    clone = cloned(here)
    second = run(clone, pull=True)
    assert statuses(second) == dict.fromkeys(STAGES, "restored")
    assert calls(clone) == ""
    assert (clone / "m" / "weights").read_bytes() == (here / "m" / "weights").read_bytes()
    assert (clone / "raw" / "a.txt").read_text() == "rows\n"
    assert second.metrics == first.metrics == {"loss": 1.0, "auc": 0.75}
    assert second.params == first.params == {"lr": 0.5, "kind": "tree"}
    assert [stage.run for stage in second.stages] == [first.run] * 3
    assert (clone / "mlo.lock").read_bytes() == (here / "mlo.lock").read_bytes()
    log = workspace(clone).runs.get(second.run).artifacts["logs/train.log"]
    from mlops_cli.core.base.digest import Digest

    assert workspace(clone).store.read(Digest.parse(log.digest)) == b"trained with 0.5\n"
    assert statuses(run(clone)) == dict.fromkeys(STAGES, "cached")


def test_a_clone_without_any_lock_finds_results_by_their_keys(here: Path) -> None:
    laid_out(here)
    run(here)
    push_project(workspace(here))
    clone = cloned(here)
    (clone / "mlo.lock").unlink()
    shutil.copytree(here / "raw", clone / "raw")
    add_paths(workspace(clone), [clone / "raw"])
    assert statuses(run(clone, pull=True)) == dict.fromkeys(STAGES, "restored")


def test_variants_that_were_run_elsewhere_are_restored_too(here: Path) -> None:
    laid_out(here)
    run(here)
    variant = run(here, overrides={"lr": "0.25"})
    push_project(workspace(here))
    clone = cloned(here)
    result = run(clone, pull=True, overrides={"lr": "0.25"})
    assert statuses(result) == dict.fromkeys(STAGES, "restored")
    assert result.metrics == variant.metrics == {"loss": 0.5, "auc": 0.75}
    assert (clone / "m" / "weights").read_text() == "rows\n0.25" * 3
    assert statuses(run(clone, pull=True, overrides={"lr": "0.125"}))["train"] == "ran"


def test_without_pull_nothing_is_asked_of_the_remote(here: Path) -> None:
    laid_out(here)
    run(here)
    push_project(workspace(here))
    clone = cloned(here)
    shutil.copytree(here / "raw", clone / "raw")
    (clone / "mlo.lock").unlink()
    add_paths(workspace(clone), [clone / "raw"])
    shutil.rmtree(here.parent / "remote")
    assert statuses(run(clone)) == dict.fromkeys(STAGES, "ran")


def test_a_remote_that_is_out_of_reach_is_said_before_anything_runs(here: Path) -> None:
    laid_out(here, remotes={"origin": "http://127.0.0.1:9/nothing"})
    with pytest.raises(RemoteError) as caught:
        run(here, pull=True)
    assert caught.value.exit_code == 8
    assert calls(here) == ""


def test_a_project_without_a_remote_has_nothing_to_pull_from(here: Path) -> None:
    laid_out(here, remotes={})
    with pytest.raises(Exception, match="no remote is named"):
        run(here, pull=True)


def test_damaged_bytes_are_refused_by_name_and_nothing_of_them_arrives(here: Path) -> None:
    laid_out(here)
    run(here)
    push_project(workspace(here))
    digest = workspace(here).read_lock().stages["train"].outs["big"].digest
    spoil(workspace(here).remote(), digest)
    clone = cloned(here)
    with pytest.raises(IntegrityError, match="big") as caught:
        run(clone, pull=True)
    assert caught.value.exit_code == 7
    assert not (clone / "big").exists()
    assert calls(clone) == ""
    assert set(statuses(run(clone)).values()) <= {"ran", "restored", "cached"}  # what does without them still works
    assert (clone / "big").read_bytes() == (here / "big").read_bytes()


def test_a_result_that_does_not_read_is_passed_over_and_said(here: Path) -> None:
    laid_out(here)
    run(here)
    push_project(workspace(here))
    clone = cloned(here)
    (clone / "mlo.lock").unlink()
    shutil.copytree(here / "raw", clone / "raw")
    add_paths(workspace(clone), [clone / "raw"])
    key = workspace(here).read_lock().stages["score"].key
    path = here.parent / "remote" / "results" / key
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    found, notes = notes_of(clone, pull=True)
    assert found == {"prepare": "restored", "train": "restored", "score": "ran"}
    assert any(f"results/{key} on origin does not read" in note for note in notes)


def test_a_result_whose_bytes_are_gone_from_the_remote_is_run(here: Path) -> None:
    laid_out(here)
    run(here)
    push_project(workspace(here))
    for name in ("packs", "objects"):
        shutil.rmtree(here.parent / "remote" / name, ignore_errors=True)
    push_data(workspace(here), [here / "raw"])
    clone = cloned(here)
    assert statuses(run(clone, pull=True)) == dict.fromkeys(STAGES, "ran")


def test_missing_inputs_come_and_those_that_are_nowhere_are_named(here: Path) -> None:
    laid_out(here)
    push_data(workspace(here))
    clone = cloned(here)
    with pytest.raises(NotFound, match="raw"):
        run(clone)
    assert statuses(run(clone, pull=True)) == dict.fromkeys(STAGES, "ran")
    shutil.rmtree(here.parent / "remote")
    (here.parent / "remote").mkdir()
    empty = cloned(here, "empty")
    with pytest.raises(NotFound, match="raw"):
        run(empty, pull=True)


def test_what_stages_that_are_not_asked_for_made_comes_as_an_input(here: Path) -> None:
    laid_out(here)
    run(here)
    push_project(workspace(here))
    clone = cloned(here)
    assert statuses(run(clone, "score", alone=True, pull=True)) == {"score": "restored"}
    assert (clone / "m" / "weights").exists()


def test_no_cache_pulls_inputs_and_no_results(here: Path) -> None:
    laid_out(here)
    run(here)
    push_project(workspace(here))
    clone = cloned(here)
    assert statuses(run(clone, pull=True, from_cache=False)) == dict.fromkeys(STAGES, "ran")


def test_a_frozen_stage_is_pulled_as_the_lock_has_it(here: Path) -> None:
    laid_out(here)
    run(here)
    push_project(workspace(here))
    clone = cloned(here)
    write_project(
        clone,
        {**STAGES, "train": {**STAGES["train"], "frozen": True}},
        {"lr": 9},
        remotes={"origin": str(here.parent / "remote")},
    )
    assert statuses(run(clone, "score", pull=True)) == {"train": "restored", "score": "restored"}


def test_a_second_pull_asks_little(here: Path) -> None:
    """All is here: neither bytes nor results are fetched again."""
    laid_out(here)
    run(here)
    push_project(workspace(here))
    clone = cloned(here)
    run(clone, pull=True)
    shutil.rmtree(here.parent / "remote" / "packs")
    assert statuses(run(clone, pull=True)) == dict.fromkeys(STAGES, "cached")


def test_a_shared_remote_takes_and_gives_nothing_that_could_be_forged(here: Path) -> None:
    laid_out(here)
    run(here)
    push_project(workspace(here))  # while the remote was private
    remote = {"origin": {"url": str(here.parent / "remote"), "trust": "shared"}}
    write_project(here, STAGES, {"lr": 0.5}, remotes=remote)
    for act in (lambda: push_project(workspace(here)), lambda: run(cloned(here), pull=True)):
        with pytest.raises(ProjectError, match=r"trust: shared"):
            act()


def test_a_result_that_could_be_forged_is_passed_over_and_said(here: Path) -> None:
    stages = {"t": {"cmd": "echo x > o", "outs": ["o"]}}  # its key names no digest
    url = str(here.parent / "remote")
    Path(url).mkdir()
    write_project(here, stages, remotes={"origin": url})
    run(here)
    push_project(workspace(here))
    clone = cloned(here)
    (clone / "mlo.lock").unlink()
    write_project(clone, stages, remotes={"origin": {"url": url, "trust": "shared"}}, hash="blake3")
    found, notes = notes_of(clone, pull=True)
    assert found == {"t": "ran"}
    assert any("the result of t on origin is passed over" in note for note in notes)


def test_a_shared_remote_works_with_digests_that_withstand(here: Path) -> None:
    remote = {"origin": {"url": str(here.parent / "remote"), "trust": "shared"}}
    laid_out(here, remotes=remote, hash="blake3")
    run(here)
    push_project(workspace(here))
    assert statuses(run(cloned(here), pull=True)) == dict.fromkeys(STAGES, "restored")


def test_what_ci_does_is_run_with_pull_and_push(here: Path) -> None:
    """`mlo run --pull && mlo push`, on two machines in turn: each computes what is new, and only that."""
    laid_out(here)
    push_data(workspace(here))
    ci = cloned(here, "ci")
    run(ci, pull=True)
    push_project(workspace(ci))
    assert statuses(run(here, pull=True)) == dict.fromkeys(STAGES, "restored")
    stages = {**STAGES, "score": {**STAGES["score"], "cmd": STAGES["score"]["cmd"].replace("0.75", "0.76")}}
    write_project(here, stages, {"lr": 0.5}, remotes={"origin": str(here.parent / "remote")})
    run(here)
    push_project(workspace(here))
    for name in ("mlo.yaml", "mlo.lock"):
        shutil.copy(here / name, ci)
    assert statuses(run(ci, pull=True)) == {"prepare": "cached", "train": "cached", "score": "restored"}


def test_data_of_before_a_git_pull_is_brought_up_to_date_and_an_edit_stays(here: Path) -> None:
    laid_out(here)
    run(here)
    push_project(workspace(here))
    clone = cloned(here)
    run(clone, pull=True)
    (here / "raw" / "a.txt").write_text("newer rows\n")
    add_paths(workspace(here), [here / "raw"])
    run(here)
    push_project(workspace(here))
    shutil.copy(here / "mlo.lock", clone)  # git pull
    again = run(clone, pull=True)
    assert "ran" not in statuses(again).values()
    assert (clone / "raw" / "a.txt").read_text() == "newer rows\n"
    assert (clone / "mlo.lock").read_bytes() == (here / "mlo.lock").read_bytes()
    (clone / "raw" / "a.txt").write_text("rows that nobody recorded\n")
    assert statuses(run(clone, pull=True))["prepare"] == "ran"
    assert (clone / "raw" / "a.txt").read_text() == "rows that nobody recorded\n"
