"""Collecting garbage keeps what anything that git, the registry or a run knows still needs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from command_line import Mlo
from gc_project import add_run, age, collect, commit, git, holds, lay_out, opened, put

from mlops_cli.core.base.digest import Digest
from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import IntegrityError, ProjectError, RemoteError
from mlops_cli.core.pipeline.results import ResultCache
from mlops_cli.core.store.tree import closure
from mlops_cli.core.tracking.records import Run
from mlops_cli.core.workflows.data import remove_paths
from mlops_cli.core.workflows.data_checkout import checkout_paths
from mlops_cli.core.workflows.gc import collect_garbage


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """`first` is only in the first commit, `second` in main and the work tree."""
    root = lay_out(tmp_path / "project")
    commit(root, "first")
    commit(root, "second")
    return root


def test_what_only_an_older_commit_names_goes_and_the_rest_stays(project: Path) -> None:
    found = collect(project)
    assert found.deleted
    assert found.objects == 2  # the file and the tree of the first commit
    assert found.freed > 0
    assert not holds(project, "first")
    assert holds(project, "second")
    assert collect(project).objects == 0


def test_without_yes_nothing_changes(project: Path) -> None:
    age(project / ".mlo/cache")
    found = collect_garbage(opened(project))
    assert (found.deleted, found.objects) == (False, 2)
    assert {group.kind for group in found.kept} == {"lock"}
    assert holds(project, "first")


def test_all_commits_keeps_every_version(project: Path) -> None:
    assert collect(project, history=True).objects == 0
    assert holds(project, "first")


def test_what_a_branch_a_tag_or_a_bare_ref_names_stays(project: Path) -> None:
    git(project, "branch", "old", "HEAD~1")
    assert collect(project).objects == 0
    git(project, "tag", "-a", "-m", "x", "v1", "HEAD~1")
    git(project, "branch", "-q", "-D", "old")
    assert collect(project).objects == 0
    git(project, "update-ref", "refs/keep/this", "HEAD~1")
    git(project, "tag", "-d", "v1")
    assert collect(project).objects == 0
    git(project, "update-ref", "-d", "refs/keep/this")
    assert collect(project).objects == 2


def test_what_a_remote_tracking_branch_names_stays(project: Path, tmp_path: Path) -> None:
    """DVC collects this."""
    git(tmp_path, "init", "-q", "--bare", "server.git")
    git(project, "branch", "theirs", "HEAD~1")
    git(project, "push", "-q", str(tmp_path / "server.git"), "theirs:theirs")
    git(project, "remote", "add", "origin", str(tmp_path / "server.git"))
    git(project, "fetch", "-q", "origin")
    git(project, "branch", "-q", "-D", "theirs")
    assert collect(project).objects == 0
    assert holds(project, "first")


def test_what_any_stash_holds_stays(project: Path) -> None:
    for content in ("staged", "stashed"):
        put(project, content)
        git(project, "add", "mlo.lock")
        if content == "staged":
            put(project, "on top")
        git(project, "stash", "-q")
    put(project, "second")
    assert collect(project).objects == 2
    assert all(holds(project, content) for content in ("staged", "on top", "stashed", "second"))
    git(project, "stash", "clear")
    collect(project)
    assert not holds(project, "stashed")


def test_what_is_staged_stays(project: Path) -> None:
    put(project, "staged")
    git(project, "add", "mlo.lock")
    put(project, "second")
    collect(project)
    assert holds(project, "staged")


def test_a_detached_head_and_other_work_trees_count(project: Path, tmp_path: Path) -> None:
    git(project, "worktree", "add", "-q", "--detach", str(tmp_path / "other"), "HEAD~1")
    assert collect(project).objects == 0
    lock = (project / "mlo.lock").read_text()
    put(project, "not committed")
    shutil.copy(project / "mlo.lock", tmp_path / "other/mlo.lock")
    (project / "mlo.lock").write_text(lock)
    collect(project)
    assert holds(project, "not committed")
    assert holds(project, "first")
    shutil.rmtree(tmp_path / "other")
    git(project, "worktree", "prune")
    collect(project)
    assert not holds(project, "first")


def test_a_project_below_the_top_of_its_repository(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    root = tmp_path / "deep/project"
    root.mkdir(parents=True)
    (root / "mlo.yaml").write_text("name: x\n")
    commit(root, "first")
    git(root, "branch", "old")
    commit(root, "second")
    put(root, "third")
    assert collect(root).objects == 0
    git(root, "branch", "-q", "-D", "old")
    collect(root)
    assert not holds(root, "first")
    assert holds(root, "second")
    assert holds(root, "third")


def test_a_project_outside_git_keeps_what_its_lock_names(tmp_path: Path) -> None:
    root = tmp_path / "plain"
    root.mkdir()
    (root / "mlo.yaml").write_text("name: x\n")
    put(root, "first")
    put(root, "second")
    collect(root)
    assert not holds(root, "first")
    assert holds(root, "second")


def test_a_branch_whose_lock_does_not_read_is_named_and_nothing_goes(project: Path) -> None:
    git(project, "checkout", "-q", "-b", "bad")
    (project / "mlo.lock").write_text("version: 1\ndata: [\n")
    git(project, "commit", "-q", "-am", "bad")
    git(project, "checkout", "-q", "main")
    with pytest.raises(ProjectError, match="branch bad"):
        collect(project)
    assert holds(project, "first")


def test_a_repository_that_git_cannot_read_is_not_one_without_branches(project: Path) -> None:
    (project / ".git/HEAD").write_text("nonsense")
    with pytest.raises(ProjectError, match="git"):
        collect(project)
    assert holds(project, "first")


def test_a_lost_commit_is_not_one_without_data(project: Path) -> None:
    sha = git(project, "rev-parse", "HEAD~1").strip()
    git(project, "update-ref", "refs/heads/old", "HEAD~1")
    (project / ".git/objects" / sha[:2] / sha[2:]).unlink()
    with pytest.raises(ProjectError):
        collect(project)
    assert holds(project, "first")


def test_grace_keeps_what_was_put_lately(project: Path) -> None:
    found = collect_garbage(opened(project), delete=True)
    assert found.objects == 0
    assert "grace" in {group.kind for group in found.kept}
    assert holds(project, "first")


def test_a_put_of_what_is_there_counts_as_lately(project: Path) -> None:
    age(project / ".mlo/cache")
    opened(project).store.put_bytes(b"first")
    collect_garbage(opened(project), delete=True)
    assert holds(project, "first")


def test_a_missing_tree_is_named_and_does_not_stop_anything(project: Path) -> None:
    git(project, "branch", "old", "HEAD~1")
    store = opened(project).store
    lock = git(project, "show", "old:mlo.lock")
    digest = next(line.split(": ")[1] for line in lock.splitlines() if "digest:" in line)
    tree = next(found for found in store if str(found) == digest)
    Path(store.file_of(tree)).unlink()
    found = collect(project)
    assert [item.digest for item in found.unknown] == [digest]
    assert "branch old" in found.unknown[0].roots[0]
    assert not holds(project, "first")


def test_a_damaged_tree_stops_everything(project: Path) -> None:
    path = opened(project).store.file_of(opened(project).read_lock().entries["data"].name)
    path.chmod(0o644)
    path.write_bytes(b"MLOTREE nonsense")
    with pytest.raises(IntegrityError, match=r"mlo\.lock"):
        collect(project)
    assert holds(project, "first")


def test_what_the_work_tree_is_a_link_to_stays(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "project", "cache: {link: [symlink]}\n")
    put(root, "mine alone")
    (root / "data/a").unlink()
    checkout_paths(opened(root))
    assert (root / "data/a").is_symlink()
    remove_paths(opened(root), [root / "data"])
    (root / "odd").symlink_to(tmp_path / "objects/xxh128/ab/c")  # somebody's own, of no object
    collect(root)
    assert (root / "data/a").read_text() == "mine alone"
    (root / "data/a").unlink()
    assert collect(root).objects == 1


def test_runs_and_their_results_stay_unless_told_otherwise(project: Path) -> None:
    for number in (1, 2, 3):
        add_run(project, number, f"made by {number}")
    found = collect(project)
    assert {"run"} < {group.kind for group in found.kept}
    assert found.results == 0
    assert all(holds(project, f"made by {number}") for number in (1, 2, 3))
    found = collect(project, keep_runs=1)
    assert (found.results, found.runs_let_go) == (2, 2)
    assert [holds(project, f"made by {number}") for number in (1, 2, 3)] == [False, False, True]
    cache = ResultCache(opened(project).paths.cache)
    assert [cache.get(f"{number:064x}") is None for number in (1, 2, 3)] == [True, True, False]
    assert len(opened(project).runs.list()) == 3


def test_a_run_that_runs_keeps_what_it_made(project: Path) -> None:
    store = opened(project).store
    entry = Entry(str(store.put_bytes(b"made")), "file", 4)
    opened(project).runs.start(Run(id="a" * 32, pid=os.getpid(), artifacts={"plot": entry}))
    collect(project, keep_runs=0)
    assert holds(project, "made")


def test_registered_versions_stay_and_what_they_were_made_from(trained: Path, mlo: Mlo) -> None:
    before = mlo("data", "fsck", "--json").json["objects"]
    (trained / "mlo.lock").unlink()
    age(trained / ".mlo/cache")
    found = mlo("data", "gc", "--yes", "--keep-runs", "0", "--json").json
    assert {group["kind"] for group in found["kept"]} >= {"model"}
    assert 0 < mlo("data", "fsck", "--json").json["objects"] < before
    store = opened(trained).store
    version = opened(trained).registry.version("tiny", 1)
    assert version.reference is not None
    assert version.evaluate is not None
    for entry in (version.model, version.reference, version.evaluate.data):
        assert all(store.read(digest) for digest in closure(store, entry))
    for digest in (version.profile, version.manifest, version.inputs["data/raw"]):
        assert store.read(Digest.parse(str(digest)))


def test_a_registry_that_cannot_be_read_stops_everything(project: Path) -> None:
    (project / "mlo.yaml").write_text("name: x\nregistry: nowhere\nremotes: {nowhere: /nonexistent/place}\n")
    with pytest.raises(RemoteError):
        collect(project)
    assert holds(project, "first")


def test_the_command_says_what_it_would_do_and_then_does_it(project: Path, mlo: Mlo) -> None:
    age(project / ".mlo/cache")
    answer = mlo("-C", project, "data", "gc").stdout
    assert "would delete 2 loose objects" in answer
    assert "mlo data gc --yes" in answer
    assert "deleted 2 loose objects" in mlo("-C", project, "data", "gc", "--yes").stdout
    assert "nothing to delete" in mlo("-C", project, "data", "gc", "--yes").stdout
    mlo("-C", project, "data", "gc", "--keep-runs", "few", exit_code=2)
    mlo("-C", project, "data", "gc", "--grace", "soon", exit_code=2)
    mlo("-C", project, "data", "gc", "--grace", "0")
    mlo("-C", project, "data", "gc", "origin", exit_code=2)
