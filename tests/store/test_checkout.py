"""Restoring: only what differs, never over bytes that are the user's alone."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path

import pytest

from mlops_cli.core.base.digest import digest_bytes
from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import IntegrityError, WouldOverwrite
from mlops_cli.core.store import building, links, placing, standing
from mlops_cli.core.store.checkout import Changes, Wanted, remove, restore, restore_all
from mlops_cli.core.store.index import Index
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.protocol import ObjectCorrupt, ObjectMissing
from mlops_cli.core.store.snapshot import observe, record
from mlops_cli.core.store.tree import walk


class Place:
    """A work tree whose folder `data` has been recorded as `entry`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = root / "data"
        self.store = LocalStore(root / ".mlo/cache", "xxh128")
        self.index = Index(root / ".mlo/index")
        (self.data / "sub").mkdir(parents=True)
        (self.data / "a").write_bytes(b"1")
        (self.data / "sub/b").write_bytes(b"22")
        self.entry = self.record()

    def record(self) -> Entry:
        entry = record(self.store, self.index, self.data)
        self.index.hold(self.data, entry)
        return entry

    def restore(self, entry: Entry | None = None, **options: object) -> Changes:
        return restore(self.store, self.index, entry or self.entry, self.data, **options)  # type: ignore[arg-type]

    @property
    def here(self) -> Entry | None:
        return observe(self.index, self.data, "xxh128")

    def object(self, data: bytes) -> Path:
        return self.store.file_of(digest_bytes(data, "xxh128"))


