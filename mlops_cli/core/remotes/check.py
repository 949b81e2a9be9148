"""One preflight of a remote: can mlo reach it, list, write, read back, delete; and can it create conditionally."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable

import msgspec

from mlops_cli.core.errors import IntegrityError, MloError
from mlops_cli.core.remotes.remote import Remote, Unsupported


class Step(msgspec.Struct, frozen=True):
    """One thing tried. `ok` is None where the backend does not offer it, which is no failure."""

    name: str
    ok: bool | None
    detail: str = ""


class RemoteCheck(msgspec.Struct, frozen=True):
    name: str
    url: str
    steps: tuple[Step, ...]

    @property
    def ok(self) -> bool:
        return all(step.ok is not False for step in self.steps)


def check_remote(remote: Remote) -> RemoteCheck:
    """Try everything mlo needs of a remote, on keys of its own that it removes again. Never raises for the remote."""
    token = secrets.token_hex(8)
    key, once = f"check/{token}", f"check/{token}-once"
    steps: list[Step] = []
    for name, attempt in _attempts(remote, key, once):
        if any(step.ok is False for step in steps):
            steps.append(Step(name, None, "not tried"))
            continue
        try:
            steps.append(Step(name, True, attempt()))
        except Unsupported as error:
            steps.append(Step(name, None, error.message))
        except MloError as error:
            steps.append(Step(name, False, f"{error.message}{f' (hint: {error.hint})' if error.hint else ''}"))
    for leftover in (key, once):
        with contextlib.suppress(MloError):
            remote.delete(leftover)
    return RemoteCheck(remote.name, remote.url, tuple(steps))


def _attempts(remote: Remote, key: str, once: str) -> list[tuple[str, Callable[[], str]]]:
    """Each step's name, and what it does: a detail if it went well, an MloError if not."""
    data = secrets.token_bytes(4096)

    def reach() -> str:
        next(iter(remote.list("check/")), None)
        return ""

    def write() -> str:
        remote.put(key, data)
        return f"{len(data)} bytes"

    def read_back() -> str:
        if remote.get(key) != data:
            raise IntegrityError("what came back is not what was written", hint="check the disk or the proxy between")
        return ""

    def delete() -> str:
        remote.delete(key)
        if remote.exists(key):
            raise IntegrityError("a deleted key is still there", hint="check the bucket's versioning and permissions")
        return ""

    def create_once() -> str:
        if not remote.put_if_absent(once, data) or remote.put_if_absent(once, b"second"):
            raise IntegrityError("two writers were both told they were first", hint="do not keep a registry there")
        return "it can hold the registry"

    return [
        ("reach and list", reach),
        ("write", write),
        ("read back", read_back),
        ("delete", delete),
        ("create if absent", create_once),
    ]
