"""Bringing what entries need and the store lacks. See FORMAT.md, "Remote".

Trees come first, level by level, then contents: neighbours in a pack in one request, verified while they are at hand.
What does not arrive whole is looked for in every other place that has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mlops_cli.core.base.digest import Digest
from mlops_cli.core.base.progress import Progress
from mlops_cli.core.errors import IntegrityError, MloError, NotFound
from mlops_cli.core.remotes.remote import ShortAnswer
from mlops_cli.core.store.arrivals import bring_large
from mlops_cli.core.store.batch import Run
from mlops_cli.core.store.exchange import (
    THREADS,
    Entries,
    Transfer,
    in_threads,
    name_paths,
    named,
    object_key,
    pack_key,
    raw_of,
    read_format,
)
from mlops_cli.core.store.holdings import Held, Holdings
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.needs import Contents, join, needs_of, read_folder
from mlops_cli.core.store.protocol import ObjectCorrupt
from mlops_cli.core.store.reading import Span, absent_here, faulty_rows, spans
from mlops_cli.core.store.stable import SMALL_BYTES
from mlops_cli.core.store.tree import TreeEntry, item_of
from mlops_cli.core.store.whole import order_if_whole, spans_of_all

LARGE_BYTES = 1 << 20  # above this a loose object goes by file, not through memory
_REQUEST_BYTES = 1 << 23
_FILE_PIECE_BYTES = 1 << 21  # of a remote that is a folder: no request costs, and what is read fits the caches
_UNDER_WAY_BYTES = 6 << 23  # asked for and not yet kept
_BEHIND_BYTES = 1 << 20  # read before a tree: lower trees stand there
_AHEAD_BYTES = 1 << 25  # kept of what came along
Wanted = dict[str, set[bytes]]


class Pull:
    """One pull. `run` once."""

    def __init__(self, store: LocalStore, holdings: Holdings, progress: Progress, *, threads: int = THREADS) -> None:
        self._store = store
        self._holdings = holdings
        self._remote = holdings.remote
        self._progress = progress
        self._threads = threads
        self._looked = False
        self._objects = self._bytes = self._present = 0
        self._failed: dict[str, str] = {}
        self._damaged: set[str] = set()  # keys
        self._bad: dict[str, set[bytes]] = {}  # objects that were met damaged somewhere
        self._ahead: dict[bytes, bytes] = {}
        self._ahead_bytes = 0

    def run(self, entries: Entries) -> Transfer:
        """Raises RemoteError, ProjectError. What came before an error stays."""
        with self._store.batch():
            wanted, total = self._lacking(self._trees(entries))
            if not self._looked:
                read_format(self._remote)  # even if there is nothing to ask: it may be a newer one
            if wanted:
                self._progress.begin(f"pulling from {self._remote.name}", total, "bytes")
                try:
                    self._bring(wanted)
                finally:
                    self._progress.end()
        names = name_paths(self._store, entries, self._failed)
        return Transfer(
            self._objects, self._bytes, self._present, names["missing"], names["corrupt"], sorted(self._damaged)
        )

    def _trees(self, entries: Entries) -> Contents:
        """Bring every tree; the contents that they and the entries name."""
        contents: Contents = {}
        level: list[TreeEntry] = []
        for name, entry in named(entries):
            if entry.kind == "dir":
                level.append(item_of(entry, name.encode("utf-8", "surrogateescape")))
            else:
                algorithm, raw = raw_of(entry.digest)
                contents.setdefault(algorithm, {})[raw] = entry.size
        seen: set[str] = set()
        while level:
            level = [folder for folder in level if not (folder.digest in seen or seen.add(folder.digest))]  # type: ignore[func-returns-value]
            absent: Wanted = {}
            for digest in self._store.missing(folder.digest for folder in level):
                algorithm, raw = raw_of(digest)
                absent.setdefault(algorithm, set()).add(raw)
            self._present += len(level) - sum(len(raws) for raws in absent.values())
            if absent:
                self._bring(absent, trees=True)
            level = [below for folder in level for below in self._open(folder, contents)]
        return contents

    def _open(self, folder: TreeEntry, contents: Contents) -> list[TreeEntry]:
        """The folders in a folder; its contents join the others."""
        try:
            found, folders = read_folder(self._store, folder)
        except NotFound:
            self._failed.setdefault(folder.digest, "missing")
            return []
        except IntegrityError:
            self._failed[folder.digest] = "corrupt"
            return []
        join(contents, folder.digest.partition(":")[0], found)
        return folders

    def _lacking(self, contents: Contents) -> tuple[Wanted, int]:
        """Those that are not here, and their bytes. `contents` is used up, because it may be large."""
        wanted: Wanted = {}
        total = 0
        while contents:
            algorithm, objects = contents.popitem()
            absent = absent_here(self._store, algorithm, objects)
            self._present += len(objects) - len(absent)
            total += sum(objects[raw] for raw in absent)
            if absent:
                wanted[algorithm] = absent
        return wanted, total

    # -- from every place there is -------------------------------------------------------------------------

    def _bring(self, wanted: Wanted, *, trees: bool = False) -> None:
        """Bring objects; what comes is taken out of `wanted`, what does not is noted as failed."""
        self._from_ahead(wanted)
        if not any(wanted.values()):
            return
        if not self._looked:
            self._holdings.look()
            self._looked = True
        self._from_packs(wanted, trees=trees)
        self._from_loose(wanted)
        self._from_packs(wanted, doubtful=True)
        for algorithm, raws in wanted.items():
            bad = self._bad.get(algorithm, set()) | self._holdings.promised(algorithm, raws)
            for raw in raws:
                self._failed[f"{algorithm}:{raw.hex()}"] = "corrupt" if raw in bad else "missing"
        if any(wanted.values()):
            self._damaged |= self._holdings.faulty_keys()

    def _from_ahead(self, wanted: Wanted) -> None:
        """What came along with something else."""
        for algorithm, raws in wanted.items():
            for raw in [raw for raw in self._ahead if raw in raws]:
                data = memoryview(self._ahead.pop(raw))
                self._keep(raws, [Run(algorithm, [raw], [len(data)], data)])

    def _from_packs(self, wanted: Wanted, *, trees: bool = False, doubtful: bool = False) -> None:
        avoid: set[str] = set()
        while any(wanted.values()):
            packs = self._holdings.packs_with(wanted, avoid, doubtful=doubtful)
            if not packs:
                return
            faulty = self._read(packs, wanted, trees=trees, may_be_whole=not (trees or doubtful))
            if not faulty:
                return
            self._damaged |= {pack_key(name) for name in faulty}
            avoid |= faulty

    def _read(self, packs: list[Held], wanted: Wanted, *, trees: bool, may_be_whole: bool) -> set[str]:
        """Read objects out of packs; the packs in which something was not as it should be."""
        faulty: set[str] = set()

        def fetch(span: Span) -> tuple[bytes, list[int]]:
            data = self._remote.get_range(pack_key(span.pack.name), span.start, span.length)
            return data, faulty_rows(span, data)

        asked = self._requests(packs, wanted, trees=trees, may_be_whole=may_be_whole)
        for span, came in in_threads(
            fetch, asked, threads=self._threads, weigh=lambda span: span.length, most=_UNDER_WAY_BYTES
        ):
            index = span.pack
            if isinstance(came, NotFound | ShortAnswer):
                faulty.add(index.name)
                self._bad.setdefault(index.algorithm, set()).update(index.digest_at(row) for row in span.rows)
                continue
            if isinstance(came, MloError):
                raise came
            data, bad = came
            lost = wanted[index.algorithm].intersection(map(index.digest_at, bad))
            if lost:
                faulty.add(index.name)
                self._bad.setdefault(index.algorithm, set()).update(lost)
            self._keep(wanted[index.algorithm], self._runs(span, memoryview(data), set(bad), wanted[index.algorithm]))
        return faulty

    def _requests(self, packs: list[Held], wanted: Wanted, *, trees: bool, may_be_whole: bool) -> Iterator[Span]:
        is_folder = self._remote.local_file(pack_key(packs[0].pack.name)) is not None
        most = _FILE_PIECE_BYTES if is_folder else _REQUEST_BYTES
        for held in packs:
            order = order_if_whole(self._store, held, wanted[held.pack.algorithm]) if may_be_whole else None
            if order is not None:
                yield from spans_of_all(held, order, most=most)
            else:
                rows = _with_neighbours(held) if trees and self._ahead_bytes < _AHEAD_BYTES else held.rows
                yield from spans(held.pack, rows, most=most)

    def _runs(self, span: Span, data: memoryview, bad: set[int], asked: set[bytes]) -> Iterator[Run]:
        """What is good and asked for of a piece, in as few runs as it lies in. Of a pack that is taken whole all counts
        as asked for; what else nobody asked for yet waits in memory."""
        index, whole = span.pack, span.pack if span.whole else None
        raws, lengths = [index.digest_at(row) for row in span.rows], [index.lengths[row] for row in span.rows]
        alone = not bad and sum(lengths) == span.length and max(lengths) <= SMALL_BYTES
        if alone and (span.whole or asked.issuperset(raws)):
            yield Run(index.algorithm, raws, lengths, data, whole)
            return
        first = end = 0  # of the run's rows
        start = stop = 0  # of its bytes
        for number, row in enumerate(span.rows):
            at = index.offsets[row] - span.start
            if row in bad or not (span.whole or raws[number] in asked):
                if row not in bad and raws[number] not in self._ahead:
                    self._ahead[raws[number]] = bytes(data[at : at + lengths[number]])
                    self._ahead_bytes += lengths[number]
                continue
            if number != end or at != stop or max(lengths[number], stop - start) > SMALL_BYTES:
                if first < end:
                    yield Run(index.algorithm, raws[first:end], lengths[first:end], data[start:stop], whole)
                first, start = number, at
            end, stop = number + 1, at + lengths[number]
        if first < end:
            yield Run(index.algorithm, raws[first:end], lengths[first:end], data[start:stop], whole)

    def _keep(self, asked: set[bytes], runs: Iterable[Run]) -> None:
        """Keep verified objects."""
        for run in runs:
            if len(run.raws) == 1 and run.lengths[0] > SMALL_BYTES:
                self._store.put_verified(Digest(run.algorithm, run.raws[0].hex()), bytes(run.data))
            else:
                self._store.put_absent(run)
            mine = asked.intersection(run.raws)
            asked -= mine
            every = len(mine) == len(run.raws)
            size = (
                len(run.data) if every else sum(n for raw, n in zip(run.raws, run.lengths, strict=True) if raw in mine)
            )
            self._count(len(mine), size)

    def _from_loose(self, wanted: Wanted) -> None:
        if not any(wanted.values()):
            return
        found = self._holdings.loose(wanted)
        small = [f"{name}:{raw.hex()}" for name, sizes in found.items() for raw, s in sizes.items() if s <= LARGE_BYTES]
        for digest, data in in_threads(
            lambda digest: self._remote.get(object_key(digest)), small, threads=self._threads
        ):
            self._take(digest, wanted, data)
        for algorithm, sizes in found.items():
            for raw, size in sizes.items():
                if size > LARGE_BYTES:
                    digest = f"{algorithm}:{raw.hex()}"
                    came = bring_large(
                        self._store, self._remote, digest, size, seen=self._progress.advance, threads=self._threads
                    )
                    self._take(digest, wanted, came)

    def _take(self, digest: str, wanted: Wanted, came: bytes | int | MloError) -> None:
        """A loose object that came, or what went wrong. A number is the size of one that is kept already."""
        algorithm, raw = raw_of(digest)
        try:
            if isinstance(came, bytes):
                self._store.put_verified(Digest(algorithm, raw.hex()), came)
                self._count(1, len(came))
            elif isinstance(came, int):
                self._objects += 1
                self._bytes += came
            else:
                raise came
        except NotFound:
            return
        except (ObjectCorrupt, ShortAnswer):
            self._bad.setdefault(algorithm, set()).add(raw)
            self._damaged.add(object_key(digest))
        else:
            wanted[algorithm].discard(raw)

    def _count(self, objects: int, size: int) -> None:
        self._objects += objects
        self._bytes += size
        self._progress.advance(size)


def _with_neighbours(held: Held) -> list[int]:
    """Rows of trees, and those that stand just before them: a push writes lower trees before higher ones."""
    index = held.pack
    wanted = [index.offsets[row] for row in held.rows]
    first, last = max(min(wanted) - _BEHIND_BYTES, 0), max(wanted)
    own = set(held.rows)
    if last - first > _BEHIND_BYTES * 2:
        return sorted(own)
    near = (row for row, offset in enumerate(index.offsets) if first <= offset <= last)
    return sorted(own.union(near))


def dry_pull(store: LocalStore, holdings: Holdings, entries: Entries) -> Transfer:
    """What a pull would bring, as far as that can be told without bringing trees."""
    holdings.look()
    needs = needs_of(store, entries)
    failed: dict[str, str] = {}
    here = 0
    absent: Contents = {}
    for algorithm, wanted in needs.contents.items():
        lacking = absent_here(store, algorithm, wanted)
        here += len(wanted) - len(lacking)
        absent[algorithm] = {raw: wanted[raw] for raw in lacking}
    objects = sum(map(len, absent.values()))
    size = sum(sum(sizes.values()) for sizes in absent.values())
    lost = needs.lost_sizes()
    holdings.subtract_from(absent, lost)
    for algorithm, sizes in absent.items():  # what is left is nowhere
        objects -= len(sizes)
        size -= sum(sizes.values())
        failed.update(dict.fromkeys((f"{algorithm}:{raw.hex()}" for raw in sizes), "missing"))
    for digest, folder in needs.lost.items():
        algorithm, raw = raw_of(digest)
        if raw in lost[algorithm]:
            failed[digest] = "missing"
        else:
            objects += 1 + folder.files
            size += folder.size
    names = name_paths(store, entries, failed)
    return Transfer(objects, size, here + len(needs.trees), names["missing"])
