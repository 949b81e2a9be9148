"""DVC's objects: where they lie, how they are named, and the manifests of folders.

A cache or remote holds `files/md5/ab/cd..` (DVC 3) and `ab/cd..` (before). The second kind is named by the md5 of the
text with LF line ends, if the file looks like text.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from mlops_cli.core.base.digest import Hasher
from mlops_cli.core.data.dvc_files import ObjectName
from mlops_cli.core.errors import IntegrityError
from mlops_cli.core.store.tree import MAX_DEPTH, forbidden_name

_CHUNK_BYTES = 1 << 20  # DVC's own; where a CRLF falls on its border, the name depends on it
_LOOK_BYTES = 512
_TEXT = bytes(range(32, 127)) + b"\n\r\t\f\b"
_NAME_BYTES = 255
_HINT = "the manifest was altered; run dvc fetch where it is good"


def keys(name: ObjectName) -> list[tuple[str, bool]]:
    """Where an object may lie below a cache or remote, the likelier place first, and whether that is the old layout."""
    old, new = f"{name.md5[:2]}/{name.md5[2:]}", f"files/md5/{name.md5[:2]}/{name.md5[2:]}"
    return [(old, True), (new, False)] if name.legacy else [(new, False), (old, True)]


class Md5:
    """The names that DVC may have given to some bytes: plain, and as text, by each chunk or by the first one."""

    def __init__(self) -> None:
        self._plain = self._chunked = self._first = hashlib.md5(usedforsecurity=False)
        self._is_text: bool | None = None
        self._differs = False

    def update(self, chunk: bytes) -> None:
        """Chunks of 1 MiB, the last one shorter."""
        text = _looks_like_text(chunk[:_LOOK_BYTES])
        if self._is_text is None:
            self._is_text = text
        if not self._differs and b"\r\n" in chunk and (text or self._is_text):
            self._differs = True
            self._chunked, self._first = self._plain.copy(), self._plain.copy()
        if self._differs:
            unix = chunk.replace(b"\r\n", b"\n")
            self._chunked.update(unix if text else chunk)
            self._first.update(unix if self._is_text else chunk)
        self._plain.update(chunk)

    def is_named(self, name: ObjectName) -> bool:
        """Whether these bytes may bear that name. Objects from before DVC 3 may also be named by their plain md5."""
        wanted = name.md5.removesuffix(".dir")
        if self._plain.hexdigest() == wanted:
            return True
        return name.legacy and self._differs and wanted in (self._chunked.hexdigest(), self._first.hexdigest())

    @property
    def plain(self) -> str:
        return self._plain.hexdigest()

    @property
    def text(self) -> str:
        return self._chunked.hexdigest() if self._differs else self.plain


def md5_bytes(data: bytes) -> Md5:
    state = Md5()
    for start in range(0, len(data), _CHUNK_BYTES):
        state.update(data[start : start + _CHUNK_BYTES])
    return state


def md5_file(path: str | bytes | Path, *, beside: Hasher | None = None) -> Md5:
    """A file read through; `beside` is updated with the same bytes. Raises OSError."""
    state = Md5()
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(_CHUNK_BYTES):
            while len(chunk) < _CHUNK_BYTES and (more := file.read(_CHUNK_BYTES - len(chunk))):
                chunk += more
            state.update(chunk)
            if beside is not None:
                beside.update(chunk)
    return state


def parse_manifest(data: bytes, legacy: bool, where: str) -> list[tuple[bytes, ObjectName]]:
    """A `.dir` object: the files of a folder by their path in it. Raises IntegrityError for what would leave it."""
    try:
        rows = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{where}: its manifest is not JSON: {error}", hint=_HINT) from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise IntegrityError(f"{where}: its manifest is no list of files", hint=_HINT)
    pairs = []
    for row in rows:
        md5, path = row.get("md5"), row.get("relpath")
        if not isinstance(md5, str) or len(md5) != 32 or not set(md5) <= set("0123456789abcdef"):
            raise IntegrityError(f"{where}: its manifest names {str(md5)[:80]!r}, which is no md5", hint=_HINT)
        if not isinstance(path, str):
            raise IntegrityError(f"{where}: its manifest has a file without a path", hint=_HINT)
        pairs.append((path, ObjectName(md5, legacy)))
    return checked_files(pairs, where)


def checked_files(pairs: Iterable[tuple[str, ObjectName]], where: str) -> list[tuple[bytes, ObjectName]]:
    """Files of a folder, if a tree can hold them: no way out, nothing of git's or mlo's, no name twice."""
    files: dict[bytes, ObjectName] = {}
    folders: set[bytes] = set()
    for written, name in pairs:
        path = os.fsencode(written)
        parts = path.split(b"/")
        if len(parts) > MAX_DEPTH or any(forbidden_name(part) or len(part) > _NAME_BYTES for part in parts):
            raise IntegrityError(f"{where}: its manifest names {written[:200]!r}, which no folder holds", hint=_HINT)
        if path in files:
            raise IntegrityError(f"{where}: its manifest names {written[:200]!r} twice", hint=_HINT)
        files[path] = name
        folders.update(b"/".join(parts[:depth]) for depth in range(1, len(parts)))
    both = folders & files.keys()
    if both:
        raise IntegrityError(f"{where}: {os.fsdecode(min(both))!r} is a file and a folder in its manifest", hint=_HINT)
    return list(files.items())


def manifest_md5(files: Iterable[tuple[str, str]]) -> str:
    """The name DVC gives to a folder of these (path, md5): it can be told without the manifest itself."""
    rows = [{"md5": md5, "relpath": path} for path, md5 in sorted(files)]
    return hashlib.md5(json.dumps(rows, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def _looks_like_text(block: bytes) -> bool:
    """DVC's guess: no NUL, and at most three in ten bytes that are not printable ASCII."""
    return b"\0" not in block and (not block or len(block.translate(None, _TEXT)) / len(block) <= 0.30)
