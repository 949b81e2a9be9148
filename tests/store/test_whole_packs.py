"""Pulling packs of a remote as they are: byte for byte what a digest vouches for, and nothing else."""

from __future__ import annotations

import os
import secrets
import time
from array import array
from pathlib import Path

import pytest
from far_remote import Watched, cut_short, packs_on, spoil

from mlops_cli.core.base.digest import digest_bytes
from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import RemoteError
from mlops_cli.core.remotes.open import open_url
from mlops_cli.core.remotes.remote import Remote
from mlops_cli.core.store.collect import collect
from mlops_cli.core.store.fsck import fsck
from mlops_cli.core.store.index import Index
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.mark import Root, mark
from mlops_cli.core.store.pack import PackIndex, PackWriter, make_index
from mlops_cli.core.store.snapshot import record
from mlops_cli.core.store.stable import SMALL_BYTES
from mlops_cli.core.store.sweep import plan_sweep
from mlops_cli.core.store.transfer import pull_objects, push_objects, single_objects
from mlops_cli.core.store.tree import closure
from mlops_cli.core.workflows.gc import StoreSource

FILES = {f"{number % 3}/{number:03}": b"%d\n" % number * 300 for number in range(120)} | {"0/empty": b""}


@pytest.fixture(autouse=True)
def small_packs_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops_cli.core.store.whole.WHOLE_BYTES", 1)


