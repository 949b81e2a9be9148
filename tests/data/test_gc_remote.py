"""Cleaning a remote honours every clone that spoke lately, on a folder and on S3."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec
import pytest
from buckets import S3Bucket
from command_line import Mlo
from gc_project import DAY_S, ENVIRON, commit, git, holds, lay_out, opened, put

from mlops_cli.core.errors import Conflict, IntegrityError, Locked, ProjectError
from mlops_cli.core.remotes.remote import Remote
from mlops_cli.core.store import clones
from mlops_cli.core.store.clones import LOCK, cleaning, read_published
from mlops_cli.core.store.exchange import object_key
from mlops_cli.core.workflows import gc_remote
from mlops_cli.core.workflows.data_checkout import checkout_paths
from mlops_cli.core.workflows.gc import Garbage
from mlops_cli.core.workflows.gc_remote import collect_remote_garbage
from mlops_cli.core.workflows.publish import publish_roots, require_no_cleaning
from mlops_cli.core.workflows.transfer import pull_data, push_data
from mlops_cli.core.workflows.workspace import Workspace

SOON_S, LATER_S = 0.001, 90 * DAY_S
COUNT = 40


@pytest.fixture(params=["folder", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        bucket: S3Bucket = request.getfixturevalue("s3_bucket")
        return f"s3://{bucket.name}/data"
    (tmp_path / "far").mkdir()
    return str(tmp_path / "far")


@pytest.fixture
def folder(tmp_path: Path) -> str:
    (tmp_path / "far").mkdir()
    return str(tmp_path / "far")


def a_clone(tmp_path: Path, name: str, url: str) -> Path:
    return lay_out(tmp_path / name, f"remotes: {{origin: {url}}}\n")


def space(root: Path, now: str | None = None) -> Workspace:
    environ = {**ENVIRON, **{name: value for name, value in os.environ.items() if name.startswith("AWS_")}}
    return Workspace.find(root, {**environ, **({"MLO_NOW": now} if now else {})})


def push(root: Path) -> None:
    push_data(space(root)).raise_if_incomplete()


def collect(root: Path, now: str | None = None, **rules: object) -> Garbage:
    given = {"delete": True, "grace_s": -10.0, "expire_s": LATER_S, **rules}
    return collect_remote_garbage(space(root, now), **given)  # type: ignore[arg-type]


def comes_back(root: Path, tmp_path: Path, url: str) -> bool:
    """Whether a fresh clone gets everything that mlo.lock names."""
    fresh = a_clone(tmp_path, f"fresh-{os.urandom(4).hex()}", url)
    shutil.copy(root / "mlo.lock", fresh / "mlo.lock")
    brought = pull_data(space(fresh))
    return (
        not brought.transfer.missing
        and not brought.transfer.corrupt
        and all(
            (fresh / "data" / path.relative_to(root / "data")).read_bytes() == path.read_bytes()
            for path in (root / "data").rglob("*")
            if path.is_file()
        )
    )


def many(root: Path, version: int, kept: int) -> None:
    """`kept` of 40 small files as in the first version, the others new."""
    (root / "data").mkdir(exist_ok=True)
    for number in range(COUNT):
        text = f"{number} of version {version if number >= kept else 0} {'x' * 99}"
        (root / "data" / f"n{number}").write_text(text)
    put(root, f"version {version}", path="data/a")


def test_both_clones_are_honoured_and_garbage_goes(url: str, tmp_path: Path) -> None:
    ours, theirs = a_clone(tmp_path, "ours", url), a_clone(tmp_path, "theirs", url)
    put(ours, "ours, old")
    push(ours)
    put(ours, "ours")
    push(ours)
    put(theirs, "theirs")
    push(theirs)
    looked = collect(ours, delete=False)
    assert (looked.deleted, looked.objects) == (False, 2)
    found = collect(ours)
    assert (found.deleted, found.objects) == (True, 2)
    assert [str(theirs.name) in clone or "x on" in clone for clone in found.clones] == [True, True]
    assert comes_back(ours, tmp_path, url)
    assert comes_back(theirs, tmp_path, url)
    assert collect(ours).objects == 0


def test_packs_under_half_needed_are_packed_anew(url: str, tmp_path: Path) -> None:
    root = a_clone(tmp_path, "ours", url)
    many(root, 0, 0)
    push(root)
    many(root, 1, 8)
    push(root)
    before = dict(space(root).remote().sizes("packs/"))
    found = collect(root)
    assert (found.repacked, found.packs) == (1, 0)
    assert found.freed > 0
    after = dict(space(root).remote().sizes("packs/"))
    assert sum(after.values()) == sum(before.values()) - found.freed
    assert comes_back(root, tmp_path, url)
    assert collect(root).objects == 0


def test_grace_keeps_what_was_written_lately(url: str, tmp_path: Path) -> None:
    root = a_clone(tmp_path, "ours", url)
    put(root, "old")
    push(root)
    put(root, "new")
    push(root)
    found = collect(root, grace_s=DAY_S)
    assert found.objects == 0
    assert "grace" in {group.kind for group in found.kept}


def test_a_clone_that_is_silent_for_too_long_is_forgotten(folder: str, tmp_path: Path) -> None:
    ours, theirs = a_clone(tmp_path, "ours", folder), a_clone(tmp_path, "theirs", folder)
    put(theirs, "theirs")
    push(theirs)
    put(ours, "ours")
    push(ours)
    assert collect(ours).objects == 0
    found = collect(ours, now="2199-01-01T00:00:00Z")
    assert len(found.expired) == 1
    assert found.objects == 2
    assert len(read_published(space(ours).remote())) == 1
    assert comes_back(ours, tmp_path, folder)


def test_what_a_branch_of_another_clone_needs_stays(folder: str, tmp_path: Path) -> None:
    ours, theirs = a_clone(tmp_path, "ours", folder), a_clone(tmp_path, "theirs", folder)
    commit(theirs, "on a branch")
    push(theirs)
    git(theirs, "branch", "old")
    put(theirs, "theirs")
    push(theirs)
    put(ours, "ours")
    push(ours)
    assert collect(ours).objects == 0
    git(theirs, "checkout", "-q", "-f", "old")
    assert comes_back(theirs, tmp_path, folder) or (theirs / "data/a").read_text() == "theirs"


def test_a_roots_file_that_does_not_read_stops_everything(folder: str, tmp_path: Path) -> None:
    root = a_clone(tmp_path, "ours", folder)
    put(root, "old")
    push(root)
    put(root, "new")
    push(root)
    for text, error in ((b"{", IntegrityError), (b'{"version": 1}', IntegrityError)):
        space(root).remote().put("roots/bad.json", text)
        with pytest.raises(error, match=r"bad\.json"):
            collect(root)
    published = msgspec.structs.replace(read_published_of(root), version=9)
    space(root).remote().put("roots/bad.json", clones.encode(published))
    with pytest.raises(ProjectError, match="version 9"):
        collect(root)


def read_published_of(root: Path) -> clones.Published:
    remote = space(root).remote()
    return next(clones.decode(remote.get(key), key) for key in remote.list("roots/") if "bad" not in key)


def test_a_remote_that_lost_what_was_published_is_told_again(folder: str, tmp_path: Path) -> None:
    root = a_clone(tmp_path, "ours", folder)
    put(root, "a")
    workspace = space(root)
    assert publish_roots(workspace, workspace.remote())
    assert not publish_roots(workspace, workspace.remote())
    for key in list(workspace.remote().list("roots/")):
        workspace.remote().delete(key)
    assert publish_roots(workspace, workspace.remote())
    assert list(workspace.remote().list("roots/"))


def test_publishing_says_nothing_twice_within_a_day(folder: str, tmp_path: Path) -> None:
    root = a_clone(tmp_path, "ours", folder)
    put(root, "a")

    def publish(now: str) -> bool:
        workspace = space(root, now)
        return publish_roots(workspace, workspace.remote())

    assert publish("2030-01-01T00:00:00Z")
    assert not publish("2030-01-01T12:00:00Z")
    assert publish("2030-01-02T12:00:00Z")
    put(root, "b")
    assert publish("2030-01-02T12:00:01Z")
    [published] = read_published(space(root).remote())
    assert (published.project, len(published.trees)) == ("x", 1)


def test_a_branch_that_does_not_read_keeps_what_was_said_before(folder: str, tmp_path: Path) -> None:
    root = a_clone(tmp_path, "ours", folder)
    commit(root, "first")
    push(root)
    git(root, "checkout", "-q", "-b", "bad")
    (root / "mlo.lock").write_text("version: [")
    git(root, "commit", "-q", "-am", "bad")
    git(root, "checkout", "-q", "main")
    put(root, "second")
    push(root)
    [published] = read_published(space(root).remote())
    assert len(published.trees) == 2


def test_two_cannot_clean_at_once_and_a_push_is_told(folder: str, tmp_path: Path, mlo: Mlo) -> None:
    root = a_clone(tmp_path, "ours", folder)
    put(root, "a")
    push(root)
    workspace = space(root, "2030-01-01T00:00:00Z")
    require_no_cleaning(workspace, workspace.remote())
    with cleaning(workspace.remote(), who="Bob", command="mlo data gc", now=workspace.clock.now()):
        with pytest.raises(Locked, match=r"Bob.*for 2 hours") as caught:
            collect(root, now="2030-01-01T02:00:00Z")
        assert "--unlock" in str(caught.value.hint)
        with pytest.raises(Locked):
            require_no_cleaning(workspace, workspace.remote())
    assert not workspace.remote().exists(LOCK)
    workspace.remote().put(LOCK, b"left by a kill")
    assert "another mlo" in mlo("-C", root, "data", "gc", "--remote", "--yes", exit_code=10).stderr
    assert "not being cleaned" in mlo("-C", root, "data", "gc", "--remote", "origin", "--unlock").stdout
    mlo("-C", root, "data", "gc", "--remote", "--yes")


def test_a_push_during_a_cleaning_stops_it(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = a_clone(tmp_path, "ours", folder), a_clone(tmp_path, "theirs", folder)
    put(ours, "old")
    push(ours)
    put(ours, "new")
    push(ours)
    put(theirs, "old")
    really = gc_remote.repack_remote

    def meanwhile(*arguments: object, **options: object) -> object:
        workspace = space(theirs)
        publish_roots(workspace, workspace.remote())
        return really(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(gc_remote, "repack_remote", meanwhile)
    with pytest.raises(Conflict, match="meanwhile"):
        collect(ours)
    monkeypatch.undo()
    assert collect(ours).objects == 0
    push(theirs)
    assert comes_back(theirs, tmp_path, folder)


def test_a_pushed_folder_that_is_nowhere_stops_everything(folder: str, tmp_path: Path) -> None:
    ours, theirs = a_clone(tmp_path, "ours", folder), a_clone(tmp_path, "theirs", folder)
    put(theirs, "theirs")
    push(theirs)
    put(ours, "old")
    push(ours)
    put(ours, "ours")
    push(ours)
    tree = space(theirs).read_lock().entries["data"].digest
    remote: Remote = space(ours).remote()
    remote.delete(object_key(tree))
    with pytest.raises(IntegrityError, match=tree):
        collect(ours)
    assert collect(ours, delete=False).unknown[0].digest == tree
    assert collect(ours, force=True).objects > 2


def test_a_folder_that_was_never_pushed_stops_nothing(folder: str, tmp_path: Path) -> None:
    ours, theirs = a_clone(tmp_path, "ours", folder), a_clone(tmp_path, "theirs", folder)
    put(theirs, "never pushed")
    publish_roots(space(theirs), space(theirs).remote())
    put(ours, "ours")
    push(ours)
    found = collect(ours)
    assert [len(item.roots) for item in found.unknown] == [1]


def test_trees_of_others_are_fetched_and_then_followed(folder: str, tmp_path: Path) -> None:
    ours, theirs = a_clone(tmp_path, "ours", folder), a_clone(tmp_path, "theirs", folder)
    put(theirs, "deep", path="data/a/b/c/d")
    push(theirs)
    put(ours, "ours")
    push(ours)
    assert collect(ours).objects == 0
    assert comes_back(theirs, tmp_path, folder)
    assert not holds(ours, "deep")


def test_halves_of_packs_go_and_damaged_packs_stay(folder: str, tmp_path: Path) -> None:
    root = a_clone(tmp_path, "ours", folder)
    many(root, 0, 0)
    push(root)
    far = Path(folder) / "packs"
    (far / f"{'0' * 32}.pack").write_bytes(b"half")
    (far / f"{'1' * 32}.idx").write_bytes(b"half")
    [idx] = [path for path in far.iterdir() if path.suffix == ".idx" and path.stem != "1" * 32]
    found = collect(root)
    assert found.stray == 2
    assert sorted(path.suffix for path in far.iterdir()) == [".idx", ".pack"]
    shutil.rmtree(root / ".mlo/remotes")
    idx.chmod(0o644)
    idx.write_bytes(b"MLOPIDX" + idx.read_bytes()[7:-1] + b"?")
    found = collect(root)
    assert found.damaged_packs == [idx.stem]
    assert idx.exists()


def test_damaged_bytes_that_are_needed_keep_their_pack(folder: str, tmp_path: Path) -> None:
    root = a_clone(tmp_path, "ours", folder)
    many(root, 0, 0)
    push(root)
    many(root, 1, 8)
    push(root)
    [pack] = [path for path in (Path(folder) / "packs").glob("*.pack") if b"0 of version 0" in path.read_bytes()]
    pack.chmod(0o644)
    pack.write_bytes(pack.read_bytes().replace(b"0 of version 0", b"0 of version ?"))
    found = collect(root)
    assert found.damaged_packs == [pack.stem]
    assert pack.exists()


def test_a_run_and_a_model_that_were_pushed_stay(trained: Path, tmp_path: Path, mlo: Mlo, folder: str) -> None:
    mlo("remote", "add", "origin", folder)
    mlo("push")
    other = a_clone(tmp_path, "other", folder)
    put(other, "mine")
    push(other)
    shutil.rmtree(Path(folder) / "roots", ignore_errors=True)
    collect(other)
    checkout_paths(opened(trained))
    assert "run" in {group.kind for group in collect(other, delete=False).kept}


def test_from_the_command_line(folder: str, tmp_path: Path, mlo: Mlo) -> None:
    root = a_clone(tmp_path, "ours", folder)
    put(root, "old")
    push(root)
    put(root, "new")
    push(root)
    for path in Path(folder).rglob("*"):
        os.utime(path, (0, 0))
    assert "mlo data gc --remote origin --yes" in mlo("-C", root, "data", "gc", "--remote").stdout
    assert "deleted 2 loose objects" in mlo("-C", root, "data", "gc", "--remote", "origin", "--yes").stdout
    mlo("-C", root, "data", "gc", "--remote", "nowhere", exit_code=6)
    mlo("-C", root, "data", "gc", "--unlock", exit_code=2)
