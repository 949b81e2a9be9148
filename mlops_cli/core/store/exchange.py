"""What pushing and pulling share: what moved, the keys of a remote, its format, threads that stay few."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import msgspec

from mlops_cli.core.base.digest import Digest
from mlops_cli.core.base.names import name_some
from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import IntegrityError, MloError, NotFound, ProjectError
from mlops_cli.core.remotes.remote import Remote
from mlops_cli.core.store.tree import DIR, Readable, read_tree

VERSION = 2
LOOSE_ONLY = 1  # the version of remotes without packs, which are read as they are
THREADS = 16
PACKS = "packs/"
Item = TypeVar("Item")
Result = TypeVar("Result")
Entries = Mapping[str, Entry] | Iterable[Entry]


class Forgeable(ProjectError):
    """Other bytes can be made for a digest, and the remote is one where somebody might put them."""

    code = "forgeable"


class Transfer(msgspec.Struct, frozen=True):
    """What moved. `present` objects were there already; `missing` and `corrupt` name the paths that could not move.

    `damaged_keys` are values on the remote that turned out damaged.
    """

    objects: int = 0
    bytes: int = 0
    present: int = 0
    missing: list[str] = []
    corrupt: list[str] = []
    damaged_keys: list[str] = []

    def __add__(self, other: Transfer) -> Transfer:
        return Transfer(
            self.objects + other.objects,
            self.bytes + other.bytes,
            self.present + other.present,
            [*self.missing, *other.missing],
            [*self.corrupt, *other.corrupt],
            sorted({*self.damaged_keys, *other.damaged_keys}),
        )


def may_pass(remote: Remote, digest: str) -> bool:
    """Whether an object may go to a remote and come from it: at one that is shared, digests must withstand attackers.

    For a folder that goes for all below it, since a tree has digests of its own algorithm only.
    """
    return not remote.is_shared or digest.startswith("blake3:")


def refuse_forgeable(remote: Remote, entries: Entries) -> None:
    """Raises Forgeable, naming the entries that may not pass."""
    weak = sorted(name for name, entry in named(entries) if not may_pass(remote, entry.digest))
    if weak:
        raise Forgeable(
            f"remote {remote.name} is `trust: shared`, and these have digests that find accidents and not attackers: "
            f"{name_some(weak)}",
            hint="with `hash: blake3` in mlo.yaml, `mlo data add` data again and `mlo run --force` for outputs; "
            "or say `trust: private`",
        )


def object_key(digest: str) -> str:
    algorithm, _, hexadecimal = digest.partition(":")
    return f"objects/{algorithm}/{hexadecimal[:2]}/{hexadecimal[2:]}"


def pack_key(name: str) -> str:
    return f"{PACKS}{name}.pack"


def idx_key(name: str) -> str:
    return f"{PACKS}{name}.idx"


def raw_of(digest: str) -> tuple[str, bytes]:
    """Algorithm and raw digest. Raises IntegrityError for what is no digest."""
    name = Digest.parse(digest)
    return name.algorithm, bytes.fromhex(name.hex)


def named(entries: Entries) -> list[tuple[str, Entry]]:
    if isinstance(entries, Mapping):
        return list(entries.items())
    return [(entry.digest, entry) for entry in entries]


def read_format(remote: Remote) -> int:
    """The version of what lies on a remote, 0 if nothing does. Raises ProjectError for a newer one, RemoteError."""
    try:
        text = remote.get("VERSION").strip()
    except NotFound:
        return 0
    if not text.isdigit() or int(text) > VERSION:
        raise ProjectError(
            f"remote {remote.name} ({remote.url}) has format {text.decode(errors='replace')[:16]!r}; "
            f"this mlo knows {VERSION}",
            hint="upgrade mlo: pip install --upgrade mlops-cli",
        )
    return int(text)


def write_format(remote: Remote) -> None:
    """Before the first pack goes there: an older mlo has to refuse what it would not see."""
    remote.put("VERSION", b"%d\n" % VERSION)


def in_threads(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    threads: int = THREADS,
    weigh: Callable[[Item], int] = lambda _: 1,
    most: int = 64,
) -> Iterator[tuple[Item, Result | MloError]]:
    """Run `work` on a few threads; each item with its result or MloError, in order.

    What is under way or waits to be read weighs at most `most`, or is one item.
    """

    def attempt(item: Item) -> Result | MloError:
        try:
            return work(item)
        except MloError as error:
            return error

    with ThreadPoolExecutor(max(threads, 1)) as pool:
        waiting: deque[tuple[Item, int, Future[Result | MloError]]] = deque()
        load = 0
        try:
            for item in items:
                weight = weigh(item)
                while waiting and load + weight > most:
                    first, its, future = waiting.popleft()
                    load -= its
                    yield first, future.result()
                waiting.append((item, weight, pool.submit(attempt, item)))
                load += weight
            while waiting:
                first, _, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, _, future in waiting:
                future.cancel()


def name_paths(store: Readable, entries: Entries, failed: Mapping[str, str]) -> dict[str, list[str]]:
    """The paths at which digests that failed are met, by the word they failed with. Names cost memory, so they are
    made up only once something failed. A folder that cannot be read ends the search there."""
    found: dict[str, list[str]] = {word: [] for word in ("missing", "corrupt")}
    for name, entry in named(entries) if failed else ():
        stack = [(name, entry)]
        while stack:
            path, here = stack.pop()
            if here.digest in failed:
                found[failed[here.digest]].append(path)
                continue
            if here.kind != "dir":
                continue
            try:
                below = read_tree(store, here)
            except (NotFound, IntegrityError):
                continue
            prefix = f"{path}/"
            stack += [
                (prefix + _text(item.name), item.entry) for item in below if item.mode == DIR or item.digest in failed
            ]
    return {word: sorted(paths) for word, paths in found.items()}


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