@pytest.fixture(params=["folder", "memory"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Remote:
    (tmp_path / "far").mkdir()
    url = "far" if request.param == "folder" else f"memory://{secrets.token_hex(6)}"
    return open_url(url, root=tmp_path, name="origin")


@pytest.fixture
def far(tmp_path: Path) -> Remote:
    return open_url(f"memory://{secrets.token_hex(6)}", root=tmp_path, name="origin")


@pytest.fixture(params=["xxh128", "blake3"])
def here(request: pytest.FixtureRequest, tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "here", request.param)


@pytest.fixture
def there(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "there", "xxh128")


@pytest.fixture
def entry(here: LocalStore, tmp_path: Path) -> Entry:
    return add(here, tmp_path, FILES)


@pytest.fixture(params=[1000, 1 << 23], ids=["pieces", "at once"])
def piece(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    for name in ("_REQUEST_BYTES", "_FILE_PIECE_BYTES"):
        monkeypatch.setattr(f"mlops_cli.core.store.pull.{name}", request.param)
    size: int = request.param
    return size


def add(store: LocalStore, root: Path, files: dict[str, bytes], name: str = "data") -> Entry:
    for file, data in files.items():
        path = root / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return record(store, Index(root / f"index-{name}"), root / name)


def complete(store: LocalStore, entry: Entry) -> bool:
    return all(store.verify(digest) >= 0 for digest in closure(store, entry))


def packs_of(store: LocalStore) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in (store.cache / "packs").glob("*.pack")}


def sound(store: LocalStore, entries: dict[str, Entry] | None = None) -> bool:
    return fsck(LocalStore(store.cache, store.algorithm), entries or {}).ok and not os.listdir(store.cache / "tmp")


def lay_out(remote: Remote, root: Path, objects: list[bytes], gap: bytes = b"", algorithm: str = "xxh128") -> str:
    """A pack with `gap` behind every object, announced as a push would; its name."""
    writer = PackWriter(str(root / secrets.token_hex(4)), algorithm)
    offsets = {}
    for data in objects:
        raw = bytes.fromhex(digest_bytes(data, algorithm).hex)
        offsets[raw] = (writer.size, len(data))
        writer.add_run([raw], [len(data) + len(gap)], memoryview(data + gap))
    index = make_index(offsets, algorithm)
    writer.seal(index)
    writer.close()
    data = Path(writer.path).read_bytes()
    remote.put("VERSION", b"2\n")
    remote.put(f"packs/{index.name}.pack", data)
    remote.put(f"packs/{index.name}.idx", index.to_idx(len(data)))
    return index.name


def singles(objects: list[bytes], algorithm: str = "xxh128") -> dict[str, Entry]:
    return single_objects(str(digest_bytes(data, algorithm)) for data in objects)


def test_a_pack_of_which_all_is_wanted_becomes_one_here_byte_for_byte(
    remote: Remote, here: LocalStore, there: LocalStore, entry: Entry, piece: int
) -> None:
    sent = push_objects(here, remote, {"data": entry})
    came = pull_objects(there, remote, entry_by_entry(here, entry))
    assert (came.objects, came.bytes, came.missing, came.corrupt) == (sent.objects, sent.bytes, [], [])
    [name] = packs_on(remote)
    assert packs_of(there) == {name: remote.get(f"packs/{name}.pack")}
    assert os.stat(there.packs.path(name)).st_mode & 0o222 == 0
    assert sound(there, {"data": entry})
    assert complete(there, entry)
    assert pull_objects(there, remote, {"data": entry}).objects == 0


def entry_by_entry(store: LocalStore, entry: Entry) -> dict[str, Entry]:
    return single_objects(str(digest) for digest in closure(store, entry))


def test_trees_that_came_first_do_not_keep_a_pack_from_being_taken(
    far: Remote, here: LocalStore, there: LocalStore, entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlops_cli.core.store.pull._BEHIND_BYTES", 0)
    monkeypatch.setattr("mlops_cli.core.store.whole._MOST_KNOWN", 0.3)
    push_objects(here, far, {"data": entry})
    monkeypatch.setattr("mlops_cli.core.store.batch.FEWEST", 1)
    came = pull_objects(there, far, {"data": entry})
    assert came.objects == 125
    [name] = packs_on(far)
    assert len(packs_of(there)) == 2
    assert sound(there, {"data": entry})
    # A collection of garbage takes away what lies twice, and nothing else.
    marks = mark(StoreSource(there), [Root("lock", "mlo.lock", (entry,))])
    plan = plan_sweep(there, marks, older_than=time.time() + 60)
    assert sum(amount.objects for amount in plan.kept.values()) == 125
    with there.folder.alone():
        collect(there, marks, plan)
    assert list(packs_of(there)) == [name]
    assert sound(there, {"data": entry})


def test_what_nobody_asked_for_is_not_brought_along(
    remote: Remote, here: LocalStore, there: LocalStore, entry: Entry, tmp_path: Path
) -> None:
    push_objects(here, remote, {"data": entry})
    wanted = dict(list(entry_by_entry(here, entry).items())[1:])
    pull_objects(there, remote, wanted)
    assert {str(digest) for digest in there} == wanted.keys()
    assert packs_of(there).keys().isdisjoint(packs_on(remote))


def test_a_pack_that_adds_little_to_what_is_here_is_not_taken_whole(
    far: Remote, there: LocalStore, tmp_path: Path
) -> None:
    objects = [b"%d\n" % number * 300 for number in range(80)]
    name = lay_out(far, tmp_path, objects)
    pull_objects(there, far, singles(objects[:40]))
    assert pull_objects(there, far, singles(objects)).objects == 40
    assert name not in packs_of(there)
    assert sound(there)


@pytest.mark.parametrize("algorithm", ["xxh128", "blake3"])
def test_bytes_that_no_digest_vouches_for_are_not_kept(
    remote: Remote, there: LocalStore, tmp_path: Path, piece: int, algorithm: str
) -> None:
    objects = [b"%d\n" % number * 300 for number in range(80)]
    name = lay_out(remote, tmp_path, objects, b"#!/bin/sh\n", algorithm)
    assert pull_objects(there, remote, singles(objects, algorithm)).objects == 80
    assert name not in packs_of(there)
    assert not any(b"#!/bin/sh" in data for data in packs_of(there).values())
    assert sound(there)


def test_header_and_end_are_never_the_remotes(far: Remote, there: LocalStore, tmp_path: Path) -> None:
    """Nobody reads them there, so nobody can lie in them."""
    objects = [b"%d\n" % number * 300 for number in range(80)]
    name = lay_out(far, tmp_path, objects)
    good = far.get(f"packs/{name}.pack")
    end = len(b"".join(objects)) + 16
    far.put(f"packs/{name}.pack", b"?" * 16 + good[16:end] + b"?" * (len(good) - end))
    pull_objects(there, far, singles(objects))
    assert packs_of(there) == {name: good}
    assert sound(there)


def test_an_object_too_large_for_a_pack_stays_out_of_packs(far: Remote, there: LocalStore, tmp_path: Path) -> None:
    objects = [b"%d\n" % number * 300 for number in range(80)] + [b"L" * (SMALL_BYTES + 1)]
    name = lay_out(far, tmp_path, objects)
    assert pull_objects(there, far, singles(objects)).objects == 81
    assert name not in packs_of(there)
    assert [str(digest) for digest in there.loose] == [str(digest_bytes(objects[-1], "xxh128"))]
    assert sound(there)


def test_a_damaged_object_in_such_a_pack_is_named_and_the_others_come(
    remote: Remote, there: LocalStore, tmp_path: Path, piece: int
) -> None:
    objects = [b"%d\n" % number * 300 for number in range(80)]
    name = lay_out(remote, tmp_path, objects)
    bad = str(digest_bytes(objects[40], "xxh128"))
    key = spoil(remote, bad)
    came = pull_objects(there, remote, singles(objects))
    assert (came.corrupt, came.missing, came.damaged_keys) == ([bad], [], [key])
    assert {str(digest) for digest in there} == singles(objects).keys() - {bad}
    assert name not in packs_of(there)
    assert sound(there)


def test_the_good_one_of_two_packs_is_taken(far: Remote, there: LocalStore, tmp_path: Path) -> None:
    objects = [b"%d\n" % number * 300 for number in range(80)]
    first = lay_out(far, tmp_path, objects)
    lay_out(far, tmp_path, [*objects[:41], b"another"])
    spoil_in(far, first, objects[40])
    came = pull_objects(there, far, singles(objects))
    assert (came.objects, came.corrupt, came.damaged_keys) == (80, [], [f"packs/{first}.pack"])
    assert {str(digest) for digest in there} == singles(objects).keys()
    assert sound(there)


def spoil_in(remote: Remote, name: str, content: bytes) -> None:
    data = remote.get(f"packs/{name}.pack")
    at = data.index(content)
    remote.put(f"packs/{name}.pack", data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


def test_a_pack_that_lost_its_end_is_written_here_with_a_good_one(
    far: Remote, there: LocalStore, tmp_path: Path
) -> None:
    objects = [b"%d\n" % number * 300 for number in range(80)]
    name = lay_out(far, tmp_path, objects)
    cut_short(far, f"packs/{name}.pack")
    came = pull_objects(there, far, singles(objects))
    assert (came.objects, came.corrupt) == (80, [])
    assert sound(there)


@pytest.mark.parametrize(
    "lie",
    [
        lambda lengths: lengths[:-1] + array("I", [lengths[-1] + 1]),
        lambda lengths: array("I", [2**32 - 1]) + lengths[1:],
        lambda lengths: array("I", [0]) + lengths[1:],
    ],
    ids=["one more", "endless", "none"],
)
def test_lying_lengths_bring_nothing_wrong(far: Remote, there: LocalStore, tmp_path: Path, lie: object) -> None:
    objects = [b"%d\n" % number * 300 for number in range(80)]
    name = lay_out(far, tmp_path, objects)
    index = packs_on(far)[name]
    liar = PackIndex("", index.algorithm, index.digests, index.offsets, lie(index.lengths))  # type: ignore[operator]
    state = digest_bytes(liar.body(), "xxh128")
    data = far.get(f"packs/{name}.pack")
    for key in list(far.list("packs/")):
        far.delete(key)
    far.put(f"packs/{state.hex}.pack", data)
    far.put(f"packs/{state.hex}.idx", liar.to_idx(len(data)))
    came = pull_objects(there, far, singles(objects))
    assert came.corrupt
    assert packs_of(there).keys().isdisjoint({state.hex})
    assert sound(there)


@pytest.mark.parametrize("after", range(1, 30, 4))
def test_a_pull_that_breaks_off_keeps_what_came(
    far: Remote, there: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    monkeypatch.setattr("mlops_cli.core.store.pull._REQUEST_BYTES", 3000)
    objects = [b"%d\n" % number * 300 for number in range(120)]
    lay_out(far, tmp_path, objects)
    left = after

    def breaking(name: str, key: str) -> None:
        nonlocal left
        left -= name == "get_range"
        if left < 0:
            raise RemoteError("the line went dead", hint="try again")

    with pytest.raises(RemoteError):
        pull_objects(there, Watched(far, breaking), singles(objects), threads=1)  # type: ignore[arg-type]
    assert sound(there)
    kept = len({str(digest) for digest in there})
    assert kept >= min(after, 120 // 4)
    came = pull_objects(there, far, singles(objects))
    assert (came.objects, came.missing) == (120 - kept, [])
    assert {str(digest) for digest in there} == singles(objects).keys()
    assert sound(there)


def test_several_packs_follow_one_another(remote: Remote, there: LocalStore, tmp_path: Path) -> None:
    """Whole ones, one with a damaged object, and one that is wanted in part."""
    groups = [[b"%d of %d\n" % (number, group) * 100 for number in range(50)] for group in range(5)]
    names = [lay_out(remote, tmp_path, objects) for objects in groups]
    spoil(remote, str(digest_bytes(groups[1][7], "xxh128")))
    wanted = [data for objects in groups for data in objects if data not in groups[3][::2]]
    came = pull_objects(there, remote, singles(wanted))
    assert (came.objects, len(came.corrupt)) == (224, 1)
    assert packs_of(there).keys() & set(names) == {names[0], names[2], names[4]}
    assert len({str(digest) for digest in there}) == 224
    assert sound(there)
