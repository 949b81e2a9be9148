"""`mlo run --isolated` and `--rev`: a run in a clean working copy, of which nothing is left."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pipeline_kit import chain, run, statuses, workspace, write_project

from mlops_cli.core.errors import MloError, NotFound, ProjectError, StageFailed, UsageError
from mlops_cli.core.pipeline.errors import DependencyMissing
from mlops_cli.core.workflows.asking import arguments_of, request_from
from mlops_cli.core.workflows.copies import clear_leftovers, run_isolated, working_copy
from mlops_cli.core.workflows.data import add_paths
from mlops_cli.core.workflows.plan import RunRequest
from mlops_cli.core.workflows.run import RunResult


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit_all(folder: Path, message: str = "x") -> str:
    if not (folder / ".git").exists():
        git(folder, "init", "-q")
        (folder / ".git" / "info" / "exclude").write_text(".mlo\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", message)
    return git(folder, "rev-parse", "HEAD")


def isolated(folder: Path, *stages: str, **options: Any) -> RunResult:
    request = RunRequest(stages=stages, isolated=True, **options)
    result = run_isolated(workspace(folder), request)
    assert not copies(folder)
    return result


def copies(folder: Path) -> list[Path]:
    return [path for path in (folder / ".mlo" / "copies").glob("*") if path.is_dir()]


def snapshot(folder: Path) -> dict[str, bytes]:
    """The work tree: every file outside .mlo and .git, and the marker."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {
        name: path.read_bytes()
        for name, path in files.items()
        if not name.startswith((".mlo/", ".git/")) or name == ".mlo/worktree.json"
    }


def test_the_work_tree_stays_as_it_is_and_the_result_is_in_the_run_cache(here: Path) -> None:
    chain(here)
    commit_all(here)
    before = snapshot(here)
    result = isolated(here, overrides={"x": "5"})
    assert snapshot(here) == before
    assert not result.worktree
    assert set(statuses(result).values()) == {"ran"}
    record = workspace(here).runs.get(result.run)
    assert record.tags["mlo.isolated"] == "true"
    assert statuses(isolated(here, overrides={"x": "5"})) == {"a": "restored", "b": "restored", "c": "restored"}
    # And the other way round: what ran in the work tree is restored in a copy, and the reverse.
    assert set(statuses(run(here, overrides={"x": "5"})).values()) == {"restored"}


def test_uncommitted_changes_of_tracked_files_count_and_untracked_files_do_not(here: Path) -> None:
    write_project(
        here,
        {
            "s": {
                "cmd": "cat a.txt > out.txt; ls > names.txt",
                "deps": ["a.txt"],
                "outs": ["out.txt"],
                "plots": ["names.txt"],
            }
        },
    )
    (here / "a.txt").write_text("committed")
    (here / "gone.txt").write_text("x")
    sha = commit_all(here)
    (here / "a.txt").write_text("changed")
    (here / "stray.txt").write_text("of nobody")
    (here / "gone.txt").unlink()
    result = isolated(here)
    run_ = workspace(here).runs.get(result.run)
    store = workspace(here).store
    assert store.read(run_.outputs["out.txt"].name) == b"changed"
    assert store.read(run_.outputs["names.txt"].name).decode().split() == ["a.txt", "mlo.yaml", "names.txt", "out.txt"]
    assert (run_.commit, run_.dirty) == (sha, True)
    assert run_.diff is not None
    assert run_.code == {}


def test_what_stages_declare_and_git_does_not_track_comes_along(here: Path) -> None:
    stage = {
        "cmd": "cat src/new.py own.py p.yaml > out.txt; test -d src/empty; pwd > where.txt",
        "deps": ["src", "own.py"],
        "params": ["p.yaml:lr"],
        "checks": {"before": ["checks.yaml"]},
        "outs": ["out.txt"],
        "plots": ["where.txt"],
        "deterministic": False,
    }
    write_project(here, {"s": stage})
    (here / "src" / "empty").mkdir(parents=True)
    (here / "src" / "__pycache__").mkdir()
    (here / "src" / "__pycache__" / "x.pyc").write_text("litter")
    (here / "src" / "known.py").write_text("known")
    commit_all(here)
    (here / "src" / "new.py").write_text("new")
    (here / "own.py").write_text("own")
    (here / "p.yaml").write_text("lr: 1\n")
    (here / "checks.yaml").write_text("table: t.csv\nrules: [{rows: {min: 1}}]\n")
    (here / "t.csv").write_text("a\n1\n")
    with pytest.raises(MloError):  # the check itself reads t.csv, which no stage declares
        isolated(here)
    write_project(here, {"s": {key: value for key, value in stage.items() if key != "checks"}})
    result = isolated(here)
    run_ = workspace(here).runs.get(result.run)
    assert workspace(here).store.read(run_.outputs["out.txt"].name).decode() == "newownlr: 1\n"
    assert set(run_.code) == {"own.py", "p.yaml", "src/new.py"}
    # The key is the work tree's own, so what ran here is not run there again.
    assert statuses(run(here)) == {"s": "restored"}


