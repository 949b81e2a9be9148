"""Digests: the names of bytes. `xxh128:<32 hex>` or `blake3:<64 hex>`; the algorithm is always written.

xxh128 finds accidents, not attackers. Keys (run cache, events) and registered model files use sha256.
"""

from __future__ import annotations

import functools
import hashlib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

from mlops_cli.core.errors import IntegrityError

BLOCK_BYTES = 1 << 20
HEX_DIGITS = {"xxh128": 32, "blake3": 64}
NUMBERS = {"xxh128": 1, "blake3": 2}  # what trees and packs write for them
_HEX = re.compile(r"[0-9a-f]+")


class Hasher(Protocol):
    def update(self, data: Any, /) -> Any: ...
    def hexdigest(self) -> str: ...


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """The name of some bytes. Raises IntegrityError if the algorithm or the length is wrong."""

    algorithm: str
    hex: str

    def __post_init__(self) -> None:
        if len(self.hex) != HEX_DIGITS.get(self.algorithm) or not _HEX.fullmatch(self.hex):
            raise IntegrityError(
                f"{self.algorithm}:{self.hex} is not a digest",
                hint="a digest is xxh128:<32 hex digits> or blake3:<64 hex digits>",
            )

    @classmethod
    def parse(cls, text: str) -> Digest:
        algorithm, _, hexadecimal = text.partition(":")
        return cls(algorithm, hexadecimal)

    @property
    def short(self) -> str:
        """For people: `xxh128:3f2a91c0…`."""
        return f"{self.algorithm}:{self.hex[:8]}…"

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


def hasher(algorithm: str) -> Hasher:
    """A fresh hasher. The libraries are imported here so that start-up stays free of them."""
    if algorithm == "xxh128":
        import xxhash

        return xxhash.xxh3_128()
    if algorithm == "blake3":
        import blake3

        return blake3.blake3()
    raise IntegrityError(f"{algorithm} is not a digest algorithm", hint="use xxh128 or blake3")


@functools.cache
def hex_function(algorithm: str) -> Callable[[bytes], str]:
    """The hex digest of some bytes, for loops over many small ones. Raises IntegrityError."""
    if algorithm == "xxh128":
        import xxhash

        return xxhash.xxh3_128_hexdigest
    return lambda data: hasher(algorithm).update(data).hexdigest()


@functools.cache
def raw_function(algorithm: str) -> Callable[[bytes | memoryview], bytes]:
    """The raw digest of some bytes, likewise. Raises IntegrityError."""
    if algorithm == "xxh128":
        import xxhash

        return xxhash.xxh3_128_digest
    if algorithm == "blake3":
        import blake3

        return lambda data: blake3.blake3(data).digest()
    raise IntegrityError(f"{algorithm} is not a digest algorithm", hint="use xxh128 or blake3")


def digest_bytes(data: bytes | memoryview, algorithm: str) -> Digest:
    state = hasher(algorithm)
    state.update(data)
    return Digest(algorithm, state.hexdigest())


def digest_file(path: Path, algorithm: str, *, seen: Callable[[int], None] | None = None) -> Digest:
    """Digest of a file's bytes; `seen` is called with the size in bytes of each block read."""
    state = hasher(algorithm)
    with path.open("rb", buffering=0) as file:
        while block := file.read(BLOCK_BYTES):
            state.update(block)
            if seen is not None:
                seen(len(block))
    return Digest(algorithm, state.hexdigest())


def sha256_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(document: Any) -> bytes:
    """One spelling for one value: keys sorted, no spaces, UTF-8, whole floats keep their point.

    Raises ValueError for NaN and infinities, which JSON cannot say.
    """
    encoded = msgspec.json.encode(document, order="deterministic")
    if b"null" in encoded:
        _refuse_not_finite(msgspec.to_builtins(document))
    return encoded


def _refuse_not_finite(value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} has no canonical JSON form")
    if isinstance(value, dict):
        for item in value.values():
            _refuse_not_finite(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_not_finite(item)


def key_of(document: Any) -> str:
    """sha256 of the canonical JSON: keys of the run cache, idempotency keys, event names."""
    return sha256_bytes(canonical_json(document))
