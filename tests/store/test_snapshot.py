"""Recording and observing: everything a folder can hold, and files that change under our eyes."""

from __future__ import annotations

import os
import shutil
import socket
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_cli.core.base.records import Entry
from mlops_cli.core.store import stable
from mlops_cli.core.store.checkout import restore
from mlops_cli.core.store.index import Index, mark
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.protocol import ChangedWhileRead, UnsupportedFile
from mlops_cli.core.store.snapshot import observe, record, survey
from mlops_cli.core.store.tree import MAX_DEPTH, closure, forbidden_name, walk


class Place:
    """A work tree with a store and an index."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = root / "data"
        self.store = LocalStore(root / ".mlo/cache", "xxh128")
        self.index = Index(root / ".mlo/index")

    def record(self) -> Entry:
        return record(self.store, self.index, self.data)

    def observe(self) -> Entry | None:
        return observe(self.index, self.data, "xxh128")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "data").mkdir()
    return Place(tmp_path)


def paths(place: Place, entry: Entry) -> dict[str, str]:
    return {path: found.kind for path, found in walk(place.store, entry)}


def test_files_folders_links_and_exec_bits_are_kept(place: Place) -> None:
    (place.data / "plain").write_bytes(b"1")
    (place.data / "run.sh").write_bytes(b"#!/bin/sh\n")
    (place.data / "run.sh").chmod(0o755)
    (place.data / "empty").mkdir()
    (place.data / "sub").mkdir()
    (place.data / "sub/deep").write_bytes(b"2")
    (place.data / "relative").symlink_to("sub/deep")
    (place.data / "broken").symlink_to("../nowhere")
    (place.data / "folder").symlink_to("sub")
    (place.data / "loop").symlink_to("loop")
    (place.data / "outside").symlink_to("/etc")
    entry = place.record()
    assert paths(place, entry) == {
        "broken": "link",
        "empty": "dir",
        "folder": "link",
        "loop": "link",
        "outside": "link",
        "plain": "file",
        "relative": "link",
        "run.sh": "exec",
        "sub": "dir",
        "sub/deep": "file",
    }
    assert entry.files == 8
    assert (place.data / "relative").readlink() == Path("sub/deep")
    assert place.observe() == entry
    assert not place.store.missing(str(digest) for digest in closure(place.store, entry))


def test_a_single_file_keeps_its_exec_bit(place: Place) -> None:
    file = place.root / "tool"
    file.write_bytes(b"x")
    assert not record(place.store, place.index, file).executable
    file.chmod(0o755)
    assert record(place.store, place.index, file).executable
    assert record(place.store, place.index, file).executable


def test_nothing_there_is_none_or_file_not_found(place: Place) -> None:
    assert observe(place.index, place.root / "nothing", "xxh128") is None
    with pytest.raises(FileNotFoundError):
        record(place.store, place.index, place.root / "nothing")


def test_a_fifo_is_refused_by_name_and_does_not_hang(place: Place) -> None:
    os.mkfifo(place.data / "pipe")
    with pytest.raises(UnsupportedFile, match=r"data/pipe is a FIFO"):
        place.record()
    with pytest.raises(UnsupportedFile, match="FIFO"):
        record(place.store, place.index, place.data / "pipe")
    with pytest.raises(UnsupportedFile, match="FIFO"):  # put there after the folder was listed
        place.store.put_file(place.data / "pipe")


def test_a_socket_and_a_device_are_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.data)  # a socket's path may have 107 bytes
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("door")
        with pytest.raises(UnsupportedFile, match="door is a socket"):
            place.record()
        with pytest.raises(UnsupportedFile, match="socket"):
            place.store.put_file(place.data / "door")
    with pytest.raises(UnsupportedFile, match="device"):
        place.store.put_file(Path("/dev/null"))


@pytest.mark.parametrize("name", [".git", ".mlo", ".Git"])
def test_a_nested_repository_is_refused(place: Place, name: str) -> None:
    (place.data / name).mkdir()
    with pytest.raises(UnsupportedFile, match=name):
        place.record()


def test_a_link_by_itself_is_refused_with_its_target(place: Place) -> None:
    (place.root / "link").symlink_to("data")
    with pytest.raises(UnsupportedFile, match="link to data"):
        record(place.store, place.index, place.root / "link")


def test_names_in_any_encoding_normal_form_and_case(place: Place) -> None:
    nfc, nfd = unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")
    names = [b"\xff\xfe", os.fsencode(nfc), os.fsencode(nfd), b"A", b"a", b"\n", b" ", b"-rf", b"con.txt", b"x" * 255]
    for number, name in enumerate(names):
        (place.data / os.fsdecode(name)).write_bytes(b"%d" % number)
    entry = place.record()
    assert entry.files == len(names) == len(os.listdir(place.data))
    assert {os.fsencode(path) for path in paths(place, entry)} == set(names)
    restore(place.store, place.index, entry, place.root / "copy")
    assert sorted(os.listdir(bytes(place.root / "copy"))) == sorted(names)


def test_line_endings_are_part_of_the_bytes(place: Place) -> None:
    (place.data / "a").write_bytes(b"1\r\n")
    dos = place.record()
    (place.data / "a").write_bytes(b"1\n")
    assert place.record() != dos


CONTENT = st.recursive(
    st.one_of(st.binary(max_size=6), st.tuples(st.just("link"), st.binary(min_size=1, max_size=6))),
    lambda inner: st.dictionaries(
        st.binary(min_size=1, max_size=3).filter(lambda name: not forbidden_name(name)), inner, max_size=3
    ),
    max_leaves=6,
).filter(lambda content: isinstance(content, dict))


def build(path: bytes, content: object) -> None:
    if isinstance(content, dict):
        os.mkdir(path)
        for name, inner in content.items():
            build(path + b"/" + name, inner)
    elif isinstance(content, tuple):
        os.symlink(content[1].replace(b"\0", b"0"), path)
    else:
        assert isinstance(content, bytes)
        with open(path, "wb") as file:
            file.write(content)


def described(path: bytes) -> object:
    """What stands at a path, to compare."""
    if os.path.islink(path):
        return ("link", os.readlink(path))
    if os.path.isdir(path):
        return {name: described(path + b"/" + name) for name in os.listdir(path)}
    with open(path, "rb") as file:
        return file.read(), os.access(path, os.X_OK)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(content=CONTENT)
def test_any_folder_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, content: object) -> None:
    place = Place(tmp_path_factory.mktemp("any"))
    build(bytes(place.data), content)
    before = described(bytes(place.data))
    entry = place.record()
    assert place.observe() == entry
    assert described(bytes(place.data)) == before
    restore(place.store, place.index, entry, place.root / "copy")
    assert described(bytes(place.root / "copy")) == before
    assert observe(place.index, place.root / "copy", "xxh128") == entry


def trust(index: Index, key: bytes) -> None:
    """As if the files of a folder had been old when they were read."""
    folder = index.folder(key)
    assert folder is not None
    index.replace_folder(key, msgspec.structs.replace(folder, racy=set()))


def test_an_edit_that_restores_size_and_mtime_is_seen(place: Place) -> None:
    file = place.data / "a"
    file.write_bytes(b"old")
    os.utime(file, ns=(10**18, 10**18))
    before = place.record()
    # As if long ago: trusted, with the true status of the file.
    key = place.index.key(bytes(place.data))
    trust(place.index, key)
    looked = os.stat(file).st_ctime_ns
    assert place.observe() == before
    while os.stat(file).st_ctime_ns == looked:  # the clock of the file system ticks every few milliseconds
        file.write_bytes(b"new")
        os.utime(file, ns=(10**18, 10**18))
    assert place.observe() != before
    assert place.record() != before


def test_what_the_index_knows_is_not_read_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    (place.data / "a").write_bytes(b"1")
    (place.data / "b").write_bytes(b"2")
    entry = place.record()
    key = place.index.key(bytes(place.data))
    trust(place.index, key)

    def read(*_: object, **__: object) -> None:
        raise AssertionError("read")

    monkeypatch.setattr(stable, "open_regular", read)
    assert place.record() == entry
    assert place.observe() == entry
    with pytest.raises(AssertionError, match="read"):
        record(place.store, place.index, place.data, fresh=True)


def test_a_file_whose_object_is_gone_is_kept_again(place: Place) -> None:
    (place.data / "a").write_bytes(b"1")
    entry = place.record()
    place.store.quarantine(place.store.put_bytes(b"1"))
    assert place.record() == entry
    assert not place.store.missing(str(digest) for digest in closure(place.store, entry))


@contextmanager
def growing(path: Path, monkeypatch: pytest.MonkeyPatch, times: int) -> Iterator[None]:
    """Append to the file while it is read, the first `times` times."""
    read, left = os.read, [times]

    def reading(handle: int, size: int) -> bytes:
        data = read(handle, size)
        if left[0] and os.path.sameopenfile(handle, same.fileno()):
            left[0] -= 1
            with path.open("ab") as file:
                file.write(b"!")
        return data

    with path.open("rb") as same, monkeypatch.context() as patched:
        patched.setattr(os, "read", reading)
        yield


@pytest.mark.parametrize("size", [10, 400_000])
def test_a_file_that_changes_while_it_is_read_is_read_again(
    place: Place, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    file = place.data / "log"
    file.write_bytes(b"." * size)
    with growing(file, monkeypatch, 1):
        assert observe(place.index, file, "xxh128") is not None
    with growing(file, monkeypatch, 1):
        digest = place.store.put_file(file)
    assert place.store.read(digest) == file.read_bytes()
    assert len(list(place.store)) == 1
    assert list((place.store.cache / "tmp").iterdir()) == []


@pytest.mark.parametrize("size", [10, 400_000])
def test_a_file_that_never_stands_still_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    file = place.data / "log"
    file.write_bytes(b"." * size)
    with growing(file, monkeypatch, -1):
        with pytest.raises(ChangedWhileRead, match="log"):
            place.record()
        with pytest.raises(ChangedWhileRead, match="log"):
            place.observe()
    assert list(place.store) == []
    assert not [*(place.store.cache / "tmp").glob("*")]


def test_a_folder_too_deep_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops_cli.core.store.snapshot.MAX_DEPTH", 3)
    (place.data / "1/2/3/4").mkdir(parents=True)
    with pytest.raises(UnsupportedFile, match="3 folders deep"):
        place.record()


def test_a_survey_lists_everything_below(place: Place) -> None:
    (place.data / "sub").mkdir()
    (place.data / "sub/a").write_bytes(b"12")
    found = survey(place.index, place.data, "xxh128")
    assert set(found.items) == {b"sub", b"sub/a"}
    assert found.items[b"sub"].size == 2


def test_temp_files_of_a_killed_checkout_are_no_data(place: Place) -> None:
    (place.data / "a").write_bytes(b"1")
    entry = place.record()
    (place.data / ".mlo-tmp-0123").write_bytes(b"half")
    assert place.observe() == entry


def test_a_folder_as_deep_as_add_takes_comes_back(place: Place) -> None:
    deepest = place.data.joinpath(*["d"] * MAX_DEPTH)
    deepest.mkdir(parents=True)
    (deepest / "file").write_bytes(b"down here")
    entry = place.record()
    assert len(paths(place, entry)) == MAX_DEPTH + 1
    assert len(list(closure(place.store, entry))) == MAX_DEPTH + 2
    shutil.rmtree(place.data)
    assert restore(place.store, place.index, entry, place.data).missing == []
    assert (deepest / "file").read_bytes() == b"down here"
    (deepest / "d").mkdir()
    with pytest.raises(UnsupportedFile, match=f"{MAX_DEPTH} folders deep"):
        place.record()


def test_more_empty_folders_than_would_be_restored_are_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops_cli.core.store.tree._EMPTY_FOLDERS", 10)
    for number in range(10):
        (place.data / str(number)).mkdir()
    assert len(paths(place, place.record())) == 10
    (place.data / "10").mkdir()
    with pytest.raises(UnsupportedFile, match="11 folders for 0 files"):
        place.record()
    (place.data / "file").write_bytes(b"explains 256 more")
    assert len(paths(place, place.record())) == 12


@pytest.mark.parametrize("year", [1850, 1970, 2250, 2300, 2400], ids=str)
def test_a_file_of_any_time_is_known_by_it(place: Place, year: int) -> None:
    path = place.data / "file"
    path.write_bytes(b"1")
    seconds = int((datetime(year, 1, 1, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    os.utime(path, ns=(0, seconds * 10**9 + 1))
    if os.stat(path).st_mtime_ns // 10**9 != seconds:
        pytest.skip("this file system knows no such time")
    before = place.record()
    place.index.save()
    assert place.observe() == before
    os.utime(path, ns=(0, seconds * 10**9 + 2))
    assert mark(os.stat(path)) != place.index.folder(b"data").rows[b"file"]  # type: ignore[union-attr]
    assert len(mark(os.stat(path))) == 36