def test_links_and_exec_bits_are_kept_and_outputs_that_git_tracks_do_not_stand_in_the_way(here: Path) -> None:
    write_project(
        here,
        {
            "s": {
                "cmd": "./go.sh > m.json; readlink link.sh > to.txt",
                "deps": ["go.sh"],
                "metrics": ["m.json"],
                "outs": ["to.txt"],
            }
        },
    )
    (here / "go.sh").write_text("#!/bin/sh\necho '{\"auc\": 0.5}'\n")
    (here / "go.sh").chmod(0o755)
    (here / "link.sh").symlink_to("go.sh")
    (here / "m.json").write_text('{"auc": 0.1}')
    commit_all(here)
    result = isolated(here)
    assert result.metrics == {"auc": 0.5}
    run_ = workspace(here).runs.get(result.run)
    assert workspace(here).store.read(run_.outputs["to.txt"].name) == b"go.sh\n"
    assert (here / "m.json").read_text() == '{"auc": 0.1}'


def test_added_data_is_checked_out_and_only_what_is_read(here: Path) -> None:
    for name in ("raw", "other"):
        (here / name).mkdir()
        (here / name / "a.txt").write_text(name)
        (here / name / "b.txt").write_text(name)
    write_project(
        here,
        {
            "s": {
                "cmd": "cat raw/a.txt > out.txt; ls -R . > names.txt",
                "deps": ["raw/a.txt"],
                "outs": ["out.txt"],
                "plots": ["names.txt"],
            }
        },
    )
    add_paths(workspace(here), [here / "raw", here / "other"])
    commit_all(here)
    (here / "raw" / "a.txt").chmod(0o644)
    (here / "raw" / "a.txt").write_text("edited, and not added")
    result = isolated(here)
    run_ = workspace(here).runs.get(result.run)
    assert workspace(here).store.read(run_.outputs["out.txt"].name) == b"raw"
    names = workspace(here).store.read(run_.outputs["names.txt"].name).decode().split()
    assert "b.txt" not in names
    assert "other" not in names
    assert (here / "raw" / "a.txt").read_text() == "edited, and not added"


def test_a_stage_that_writes_into_its_data_does_not_harm_the_cache(here: Path) -> None:
    (here / "raw.txt").write_text("precious" * 100_000)  # a loose object, which could be linked
    write_project(
        here, {"s": {"cmd": "echo spoilt >> raw.txt; echo 1 > out.txt", "deps": ["raw.txt"], "outs": ["out.txt"]}}
    )
    add_paths(workspace(here), [here / "raw.txt"])
    with pytest.raises(StageFailed, match=r"raw\.txt changed"):
        isolated(here)
    entry = workspace(here).read_lock().data["raw.txt"]
    workspace(here).store.verify(entry.name)
    assert (here / "raw.txt").read_text() == "precious" * 100_000


def test_data_that_the_cache_lost_is_told_before_anything_runs(here: Path) -> None:
    (here / "raw.txt").write_text("x" * 300_000)
    write_project(here, {"s": {"cmd": "cp raw.txt out.txt", "deps": ["raw.txt"], "outs": ["out.txt"]}})
    add_paths(workspace(here), [here / "raw.txt"])
    shutil.rmtree(here / ".mlo" / "cache" / "objects")
    with pytest.raises(NotFound, match=r"raw\.txt"):
        isolated(here)
    assert workspace(here).runs.count() == 0


def test_only_some_stages_read_what_the_others_gave_last(here: Path) -> None:
    chain(here)
    commit_all(here)
    run(here)
    assert statuses(isolated(here, "b", alone=True, overrides={"x": "3"})) == {"b": "ran"}
    assert statuses(isolated(here, since=("c",), overrides={"x": "3"})) == {"c": "restored"}


