"""What pushing and pulling share: what moved, the keys of a remote, its format, threads that stay few."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import msgspec

from mlops_cli.core.errors import MloError, NotFound, ProjectError
from mlops_cli.core.remotes.remote import Remote

VERSION = 1
THREADS = 16
_WINDOW = 64  # results that may wait to be read
Item = TypeVar("Item")
Result = TypeVar("Result")


class Transfer(msgspec.Struct, frozen=True):
    """What moved. `present` objects were there already; `missing` and `corrupt` name the paths that could not move."""

    objects: int = 0
    bytes: int = 0
    present: int = 0
    missing: list[str] = []
    corrupt: list[str] = []

    def __add__(self, other: Transfer) -> Transfer:
        return Transfer(
            self.objects + other.objects,
            self.bytes + other.bytes,
            self.present + other.present,
            [*self.missing, *other.missing],
            [*self.corrupt, *other.corrupt],
        )


def object_key(digest: str) -> str:
    algorithm, _, hexadecimal = digest.partition(":")
    return f"objects/{algorithm}/{hexadecimal[:2]}/{hexadecimal[2:]}"


def check_format(remote: Remote, *, write: bool) -> None:
    """Refuse a remote that a newer mlo wrote; name the format on one that is empty.

    Raises ProjectError, RemoteError."""
    try:
        text = remote.get("VERSION").strip()
    except NotFound:
        if write:
            remote.put("VERSION", b"%d\n" % VERSION)
        return
    if not text.isdigit() or int(text) > VERSION:
        raise ProjectError(
            f"remote {remote.name} ({remote.url}) has format {text.decode(errors='replace')[:16]!r}; "
            f"this mlo knows {VERSION}",
            hint="upgrade mlo: pip install --upgrade mlops-cli",
        )


def in_threads(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result | MloError]]:
    """Run `work` on a few threads; each item with its result or MloError, in order, few ahead of the reader."""

    def attempt(item: Item) -> Result | MloError:
        try:
            return work(item)
        except MloError as error:
            return error

    with ThreadPoolExecutor(THREADS) as pool:
        waiting: deque[tuple[Item, Future[Result | MloError]]] = deque()
        try:
            for item in items:
                waiting.append((item, pool.submit(attempt, item)))
                if len(waiting) >= _WINDOW:
                    first, future = waiting.popleft()
                    yield first, future.result()
            for item, future in waiting:
                yield item, future.result()
        finally:
            for _, future in waiting:
                future.cancel()
