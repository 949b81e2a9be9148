from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import IntegrityError, ProjectError
from mlops_cli.core.project.lock import Lock, SourceLock, StageLock, lock_bytes, parse_lock, read_lock, write_lock
from mlops_cli.core.project.paths import is_reserved

ENTRY = Entry("xxh128:" + "ab" * 16, "dir", 10, files=2)

names = st.text(st.characters(codec="utf-8", exclude_characters="\\\0/"), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..") and not is_reserved(name)
)
entries = st.builds(
    Entry,
    digest=st.text("0123456789abcdef", min_size=32, max_size=32).map("xxh128:".__add__),
    kind=st.sampled_from(["file", "dir"]),
    size=st.integers(0, 2**50),
    files=st.integers(1, 10**6),
    executable=st.booleans(),
)
values = (
    st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.booleans()
)
stages = st.builds(
    StageLock,
    key=st.text("0123456789abcdef", min_size=64, max_size=64),
    cmd=st.text(max_size=40),
    deps=st.dictionaries(names, entries.map(lambda entry: entry.digest), max_size=3),
    params=st.dictionaries(st.text(max_size=10), values, max_size=3),
    outs=st.dictionaries(names, entries, max_size=3),
)
locks = st.builds(
    Lock, data=st.dictionaries(names, entries, max_size=3), stages=st.dictionaries(names, stages, max_size=3)
)


@given(locks)
def test_a_lock_reads_back_as_it_was_written(lock: Lock) -> None:
    assert parse_lock(lock_bytes(lock).decode(), Path("/project/mlo.lock")) == lock


def test_the_same_state_is_the_same_bytes_in_any_order() -> None:
    one = Lock(data={"a": ENTRY, "b": ENTRY})
    other = Lock(data={"b": ENTRY, "a": ENTRY})
    assert lock_bytes(one) == lock_bytes(other)


def test_writing_what_stands_there_already_does_not_touch_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mlo.lock"
    write_lock(path, Lock(data={"a": ENTRY}))
    before = path.stat()
    write_lock(path, Lock(data={"a": ENTRY}))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.stat().st_ino == before.st_ino


def test_an_absent_lock_is_an_empty_one(tmp_path: Path) -> None:
    assert read_lock(tmp_path / "mlo.lock") == Lock()


@pytest.mark.parametrize(
    "text",
    [
        "version: 1\ndata: {../x: {digest: 'xxh128:%s', kind: file, size: 1}}" % ("0" * 32),
        "version: 1\ndata: {/etc/passwd: {digest: 'xxh128:%s', kind: file, size: 1}}" % ("0" * 32),
        "version: 1\ndata: {.git/hooks: {digest: 'xxh128:%s', kind: dir, size: 1}}" % ("0" * 32),
        "version: 1\ndata: {sub/.GIT/config: {digest: 'xxh128:%s', kind: file, size: 1}}" % ("0" * 32),
        "version: 1\ndata: {.mlo: {digest: 'xxh128:%s', kind: dir, size: 1}}" % ("0" * 32),
        "version: 1\ndata: {mlo.yaml: {digest: 'xxh128:%s', kind: file, size: 1}}" % ("0" * 32),
        "version: 1\ndata: {x/./y: {digest: 'xxh128:%s', kind: file, size: 1}}" % ("0" * 32),
        "version: 1\nstages: {s: {key: ../../../etc/passwd, cmd: x}}",
        "version: 1\nstages: {s: {key: '', cmd: x}}",
        "version: 1\ndata: {x: {digest: 'md5:%s', kind: file, size: 1}}" % ("0" * 32),
        "version: 1\ndata: {x: {digest: 'xxh128:%s', kind: socket, size: 1}}" % ("0" * 32),
        "version: 1\nsurprise: 1",
        "version: one",
        "data: {}",
        "- a list",
    ],
)
def test_a_crafted_or_damaged_lock_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(IntegrityError):
        parse_lock(text, tmp_path / "mlo.lock")


def test_a_lock_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mlo.lock").write_bytes(b"\xff\xfe")
    with pytest.raises(IntegrityError, match="UTF-8"):
        read_lock(tmp_path / "mlo.lock")


def test_a_newer_lock_and_one_with_conflict_markers_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="version 9") as caught:
        parse_lock("version: 9\nnew: {}", tmp_path / "mlo.lock")
    assert "upgrade" in str(caught.value.hint)
    with pytest.raises(ProjectError) as caught:
        parse_lock("<<<<<<< HEAD\nversion: 1\n=======\nversion: 1\n>>>>>>> x\n", tmp_path / "mlo.lock")
    assert "merge conflict" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version: 1\ndata: {data/raw: {digest: 'xxh128:zz', kind: file, size: 1}}", "mlo.lock: data/raw: .*not a dig"),
        ("version: 1\ndata: {../x: {digest: 'xxh128:%s', kind: file, size: 1}}" % ("0" * 32), "mlo.lock: ../x: "),
        ("version: 1\ndata: [unclosed", "mlo.lock:3:1: "),
        ("version: 1\nversion: 1", "mlo.lock:2:1: version stands twice"),
        ("version: 1\ndata: 3", "mlo.lock is damaged"),
        ("version: 1\nstages: {s: {key: x, cmd: y}}", "mlo.lock: 'x' is no key of stage s"),
    ],
)
def test_damage_names_the_lock_and_the_way_back(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(IntegrityError, match=message) as caught:
        parse_lock(text, tmp_path / "mlo.lock")
    assert str(caught.value.hint).startswith("git checkout -- mlo.lock")


def test_a_path_is_found_among_data_and_outputs() -> None:
    lock = Lock(data={"raw": ENTRY}, stages={"s": StageLock("k", "c", outs={"out": ENTRY})})
    assert lock.entry("raw") == lock.entry("out") == ENTRY
    assert lock.entry("other") is None
    assert list(lock.entries) == ["out", "raw"]


def test_sources_are_kept_and_go_with_their_entries(tmp_path: Path) -> None:
    source = SourceLock("../far", ENTRY.digest, 10, path="data/raw", commit="c0ffee")
    lock = Lock({"raw": ENTRY}, sources={"raw": source, "gone": source})
    text = lock_bytes(lock).decode()
    assert "version: 2\n" in text
    assert "gone" not in text
    assert parse_lock(text, tmp_path / "mlo.lock").sources == {"raw": source}
    assert (
        parse_lock(text.replace("  raw:\n    digest", "  other:\n    digest", 1), tmp_path / "mlo.lock").sources == {}
    )


def test_a_lock_without_sources_reads_in_an_mlo_that_knows_none() -> None:
    assert "version: 1\n" in lock_bytes(Lock({"raw": ENTRY})).decode()


def test_a_source_with_a_digest_that_is_none_is_refused(tmp_path: Path) -> None:
    source = SourceLock("../far", "md5:00", 10)
    with pytest.raises(IntegrityError, match="raw: md5:00 is not a digest"):
        parse_lock(lock_bytes(Lock({"raw": ENTRY}, sources={"raw": source})).decode(), tmp_path / "mlo.lock")


@pytest.mark.parametrize("key", ["size", "files"])
def test_an_entry_of_less_than_nothing_is_refused(tmp_path: Path, key: str) -> None:
    text = f"version: 1\ndata:\n  raw: {{digest: '{ENTRY.digest}', kind: dir, size: 1, files: 1}}\n"
    with pytest.raises(IntegrityError, match=r"mlo\.lock: raw: .* cannot be"):
        parse_lock(text.replace(f"{key}: 1", f"{key}: -1"), tmp_path / "mlo.lock")