def test_outside_git_a_copy_holds_what_the_stages_declare(here: Path) -> None:
    chain(here)
    result = isolated(here)
    assert result.status == "finished"
    run_ = workspace(here).runs.get(result.run)
    assert run_.commit is None
    assert set(run_.code) == {"in.txt"}


def test_a_repository_that_tracks_nothing_of_the_project_is_not_copied(here: Path) -> None:
    (here.parent / "dotfile").write_text("home")
    git(here.parent, "init", "-q")
    git(here.parent, "add", "dotfile")
    write_project(here, {"s": {"cmd": "ls -a .. > out.txt", "outs": ["out.txt"]}})
    result = isolated(here)
    run_ = workspace(here).runs.get(result.run)
    assert b"dotfile" not in workspace(here).store.read(run_.outputs["out.txt"].name)


def test_a_project_in_a_subfolder_has_the_whole_repository_around_it(here: Path) -> None:
    (here / "shared.py").write_text("shared")
    project = here / "models" / "one"
    project.mkdir(parents=True)
    write_project(
        project,
        {"s": {"cmd": "cat ../../shared.py > out.txt; pwd > where.txt", "outs": ["out.txt"], "plots": ["where.txt"]}},
    )
    sha = commit_all(here)
    result = isolated(project)
    run_ = workspace(project).runs.get(result.run)
    assert workspace(project).store.read(run_.outputs["out.txt"].name) == b"shared"
    assert workspace(project).store.read(run_.outputs["where.txt"].name).strip().endswith(b"/tree/models/one")
    assert run_.commit == sha
    (here / "shared.py").write_text("later")
    commit_all(here, "later")
    old = isolated(project, revision=sha, force=True)
    assert workspace(project).store.read(workspace(project).runs.get(old.run).outputs["out.txt"].name) == b"shared"


def test_a_stage_sees_its_copy_as_the_root_and_no_repository(here: Path) -> None:
    cmd = 'echo "$MLO_ROOT" > root.txt; pwd >> root.txt; git rev-parse --git-dir >> root.txt || echo none >> root.txt'
    write_project(here, {"s": {"cmd": cmd, "outs": ["root.txt"]}})
    commit_all(here)
    result = isolated(here)
    told = workspace(here).store.read(workspace(here).runs.get(result.run).outputs["root.txt"].name).decode().split()
    assert told[0] == told[1]
    assert told[0].startswith(str(here / ".mlo" / "copies"))
    assert told[2] == "none"


def test_an_mlo_in_the_stage_of_a_copy_knows_the_project(here: Path) -> None:
    write_project(here, {"s": {"cmd": "mlo runs list --json > runs.json", "outs": ["runs.json"]}})
    first = isolated(here)
    run_ = workspace(here).runs.get(first.run)
    assert first.run in workspace(here).store.read(run_.outputs["runs.json"].name).decode()


def test_what_fails_leaves_its_outputs_and_its_log_with_the_project(here: Path) -> None:
    write_project(here, {"s": {"cmd": "echo half > out.txt; echo said; exit 3", "outs": ["out.txt"]}})
    commit_all(here)
    with pytest.raises(StageFailed) as caught:
        isolated(here)
    run_ = workspace(here).runs.latest(status="failed")
    assert (here / ".mlo" / "failed" / run_.id / "out.txt").read_text() == "half\n"
    log = here / ".mlo" / "failed" / f"{run_.id}.s.log"
    assert log.read_text() == "said\n"
    assert log.relative_to(here).as_posix() in str(caught.value.hint)
    assert not copies(here)


def test_dry_says_what_would_run_and_leaves_no_copy(here: Path) -> None:
    chain(here)
    commit_all(here)
    plan = workspace(here)
    from mlops_cli.core.workflows.perform import perform

    result = perform(plan, RunRequest(isolated=True, stages=("b",)), dry=True)
    assert isinstance(result, RunResult)
    assert [it.action for it in result.plan] == ["run", "run"]
    assert not copies(here)
    assert workspace(here).runs.count() == 0


# -- a commit ----------------------------------------------------------------------------------------------


