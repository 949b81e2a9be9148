"""Looking at a remote from outside, and standing between it and who uses it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from mlops_cli.core.base.digest import digest_bytes
from mlops_cli.core.remotes.remote import Remote
from mlops_cli.core.store.exchange import idx_key, object_key, pack_key
from mlops_cli.core.store.pack import PackIndex


class Watched:
    """A remote whose calls are counted; `before` is called with each one's name and first argument, and may raise."""

    def __init__(self, remote: Remote, before: Callable[[str, str], None] = lambda name, key: None) -> None:
        self._remote = remote
        self._before = before
        self.calls: list[tuple[str, str]] = []

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._remote, name)
        if not callable(value) or name == "local_file":
            return value

        def call(*arguments: Any) -> Any:
            key = str(arguments[0]) if arguments else ""
            self.calls.append((name, key))
            self._before(name, key)
            return value(*arguments)

        return call

    @property
    def requests(self) -> Counter[str]:
        """How many of each that a bucket would bill; settling is none."""
        return Counter(name for name, _ in self.calls if name != "settle")


def packs_on(remote: Remote) -> dict[str, PackIndex]:
    """The packs that a remote announces, by name."""
    names = [key[len("packs/") : -len(".idx")] for key in remote.list("packs/") if key.endswith(".idx")]
    return {name: PackIndex.from_idx(remote.get(idx_key(name)), name)[0] for name in names}


def objects_on(remote: Remote) -> dict[str, bytes]:
    """Every object that can be had from a remote: digest -> bytes, each checked against its digest."""
    found = {}
    for name, index in packs_on(remote).items():
        data = remote.get(pack_key(name))
        for raw, offset, length in index.rows():
            found[f"{index.algorithm}:{raw.hex()}"] = data[offset : offset + length]
    for key in remote.list("objects/"):
        _, algorithm, head, rest = key.split("/")
        found[f"{algorithm}:{head}{rest}"] = remote.get(key)
    for digest, data in found.items():
        assert str(digest_bytes(data, digest.partition(":")[0])) == digest
    return found


def spoil(
    remote: Remote, digest: str, change: Callable[[bytes], bytes] = lambda data: bytes([data[0] ^ 1]) + data[1:]
) -> str:
    """Change an object's bytes where they lie, without changing how many there are; the key that holds them."""
    for name, index in packs_on(remote).items():
        place = index.find(bytes.fromhex(digest.partition(":")[2]))
        if place is not None:
            offset, length = place
            data = remote.get(pack_key(name))
            changed = change(data[offset : offset + length])
            assert len(changed) == length
            remote.put(pack_key(name), data[:offset] + changed + data[offset + length :])
            return pack_key(name)
    remote.put(object_key(digest), change(remote.get(object_key(digest))))
    return object_key(digest)


def cut_short(remote: Remote, key: str, by: int = 1) -> None:
    remote.put(key, remote.get(key)[:-by])


def lay_out_old(remote: Remote, objects: dict[str, bytes]) -> None:
    """A remote as version 1 wrote it: every object a value of its own."""
    remote.put("VERSION", b"1\n")
    for digest, data in objects.items():
        remote.put(object_key(digest), data)
