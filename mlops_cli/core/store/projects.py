"""The projects of a shared cache: `projects/<id>.json`, one each, so that a collection of garbage can ask them all."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import msgspec

from mlops_cli.core.base import durable
from mlops_cli.core.base.files import machine_errors, write_atomic
from mlops_cli.core.errors import IntegrityError, NotFound, ProjectError
from mlops_cli.core.store.loose import listing

VERSION = 1
FOLDER = "projects"


class Member(msgspec.Struct, frozen=True):
    """A project that keeps objects in a shared cache: its clone's id, its folder, and the machine that calls it so."""

    id: str
    root: str
    host: str
    name: str
    version: int = VERSION

    @property
    def title(self) -> str:
        return f"{self.name} ({self.root}{f' on {self.host}' if self.host != socket.gethostname() else ''})"


def join(cache: Path, clone: str, root: Path, name: str) -> None:
    """Enter a project, if it is not there as it is."""
    member = Member(clone, str(root.resolve()), socket.gethostname(), name)
    path = _path(cache, member)
    data = msgspec.json.encode(member) + b"\n"
    with machine_errors(f"cannot write to the cache {cache}"):
        try:
            if path.read_bytes() == data:
                return
        except FileNotFoundError:
            durable.make_folders(str(path.parent))
        write_atomic(path, data)


def members(cache: Path) -> list[Member]:
    """Every project of a cache, by folder. Raises IntegrityError for an entry that does not read."""
    found = []
    for name in listing(os.path.join(cache, FOLDER)):
        if name.endswith(".json"):
            path = cache / FOLDER / name
            try:
                member = msgspec.json.decode(path.read_bytes(), type=Member)
            except FileNotFoundError:
                continue
            except msgspec.MsgspecError as error:
                raise IntegrityError(
                    f"{path} names a project of this cache, but does not read: {error}",
                    hint="nothing was deleted; remove that file if you know that no project needs this cache but yours",
                ) from None
            if member.version > VERSION or name != f"{member.id}.json":
                raise ProjectError(
                    f"{path} has version {member.version} and id {member.id}; this mlo does not read that",
                    hint="upgrade mlo: pip install --upgrade mlops-cli",
                )
            found.append(member)
    return sorted(found, key=lambda member: (member.root, member.host))


def forget(cache: Path, root: str) -> Member:
    """Take a project out that is gone for good. Raises NotFound, naming those there are."""
    known = members(cache)
    wanted = {root.rstrip("/"), str(Path(root).absolute()), str(Path(root).resolve())}
    for member in known:
        if member.root in wanted:
            with machine_errors(f"cannot write to the cache {cache}"):
                _path(cache, member).unlink(missing_ok=True)
            return member
    there = ", ".join(member.root for member in known) or "none"
    raise NotFound(f"no project in {root} is known to the cache {cache}", hint=f"it knows {there}")


def _path(cache: Path, member: Member) -> Path:
    return cache / FOLDER / f"{member.id}.json"