def test_a_revision_is_run_with_its_code_its_params_and_its_data(here: Path) -> None:
    (here / "raw.txt").write_text("old data\n")
    stage = {
        "cmd": "cat raw.txt code.txt > out.txt; echo $MLO_PARAMS >> out.txt",
        "deps": ["raw.txt", "code.txt"],
        "params": ["x"],
        "outs": ["out.txt"],
    }
    write_project(here, {"s": stage}, {"x": 1})
    (here / "code.txt").write_text("old code\n")
    add_paths(workspace(here), [here / "raw.txt"])
    sha = commit_all(here)
    git(here, "tag", "v1")
    (here / "raw.txt").write_text("new data\n")
    (here / "code.txt").write_text("new code\n")
    write_project(here, {"s": stage}, {"x": 2})
    add_paths(workspace(here), [here / "raw.txt"])
    commit_all(here, "later")
    (here / "code.txt").write_text("not committed\n")
    before = snapshot(here)
    result = isolated(here, revision="v1")
    run_ = workspace(here).runs.get(result.run)
    assert workspace(here).store.read(run_.outputs["out.txt"].name) == b'old data\nold code\n{"x":1}\n'
    assert (run_.commit, run_.dirty, run_.diff, run_.branch) == (sha, False, None, None)
    assert run_.tags["mlo.revision"] == "v1"
    assert run_.params == {"x": 1}
    assert snapshot(here) == before


def test_a_revision_that_lacks_something_says_so(here: Path) -> None:
    chain(here)
    with pytest.raises(ProjectError, match="not in a git repository"):
        isolated(here, revision="HEAD")
    (here / "readme").write_text("x")
    git(here, "init", "-q")
    git(here, "add", "readme")
    git(here, "commit", "-q", "-m", "x")
    git(here, "add", "mlo.yaml")
    with pytest.raises(NotFound, match=r"HEAD has no mlo\.yaml"):
        isolated(here, revision="HEAD")
    git(here, "commit", "-q", "-m", "x")
    with pytest.raises(DependencyMissing) as caught:
        isolated(here, revision="HEAD")
    assert "commit or add it" in str(caught.value.hint)
    with pytest.raises(NotFound, match="no revision"):
        isolated(here, revision="nowhere")
    assert not copies(here)


def test_attributes_that_git_archive_heeds_change_nothing(here: Path) -> None:
    write_project(here, {"s": {"cmd": "cat kept.txt > out.txt", "deps": ["kept.txt"], "outs": ["out.txt"]}})
    (here / "kept.txt").write_text("$Format:%H$\n")
    (here / ".gitattributes").write_text("kept.txt export-ignore export-subst\n")
    commit_all(here)
    here_, there = isolated(here), isolated(here, revision="HEAD")
    assert statuses(here_) == {"s": "ran"}
    assert statuses(there) == {"s": "restored"}


# -- copies ------------------------------------------------------------------------------------------------


def test_a_copy_that_nobody_uses_goes_and_one_in_use_stays(here: Path) -> None:
    chain(here)
    with working_copy(workspace(here)) as copy:
        (here / ".mlo" / "copies" / "dead" / "tree").mkdir(parents=True)
        (here / ".mlo" / "copies" / "dead" / "home").write_text('{"cache": "c", "prefix": ""}')
        locked = here / ".mlo" / "copies" / "half.gone" / "closed"
        locked.mkdir(parents=True)
        (locked / "file").write_text("x")
        locked.chmod(0o500)
        assert clear_leftovers(workspace(here)) == 2
        assert copy.root.is_dir()
        assert len(copies(here)) == 1
    assert not copies(here)


def test_a_request_can_be_typed(here: Path) -> None:
    import typer

    from mlops_cli.cli.commands.run import app

    request = RunRequest(
        stages=("a", "b"),
        since=("a",),
        until=("c",),
        overrides={"x": "-1,2", "name": "a b=c"},
        force=True,
        from_cache=False,
        pull=True,
        jobs=3,
        keep_going=True,
        wait=False,
        parent="3f2a",
        isolated=True,
        revision="v1",
        sweep=True,
    )
    command = typer.main.get_command(app)
    typed = command.make_context("run", arguments_of(request)[1:]).params
    assert request_from(typed) == request
    assert arguments_of(RunRequest()) == ["run"]


def test_accept_and_a_copy_contradict_each_other() -> None:
    with pytest.raises(UsageError, match="--accept"):
        request_from({"isolated": True, "accept": ["a"]})


def test_a_hook_of_git_does_not_lead_astray(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain(here)
    commit_all(here)
    monkeypatch.setenv("GIT_DIR", str(here / "nowhere"))
    assert "in.txt" in os.listdir(here)
    assert run_isolated(workspace(here), RunRequest(isolated=True)).status == "finished"
