"""Packs: what is written can be read from FORMAT.md alone, and nothing else is ever read."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
import xxhash
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.core.errors import IntegrityError, ProjectError
from mlops_cli.core.store.pack import PackIndex, PackWriter, make_index, read_index

ALGORITHMS = pytest.mark.parametrize("algorithm", ["xxh128", "blake3"])


def raw_of(data: bytes, algorithm: str) -> bytes:
    return xxhash.xxh3_128(data).digest() if algorithm == "xxh128" else blake3(data).digest()


def write(path: Path, contents: list[bytes], algorithm: str = "xxh128") -> PackIndex:
    writer = PackWriter(str(path), algorithm)
    for data in dict.fromkeys(contents):
        writer.add(raw_of(data, algorithm), data)
    return writer.finish()


def read_by_the_book(path: Path) -> tuple[str, dict[bytes, bytes]]:
    """Name and objects of a pack, as FORMAT.md tells it."""
    pack = path.read_bytes()
    assert pack[:8] == b"MLOPACK\x01"
    width = {1: 16, 2: 32}[pack[8]]
    assert pack[9:16] == bytes(7)
    length, magic = struct.unpack("<I8s", pack[-12:])
    assert magic == b"MLOPACKE"
    index = pack[-12 - length : -12]
    (count,) = struct.unpack_from("<I", index)
    assert length == 4 + count * (width + 9)
    digests = [index[4 + row * width : 4 + (row + 1) * width] for row in range(count)]
    offsets = struct.unpack_from(f"<{count}I", index, 4 + count * width)
    lengths = struct.unpack_from(f"<{count}I", index, 4 + count * (width + 4))
    assert index[4 + count * (width + 8) :] == bytes(count)
    name = raw_of(index, {16: "xxh128", 32: "blake3"}[width]).hex()
    return name, {digests[row]: pack[offsets[row] : offsets[row] + lengths[row]] for row in range(count)}


@ALGORITHMS
@given(contents=st.lists(st.binary(max_size=50), max_size=60))
def test_a_pack_can_be_read_by_the_book(
    tmp_path_factory: pytest.TempPathFactory, algorithm: str, contents: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("pack") / "p.pack"
    written = write(path, contents, algorithm)
    name, objects = read_by_the_book(path)
    assert name == written.name
    assert objects == {raw_of(data, algorithm): data for data in contents}
    index = read_index(str(path), name, strict=True)
    assert {raw: index.find(raw) for raw in objects} == {raw: (at, n) for raw, at, n in index.rows()}
    assert index.find(bytes(index.width)) is None or bytes(index.width) in objects
    again, size = PackIndex.from_idx(written.to_idx(path.stat().st_size), name)
    assert (again.body(), size) == (written.body(), path.stat().st_size)


def test_objects_can_be_read_while_the_pack_is_written(tmp_path: Path) -> None:
    writer = PackWriter(str(tmp_path / "p"), "xxh128")
    contents = [bytes([number]) * 200_000 for number in range(50)]  # more than the buffer takes
    for data in contents:
        writer.add(raw_of(data, "xxh128"), data)
        assert writer.read(raw_of(data, "xxh128")) == data
    assert [writer.read(raw_of(data, "xxh128")) for data in contents] == contents
    writer.abandon()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def idx(tmp_path: Path) -> tuple[bytes, str]:
    index = write(tmp_path / "p.pack", [b"one", b"two", b"three", b""])
    return index.to_idx((tmp_path / "p.pack").stat().st_size), index.name


def test_an_idx_cut_short_or_with_a_flipped_bit_is_refused(idx: tuple[bytes, str]) -> None:
    data, name = idx
    for length in range(len(data)):
        with pytest.raises(IntegrityError):
            PackIndex.from_idx(data[:length], name)
    for at in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[at] ^= 1 << bit
            if at < 9 or at >= 24:  # between lie zeros that say nothing yet, and the size, which others check
                with pytest.raises((IntegrityError, ProjectError)):
                    PackIndex.from_idx(bytes(flipped), name)
    with pytest.raises(IntegrityError):
        PackIndex.from_idx(data + b"x", name)
    with pytest.raises(IntegrityError, match="name"):
        PackIndex.from_idx(data, "0" * 32)


def crafted(rows: list[tuple[bytes, int, int]], *, flags: bytes | None = None, size: int = 1000) -> tuple[bytes, str]:
    """An `.idx` that is named as it should be and says what no writer says."""
    body = struct.pack("<I", len(rows)) + b"".join(raw for raw, _, _ in rows)
    body += b"".join(struct.pack("<I", at) for _, at, _ in rows) + b"".join(struct.pack("<I", n) for _, _, n in rows)
    body += bytes(len(rows)) if flags is None else flags
    return b"MLOPIDX\x01\x01" + bytes(7) + struct.pack("<Q", size) + body, raw_of(body, "xxh128").hex()


A, B = b"a" * 16, b"b" * 16


@pytest.mark.parametrize(
    ("rows", "flags", "why"),
    [
        ([(B, 16, 1), (A, 17, 1)], None, "out of order"),
        ([(A, 16, 1), (A, 17, 1)], None, "out of order"),
        ([(A, 16, 900), (B, 16, 900)], None, "overlap"),
        ([(A, 16, 10), (B, 25, 10)], None, "overlap"),
        ([(A, 4, 10)], None, "overlap"),
        ([(A, 16, 2**32 - 1)], None, "beyond"),
        ([(A, 2**32 - 1, 1)], None, "beyond"),
        ([(A, 16, 1)], b"\1", "form"),
    ],
    ids=["order", "twice", "bomb", "overlap", "header", "length", "offset", "compressed"],
)
def test_an_idx_that_lies_is_refused(rows: list[tuple[bytes, int, int]], flags: bytes | None, why: str) -> None:
    with pytest.raises(IntegrityError, match=why):
        PackIndex.from_idx(*crafted(rows, flags=flags))


def test_a_count_that_lies_takes_no_memory() -> None:
    data, _ = crafted([(A, 16, 1)])
    body = struct.pack("<I", 2**32 - 1) + data[28:]
    with pytest.raises(IntegrityError, match="rows"):
        PackIndex.from_idx(data[:24] + body, raw_of(body, "xxh128").hex())


def test_a_newer_pack_asks_for_a_newer_mlo(tmp_path: Path, idx: tuple[bytes, str]) -> None:
    data, name = idx
    with pytest.raises(ProjectError, match="version 2"):
        PackIndex.from_idx(data[:7] + b"\2" + data[8:], name)
    pack = (tmp_path / "p.pack").read_bytes()
    (tmp_path / "q").write_bytes(pack[:7] + b"\2" + pack[8:])
    with pytest.raises(ProjectError, match="version 2"):
        read_index(str(tmp_path / "q"), name)


def test_a_pack_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.pack"
    name = write(path, [b"one", b"two"]).name
    whole = path.read_bytes()
    os.chmod(path, 0o644)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(IntegrityError):
            read_index(str(path), name)
    path.write_bytes(whole[:-12] + struct.pack("<I", 2**32 - 1) + whole[-8:])
    with pytest.raises(IntegrityError, match="fit"):
        read_index(str(path), name)


def test_the_name_depends_on_what_is_in_it_and_not_on_the_order(tmp_path: Path) -> None:
    rows = {raw_of(data, "xxh128"): (16 + 3 * at, 3) for at, data in enumerate([b"one", b"two", b"six"])}
    backwards = dict(reversed(rows.items()))
    assert make_index(rows, "xxh128").name == make_index(backwards, "xxh128").name
