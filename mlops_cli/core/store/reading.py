"""Reading many objects out of packs: in the order they lie there, neighbours in one piece, each verified."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mlops_cli.core.base.digest import Digest, hex_function, raw_function
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.pack import PackIndex
from mlops_cli.core.store.packs import Place
from mlops_cli.core.store.protocol import ObjectCorrupt, ObjectMissing

GAP_BYTES = 1 << 16  # reading over a gap of that size costs less than another request
_PIECE_BYTES = 1 << 22
_ASKED = 64  # objects that are looked for one by one


class Span(NamedTuple):
    """A piece of a pack, and the rows of it that are wanted, in the order they lie in it.

    `whole`: it is one of several that together are all objects of the pack."""

    pack: PackIndex
    start: int
    length: int
    rows: list[int]
    whole: bool = False


def spans(index: PackIndex, rows: Iterable[int], *, most: int, gap: int = GAP_BYTES) -> Iterator[Span]:
    """Join wanted rows to pieces of at most `most` bytes, or of one object."""
    offsets, lengths = index.offsets, index.lengths
    start = end = -1
    piece: list[int] = []
    for row in sorted(rows, key=offsets.__getitem__):
        offset = offsets[row]
        until = offset + lengths[row]
        if piece and (offset - end > gap or until - start > most):
            yield Span(index, start, end - start, piece)
            piece = []
        if not piece:
            start, end = offset, until
        end = max(end, until)
        piece.append(row)
    if piece:
        yield Span(index, start, end - start, piece)


def cut(span: Span, data: bytes) -> Iterator[tuple[int, bytes | None]]:
    """Each wanted row of a piece with its bytes, None where they are not those its digest names."""
    index, start = span.pack, span.start
    wanted = hex_function(index.algorithm)
    for row in span.rows:
        at = index.offsets[row] - start
        found = data[at : at + index.lengths[row]]
        yield row, found if wanted(found) == index.digest_at(row).hex() else None


def faulty_rows(span: Span, data: bytes) -> list[int]:
    """The wanted rows of a piece whose bytes are not those their digests name."""
    index, start, view = span.pack, span.start, memoryview(data)
    offsets, lengths, digests, width = index.offsets, index.lengths, index.digests, index.width
    raw_of = raw_function(index.algorithm)
    return [
        row
        for row in span.rows
        if raw_of(view[(at := offsets[row] - start) : at + lengths[row]]) != digests[row * width : (row + 1) * width]
    ]


def read_in_order(
    store: LocalStore, algorithm: str, raws: Iterable[bytes]
) -> Iterator[tuple[bytes, bytes | ObjectCorrupt | ObjectMissing]]:
    """Objects of the cache, verified, in the order that is cheapest to read: (raw digest, bytes or what is wrong)."""
    packed, rest = store.packs.rows_of(algorithm, raws)
    for index, rows in packed:
        for span in spans(index, rows, most=_PIECE_BYTES):
            data = b""
            with contextlib.suppress(FileNotFoundError):  # packed anew meanwhile
                data = store.packs.read(Place(index, span.start, span.length))
            for row, found in cut(span, data):
                raw = index.digest_at(row)
                # What is damaged here may be good in another place.
                yield raw, found if found is not None else _read(store, algorithm, raw)
    for raw in rest:
        yield raw, _read(store, algorithm, raw)


def _read(store: LocalStore, algorithm: str, raw: bytes) -> bytes | ObjectCorrupt | ObjectMissing:
    try:
        return store.read(Digest(algorithm, raw.hex()))
    except (ObjectCorrupt, ObjectMissing) as error:
        return error


def absent_here(store: LocalStore, algorithm: str, raws: Iterable[bytes]) -> set[bytes]:
    """Those that the cache lacks, from tables and listings."""
    rest = store.packs.rows_of(algorithm, raws)[1]
    unlisted = [raw for raw in rest if not store.loose.may_hold(f"{algorithm}:{raw.hex()}")]
    if len(unlisted) > _ASKED:
        store.packs.rescan()
        return set(store.packs.rows_of(algorithm, unlisted)[1])
    # A listing may be older than the object: ask for the few.
    return {raw for raw in unlisted if store.size(f"{algorithm}:{raw.hex()}") is None}