@pytest.fixture(params=[64, 0], ids=["", "on threads"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A folder of a few files is made by one thread; here also by several."""
    monkeypatch.setattr(building, "_FEW", request.param)
    return Place(tmp_path)


def test_nothing_to_do_touches_nothing(place: Place) -> None:
    before = os.stat(place.data / "a")
    assert place.restore() == Changes()
    assert os.stat(place.data / "a") == before


def test_deleted_files_come_back(place: Place) -> None:
    (place.data / "sub/b").unlink()
    (place.data / "sub").rmdir()
    assert place.restore() == Changes(added=["sub/b"])
    assert place.here == place.entry


def test_only_what_differs_is_touched(place: Place) -> None:
    (place.data / "sub/b").unlink()
    before = os.stat(place.data / "a")
    place.restore()
    assert os.stat(place.data / "a") == before


def test_a_file_the_user_changed_stays_and_nothing_else_is_touched(place: Place) -> None:
    (place.data / "a").write_bytes(b"mine")
    (place.data / "sub/b").unlink()
    with pytest.raises(WouldOverwrite, match="data/a") as caught:
        place.restore()
    assert "--force" in str(caught.value.hint)
    assert (place.data / "a").read_bytes() == b"mine"
    assert not (place.data / "sub/b").exists()
    assert place.restore(force=True) == Changes(added=["sub/b"], updated=["a"])
    assert place.here == place.entry


def test_bytes_that_the_cache_has_may_be_replaced(place: Place) -> None:
    (place.data / "a").write_bytes(b"second")
    second = place.record()
    assert place.restore(place.entry) == Changes(updated=["a"])
    assert place.restore(second) == Changes(updated=["a"])


def test_bytes_whose_cached_copy_is_damaged_are_the_last_ones_and_stay(place: Place) -> None:
    (place.data / "a").write_bytes(b"second")
    place.record()
    place.object(b"second").chmod(0o644)
    place.object(b"second").write_bytes(b"rotten")
    with pytest.raises(WouldOverwrite, match="data/a"):
        place.restore(place.entry)
    assert (place.data / "a").read_bytes() == b"second"


def test_a_file_the_user_made_stays(place: Place) -> None:
    (place.data / "sub/mine").write_bytes(b"mine")
    (place.data / "a").unlink()
    assert place.restore() == Changes(added=["a"], kept=["sub/mine"])
    assert place.restore(force=True) == Changes(removed=["sub/mine"])
    assert place.here == place.entry


def test_a_file_that_the_next_version_does_not_have_goes(place: Place) -> None:
    (place.data / "extra").write_bytes(b"3")
    (place.data / "more").mkdir()
    (place.data / "more/x").write_bytes(b"4")
    bigger = place.record()
    assert place.restore(place.entry) == Changes(removed=["more/x", "more", "extra"])
    assert place.here == place.entry
    place.restore(bigger)
    assert place.here == bigger


def test_a_copy_that_the_user_made_is_not_taken_for_mlos(place: Place) -> None:
    (place.data / "copy").write_bytes(b"1")
    assert place.restore() == Changes(kept=["copy"])


def test_without_memory_of_what_was_here_nothing_is_removed(place: Place) -> None:
    (place.data / "extra").write_bytes(b"3")
    place.record()
    forgetful = Index(place.root / "fresh")
    changes = restore(place.store, forgetful, place.entry, place.data)
    assert changes == Changes(kept=["extra"])
    told = restore(place.store, forgetful, place.entry, place.data, expected=place.record())
    assert told == Changes(removed=["extra"])


def test_a_file_where_a_folder_must_come_and_back(place: Place) -> None:
    (place.data / "sub/b").unlink()
    (place.data / "sub").rmdir()
    (place.data / "sub").write_bytes(b"now a file")
    flat = place.record()
    place.restore(place.entry)
    assert place.here == place.entry
    place.restore(flat)
    assert place.here == flat
    (place.data / "sub").unlink()
    (place.data / "sub").mkdir()
    (place.data / "sub/mine").write_bytes(b"mine")
    with pytest.raises(WouldOverwrite, match="sub/mine"):
        place.restore(flat)
    assert (place.data / "sub/mine").read_bytes() == b"mine"


def test_a_users_link_in_the_way_stays(place: Place) -> None:
    (place.data / "a").unlink()
    (place.data / "a").symlink_to("/etc/hostname")
    with pytest.raises(WouldOverwrite, match="data/a"):
        place.restore()
    place.restore(force=True)
    assert not (place.data / "a").is_symlink()
    assert (place.data / "a").read_bytes() == b"1"


def test_nothing_is_written_through_a_link_to_a_folder(place: Place) -> None:
    outside = place.root / "outside"
    outside.mkdir()
    (place.data / "sub/b").unlink()
    (place.data / "sub").rmdir()
    (place.data / "sub").symlink_to(outside)
    with pytest.raises(WouldOverwrite, match="data/sub"):
        place.restore()
    place.restore(force=True)
    assert list(outside.iterdir()) == []
    assert place.here == place.entry


def test_links_come_back_as_links(place: Place) -> None:
    for name, target in {"up": "../elsewhere", "in": "sub/b", "loop": "loop", "abs": "/nowhere"}.items():
        (place.data / name).symlink_to(target)
    entry = place.record()
    place.restore(place.entry)
    assert not (place.data / "up").is_symlink()
    place.restore(entry)
    assert {name: os.readlink(place.data / name) for name in ("up", "in", "loop", "abs")} == {
        "up": "../elsewhere",
        "in": "sub/b",
        "loop": "loop",
        "abs": "/nowhere",
    }


def test_the_exec_bit_comes_back(place: Place) -> None:
    (place.data / "a").chmod(0o755)
    entry = place.record()
    assert place.restore(place.entry) == Changes(updated=["a"])
    assert not os.access(place.data / "a", os.X_OK)
    place.restore(entry, link=("hardlink",))
    assert os.access(place.data / "a", os.X_OK)
    assert os.stat(place.data / "a").st_nlink == 1
    assert stat.S_IMODE(place.object(b"1").stat().st_mode) == 0o444


def test_a_missing_object_is_named_and_the_rest_restored(place: Place) -> None:
    for path in ("a", "sub/b"):
        (place.data / path).unlink()
    place.object(b"22").unlink()
    changes = place.restore()
    assert changes == Changes(added=["a"], missing=["sub/b"])
    with pytest.raises(ObjectMissing, match="sub/b"):
        changes.raise_if_incomplete("data")


def test_a_missing_subfolder_is_named_and_what_stands_there_left_alone(place: Place) -> None:
    (place.data / "sub/c").write_bytes(b"333")
    entry = place.record()
    tree = dict(walk(place.store, place.entry))["sub"]
    (place.data / "a").unlink()
    place.store.file_of(tree.entry.name).unlink()
    changes = restore(place.store, place.index, place.entry, place.data, expected=entry)
    assert changes == Changes(added=["a"], missing=["sub/"])
    assert (place.data / "sub/c").read_bytes() == b"333"


def test_a_corrupt_object_is_named_and_never_written(place: Place) -> None:
    for path in ("a", "sub/b"):
        (place.data / path).unlink()
    place.object(b"22").chmod(0o644)
    place.object(b"22").write_bytes(b"2?")
    for way in ("copy", "hardlink", "symlink", "reflink"):
        changes = place.restore(link=(way,))
        assert changes.corrupt == ["sub/b"]
        assert not os.path.lexists(place.data / "sub/b")
    with pytest.raises(ObjectCorrupt, match="sub/b"):
        changes.raise_if_incomplete("data")


def pack(place: Place, number: int) -> dict[str, bytes]:
    """Record so many small files, some of them twice, some executable, in a pack of the cache; what they hold."""
    files = {f"{n % 3}/{n}": b"%d\n" % (n // 2) * 99 for n in range(number)} | {"big": b"B" * 300_000, "0/empty": b""}
    shutil.rmtree(place.data)
    for name, data in files.items():
        path = place.data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o755 if len(name) == 3 else 0o644)
    with place.store.batch():
        place.entry = place.record()
    shutil.rmtree(place.data)
    return files


def standing_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_many_files_out_of_packs(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "_BATCH_FILES", 16)
    files = pack(place, 200)
    assert sorted(place.restore().added) == sorted(files)
    assert standing_files(place.data) == files
    assert place.here == place.entry


def test_of_many_files_those_whose_object_is_damaged_are_named(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "_BATCH_FILES", 16)
    files = pack(place, 200)
    [path] = (place.store.cache / "packs").glob("*.pack")
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(data.replace(b"77\n" * 99, b"78\n" * 99))
    place.object(b"B" * 300_000).unlink()
    changes = place.restore()
    assert (sorted(changes.corrupt), changes.missing) == (["1/154", "2/155"], ["big"])
    assert standing_files(place.data) == {n: data for n, data in files.items() if n not in ("1/154", "2/155", "big")}


def test_many_files_out_of_a_pack_that_is_packed_anew_meanwhile(place: Place) -> None:
    files = pack(place, 100)
    place.store.packs.table("xxh128")
    other = LocalStore(place.store.cache, "xxh128")
    old = list(other.packs.indexes)
    objects = [other.read(digest) for digest in other if other.packs.find(str(digest))]
    other.packs.drop(old)
    with other.batch():
        for data in [b"company", *objects]:
            other.put_bytes(data)
    place.store.packs.close()
    assert sorted(place.restore().added) == sorted(files)
    assert standing_files(place.data) == files


def test_a_corrupt_object_does_not_cost_the_folder_in_its_place(place: Place) -> None:
    flat = place.root / "flat"
    flat.write_bytes(b"flat")
    entry = record(place.store, place.index, flat)
    place.object(b"flat").chmod(0o644)
    place.object(b"flat").write_bytes(b"f???")
    changes = restore(place.store, place.index, entry, place.data, expected=place.entry)
    assert changes.corrupt == ["."]


def test_the_top_tree_must_be_there(place: Place) -> None:
    place.store.file_of(place.entry.name).unlink()
    with pytest.raises(ObjectMissing):
        place.restore()


def test_a_single_file_is_restored(place: Place) -> None:
    file = place.root / "model.bin"
    file.write_bytes(b"weights")
    entry = record(place.store, place.index, file)
    file.unlink()
    assert restore(place.store, place.index, entry, file) == Changes(added=["."])
    assert file.read_bytes() == b"weights"
    file.write_bytes(b"mine")
    with pytest.raises(WouldOverwrite, match=r"model\.bin"):
        restore(place.store, place.index, entry, file)


def test_parents_are_made(place: Place) -> None:
    target = place.root / "new/er/data"
    restore(place.store, place.index, place.entry, target)
    assert observe(place.index, target, "xxh128") == place.entry


def test_only_some_paths(place: Place) -> None:
    (place.data / "a").write_bytes(b"mine")
    (place.data / "sub/b").unlink()
    (place.data / "sub").rmdir()
    wanted = Wanted(place.entry, place.data, only=(b"sub/b",))
    assert restore_all(place.store, place.index, [wanted]) == [Changes(added=["sub/b"])]
    assert (place.data / "a").read_bytes() == b"mine"


def test_if_one_target_is_refused_none_is_touched(place: Place) -> None:
    other = place.root / "other"
    (place.data / "a").write_bytes(b"mine")
    with pytest.raises(WouldOverwrite):
        restore_all(place.store, place.index, [Wanted(place.entry, other), Wanted(place.entry, place.data)])
    assert not other.exists()


def test_a_hardlink_shares_bytes_and_cannot_be_written_in_place(place: Place) -> None:
    (place.data / "a").unlink()
    place.restore(link=("hardlink",))
    assert os.path.samefile(place.data / "a", place.object(b"1"))
    assert stat.S_IMODE(os.stat(place.data / "a").st_mode) & 0o222 == 0
    assert place.here == place.entry


def test_a_symlink_into_the_cache_counts_as_the_file(place: Place) -> None:
    (place.data / "a").unlink()
    place.restore(link=("symlink",))
    assert (place.data / "a").is_symlink()
    assert place.here == place.entry
    assert record(place.store, place.index, place.data) == place.entry
    assert record(place.store, place.index, place.data / "a").size == 1
    place.object(b"1").unlink()
    assert place.here != place.entry
    place.store.put_bytes(b"1")
    assert place.restore() == Changes()
    place.object(b"1").unlink()
    place.restore(force=False)
    assert place.restore().missing == ["a"]


def test_more_links_than_a_file_system_allows(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    (place.data / "a").unlink()

    def too_many(*_: object) -> None:
        raise OSError(errno.EMLINK, "Too many links")

    monkeypatch.setattr(os, "link", too_many)
    place.restore(link=("hardlink",))
    assert place.here == place.entry


def test_reflink_is_tried_once_for_a_pair_of_devices(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def unsupported(*arguments: object) -> None:
        asked.append(arguments)
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(links, "_NO_REFLINK", set())
    monkeypatch.setattr(links.fcntl, "ioctl", unsupported)
    for path in ("a", "sub/b"):
        (place.data / path).unlink()
    place.restore()
    assert place.here == place.entry
    assert len(asked) <= 1


def test_a_reflink_that_shares_the_wrong_bytes_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clone is hashed as a copy is."""

    def clone(source: int, target: int) -> bool:
        os.write(target, b"?")
        os.lseek(target, 0, os.SEEK_SET)
        return True

    monkeypatch.setattr(placing, "reflink", clone)
    (place.data / "a").unlink()
    assert place.restore().corrupt == ["a"]
    assert not (place.data / "a").exists()


def test_a_cache_on_another_file_system(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Renames from it fail with EXDEV; temp files beside the target take over, and old ones are swept."""
    rename = os.rename

    def across(source: bytes, target: bytes) -> None:
        if b"/.mlo/cache/tmp/" in os.fsencode(source) and b"/data/" in os.fsencode(target):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(source, target)

    monkeypatch.setattr(os, "rename", across)
    for path in ("a", "sub/b"):
        (place.data / path).unlink()
    (place.data / "link").symlink_to("a")
    for way in ("copy", "hardlink", "symlink"):
        place.restore(link=(way,))
        assert (place.data / "a").read_bytes() == b"1"
        (place.data / "a").unlink()
    place.store.folder.__dict__["device"] = -1
    (place.data / "sub/.mlo-tmp-dead").write_bytes(b"half")
    place.restore()
    assert place.here is not None
    assert sorted(path.name for path in place.data.rglob("*")) == ["a", "b", "link", "sub"]


def test_two_names_that_are_one_are_not_merged(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system that ignores case the second name is there already when it is restored."""
    (place.data / "A").write_bytes(b"capital")
    entry = place.record()
    target = place.root / "elsewhere"
    lexists = os.path.lexists
    seen: set[bytes] = set()

    def folding(path: bytes) -> bool:
        name = os.fsencode(path).lower()
        known = name in seen
        seen.add(name)
        return known or lexists(path)

    monkeypatch.setattr(os.path, "lexists", folding)
    with pytest.raises(WouldOverwrite, match="two names for one"):
        restore(place.store, place.index, entry, target)
    assert not target.exists()


def test_a_killed_checkout_leaves_no_half_folder(place: Place) -> None:
    """A folder is built aside: what a kill leaves is a temp folder, which the next look at the cache removes."""
    left = Path(place.store.temporary())
    (left / "sub").mkdir(parents=True)
    (left / "sub/half").write_bytes(b"half")
    os.utime(left, (0, 0))
    assert place.store.folder.clean_leftovers() == 1
    assert not left.exists()


def test_remove_takes_away_what_the_cache_can_give_back(place: Place) -> None:
    assert remove(place.store, place.index, place.data)
    assert not place.data.exists()
    assert not remove(place.store, place.index, place.data)


def test_remove_refuses_bytes_that_are_nowhere_else(place: Place) -> None:
    (place.data / "mine").write_bytes(b"mine")
    with pytest.raises(WouldOverwrite, match="data/mine"):
        remove(place.store, place.index, place.data)
    assert (place.data / "a").exists()
    assert remove(place.store, place.index, place.data, force=True)
    assert not place.data.exists()


def test_a_lying_entry_is_refused_before_anything_is_touched(place: Place) -> None:
    liar = Entry(place.entry.digest, "dir", 1, 1)
    (place.data / "a").unlink()
    with pytest.raises(IntegrityError):
        place.restore(liar)
    assert not (place.data / "a").exists()


def test_an_entry_of_another_algorithm_is_compared_by_its_own(tmp_path: Path) -> None:
    place = Place(tmp_path)
    modern = LocalStore(place.store.cache, "blake3")
    entry = record(modern, place.index, place.data)
    (place.data / "a").unlink()
    assert restore(place.store, place.index, entry, place.data) == Changes(added=["a"])


def test_only_ones_own_temp_files_are_swept(place: Place) -> None:
    """Others may be writing beside the same folder; whose temp file it is, its name tells."""
    place.store.folder.__dict__["device"] = -1
    outside = place.root / "outside"
    outside.mkdir()
    half = [
        Path(os.fsdecode(placing.beside(os.fsencode(path))))
        for path in (place.data, place.data / "sub/b", place.root / "other", outside / "x", place.root / "old")
    ]
    for path in half:
        path.mkdir()
        (path / "half").write_bytes(b"half")
    os.utime(half[-1], (0, 0))
    (place.data / "a").unlink()
    place.restore()
    assert [path.exists() for path in half] == [False, False, True, True, False]
    (place.root / "link").symlink_to("outside")
    entry = Entry(place.entry.digest, "dir", place.entry.size, place.entry.files)
    with pytest.raises(WouldOverwrite):
        restore(place.store, place.index, entry, place.root / "link")
    standing.sweep(os.fsencode(place.root / "link"))
    assert half[3].exists()
