"""A full disk or a kill -9 at every system call of gc and of fsck --repair: nothing that is needed is lost.

Afterwards everything that mlo.lock names can be read, and the same command, run again, gets where it would have got.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from test_store_faults import STRIKES, every_step, in_child, root

from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import MachineError, RemoteError
from mlops_cli.core.pipeline.results import Result, ResultCache
from mlops_cli.core.tracking.records import Run
from mlops_cli.core.workflows.data import add_paths
from mlops_cli.core.workflows.fsck import verify_cache
from mlops_cli.core.workflows.gc import collect_garbage
from mlops_cli.core.workflows.gc_remote import collect_remote_garbage, unlock_remote
from mlops_cli.core.workflows.transfer import pull_data, push_data
from mlops_cli.core.workflows.workspace import Workspace

__all__ = ["root"]
COUNT = 40
DAY_S = 86_400.0


def opened(root: Path) -> Workspace:
    return Workspace.find(root, {"MLO_ACTOR": "Ada <ada@example.org>", "PATH": os.environ["PATH"]})


@pytest.fixture
def used(root: Path) -> Path:
    """A cache with a pack of which a quarter is needed, one of which nothing is, loose garbage, and a spent result."""
    shutil.rmtree(root / "data")
    (root / "data").mkdir()
    for version in range(2):
        for number in range(COUNT):
            if version == 0 or number % 4:
                (root / "data" / f"{number}").write_bytes(b"%d of version %d\n" % (number, version) * 20)
        add_paths(opened(root), [root / "data"])
    store = opened(root).store
    with store.batch():
        for number in range(COUNT):
            store.put_bytes(b"nobody's %d" % number)
    store.put_bytes(b"nobody's either")
    entry = Entry(str(store.put_bytes(b"of a run")), "file", 8)
    opened(root).runs.start(Run(id="a" * 32, status="finished", outputs={"o": entry}))
    ResultCache(opened(root).paths.cache).put(Result("train", "b" * 64, "a" * 32, {"o": entry}))
    age(root)
    return root


def age(root: Path) -> None:
    for folder, _, names in os.walk(root / ".mlo/cache"):
        for name in names:
            path = os.path.join(folder, name)
            before = os.stat(path).st_mtime - 2 * DAY_S
            os.utime(path, (before, before))


def collect(root: Path) -> None:
    collect_garbage(opened(root), delete=True, keep_runs=0)


def mend(root: Path) -> None:
    verify_cache(opened(root), repair=True)


def kept(root: Path) -> bool:
    """Everything that mlo.lock needs is there and good."""
    report = verify_cache(opened(root))
    return report.ok and not report.bad


def copies(of: Path) -> Callable[[], Path]:
    """Fresh copies of a project, one at a time."""
    spare = of.parent / "spare"
    shutil.copytree(of, spare, symlinks=True)

    def again() -> Path:
        shutil.rmtree(of)
        shutil.copytree(spare, of, symlinks=True)
        return of

    return again


def objects(root: Path) -> int:
    return len({str(digest) for digest in opened(root).store})


def test_the_fixture_has_one_of_each(used: Path) -> None:
    found = collect_garbage(opened(used), keep_runs=0)
    assert (found.packs, found.repacked, found.results) == (1, 1, 1)
    assert {group.kind for group in found.garbage} == {"loose objects", "packed objects"}
    collect(used)
    assert objects(used) == COUNT + 1
    assert kept(used)


@pytest.mark.slow
@STRIKES
def test_gc_at_every_step(used: Path, strike: Callable[[], None]) -> None:
    again = copies(used)
    data = {path.name: path.read_bytes() for path in (used / "data").iterdir()}
    for at in every_step(used, collect, strike):
        assert kept(used), at
        assert {path.name: path.read_bytes() for path in (used / "data").iterdir()} == data
        age(used)
        collect(used)
        assert objects(used) == COUNT + 1, at
        assert kept(used), at
        again()


@pytest.mark.slow
@STRIKES
def test_repair_at_every_step(used: Path, strike: Callable[[], None]) -> None:
    store = opened(used).store
    victim = next(iter(store.packs.indexes.values()))
    path = Path(store.packs.path(victim.name))
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[victim.offsets[0]] ^= 1
    path.write_bytes(bytes(content))
    before = objects(used)
    again = copies(used)
    for at in every_step(used, mend, strike):
        assert objects(used) >= before - 1, at
        mend(used)
        assert kept(used), at
        again()


def clean_remote(root: Path) -> None:
    try:
        collect_remote_garbage(opened(root), delete=True, grace_s=-10.0, expire_s=DAY_S)
    except RemoteError as error:  # the machine that refused is the remote's
        raise MachineError(error.message) from error


def pulls(root: Path) -> bool:
    """Whether a clone without a cache gets everything."""
    clone = root.parent / "clone"
    shutil.rmtree(clone, ignore_errors=True)
    clone.mkdir()
    for name in ("mlo.yaml", "mlo.lock"):
        shutil.copy(root / name, clone / name)
    return not pull_data(opened(clone)).transfer.missing and kept(clone)


@pytest.mark.slow
@STRIKES
def test_cleaning_a_remote_at_every_step(used: Path, strike: Callable[[], None]) -> None:
    lock = (used / "mlo.lock").read_bytes()
    shutil.rmtree(used / ".mlo")
    shutil.rmtree(used / "data")
    for version in range(2):
        (used / "data").mkdir(exist_ok=True)
        for number in range(COUNT):
            if version == 0 or number % 4:
                (used / "data" / f"{number}").write_bytes(b"%d of version %d\n" % (number, version) * 20)
        add_paths(opened(used), [used / "data"])
        push_data(opened(used)).raise_if_incomplete()
    assert (used / "mlo.lock").read_bytes() == lock
    far = copies(used.parent / "far")
    packs = len(list((used.parent / "far/packs").iterdir()))
    for at in every_step(used, clean_remote, strike):
        assert pulls(used), at
        unlock_remote(opened(used))
        clean_remote(used)
        assert pulls(used), at
        assert collect_remote_garbage(opened(used), grace_s=-10.0, expire_s=DAY_S).objects == 0, at
        far()
        shutil.rmtree(used / ".mlo/remotes", ignore_errors=True)
    assert packs == 4


def test_a_kill_between_copy_and_removal_leaves_two_copies_and_then_one(used: Path) -> None:
    """The step that would lose data, were the order another one: found by counting unlinks."""
    steps = list(_kills_by_packs(used))
    assert (2, True) in steps  # a kill at which the new pack stood beside the old one
    assert all(whole for _, whole in steps)


def _kills_by_packs(used: Path) -> Iterator[tuple[int, bool]]:
    again = copies(used)
    for at in range(1, 200):
        if in_child(collect, used, at):
            return
        yield len(list((used / ".mlo/cache/packs").iterdir())), kept(used)
        again()
