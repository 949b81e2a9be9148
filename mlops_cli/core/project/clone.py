"""Which clone of a project this is: an id that caches and remotes know it by, wherever it is moved."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

import msgspec

from mlops_cli.core.base.files import machine_errors, write_atomic

VERSION = 1


class Clone(msgspec.Struct, frozen=True):
    """`.mlo/clone`. `inode` is that of `.mlo`: a folder that was copied has another one, one that was moved has not."""

    id: str
    inode: int
    version: int = VERSION


def clone_id(private: Path) -> str:
    """The id of the clone whose `.mlo` is `private`; made if there is none, or if that is a copy's."""
    with machine_errors(f"cannot write {private}"):
        private.mkdir(parents=True, exist_ok=True)
        known = known_clone(private)
        if known is not None:
            return known
        made = Clone(secrets.token_hex(16), os.stat(private).st_ino)
        path = private / "clone"
        temporary = private / f"clone.{made.id}"
        write_atomic(temporary, msgspec.json.encode(made) + b"\n")
        try:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()  # of the folder this one was copied from
            # Two at once: the second finds the first's, and takes that.
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return known_clone(private) or made.id


def known_clone(private: Path) -> str | None:
    """The id of the clone whose `.mlo` is `private`, if it has one of its own."""
    try:
        clone = msgspec.json.decode((private / "clone").read_bytes(), type=Clone)
        return clone.id if clone.inode == os.stat(private).st_ino else None
    except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
        return None
