"""One preflight of a remote: where it is, as whom mlo comes there, and what of all that mlo needs is missing."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable

import msgspec

from mlops_cli.core.errors import IntegrityError, MloError
from mlops_cli.core.remotes.remote import Fact, Remote, Unsupported


class Step(msgspec.Struct, frozen=True):
    """One thing tried. `ok` is None where the backend does not offer it, which is no failure."""

    name: str
    ok: bool | None
    detail: str = ""
    hint: str = ""


class RemoteCheck(msgspec.Struct, frozen=True):
    """`facts` are endpoint, identity and the like; `problem` is what mlo cannot do, None if nothing."""

    name: str
    url: str
    steps: tuple[Step, ...]
    facts: tuple[Fact, ...] = ()
    problem: str | None = None

    @property
    def ok(self) -> bool:
        return all(step.ok is not False for step in self.steps)


def check_remote(remote: Remote) -> RemoteCheck:
    """Try everything mlo needs of a remote, on keys of its own that it removes again. Never raises for the remote."""
    preflight = _Preflight(remote)
    steps: list[Step] = []
    problem: str | None = None
    for name, verb, attempt in preflight.steps:
        if problem is not None:
            steps.append(Step(name, None, "not tried"))
            continue
        try:
            steps.append(Step(name, True, attempt()))
        except Unsupported as error:
            steps.append(Step(name, None, error.message, error.hint or ""))
        except MloError as error:
            steps.append(Step(name, False, error.message, error.hint or ""))
            problem = f"mlo cannot {verb}"
    preflight.clean_up()
    return RemoteCheck(remote.name, remote.url, tuple(steps), tuple(preflight.facts), problem)


class _Preflight:
    """The steps. Each answers a detail if it went well and raises an MloError if not."""

    def __init__(self, remote: Remote) -> None:
        token = secrets.token_hex(8)
        self.remote = remote
        self.facts: list[Fact] = []
        self._key, self._once = f"check/{token}", f"check/{token}-once"
        self._data = secrets.token_bytes(4096)
        self._is_written = False

    @property
    def steps(self) -> list[tuple[str, str, Callable[[], str]]]:
        """Each step's name, what mlo cannot do where it fails, and what it does."""
        return [
            ("identity", "go there", self._identify),
            ("reach and list", "reach or list it", self._reach),
            ("write", "write", self._write),
            ("read back", "read from it", self._read_back),
            ("read a part", "read a part of a value", self._read_part),
            ("delete", "delete", self._delete),
            ("create if absent", "create conditionally", self._create_once),
        ]

    def clean_up(self) -> None:
        for leftover in (self._key, self._once) if self._is_written else ():
            with contextlib.suppress(MloError):
                self.remote.delete(leftover)

    def _identify(self) -> str:
        self.facts = self.remote.facts()
        return next((fact.value for fact in self.facts if fact.name == "identity"), "")

    def _reach(self) -> str:
        next(iter(self.remote.list("check/")), None)
        return ""

    def _write(self) -> str:
        self.remote.put(self._key, self._data)
        self._is_written = True
        return f"{len(self._data)} bytes"

    def _read_back(self) -> str:
        if not self._is_written:  # a remote that is only read has to have something to read
            return f"VERSION is {self.remote.get('VERSION').strip().decode(errors='replace')[:16]}"
        if self.remote.get(self._key) != self._data:
            raise IntegrityError("what came back is not what was written", hint="check the disk or the proxy between")
        if dict(self.remote.sizes("check/")).get(self._key) != len(self._data):
            raise IntegrityError("its listing does not show what was written", hint="use a backend that lists at once")
        return ""

    def _read_part(self) -> str:
        if not self._is_written:
            self.remote.get_range("VERSION", 0, 1)
        elif self.remote.get_range(self._key, 1000, 96) != self._data[1000:1096]:
            raise IntegrityError("a part of the value came back wrong", hint="check the disk or the proxy between")
        return ""

    def _delete(self) -> str:
        self.remote.delete(self._key)
        if self.remote.exists(self._key):
            raise IntegrityError("a deleted key is still there", hint="check the bucket's versioning and permissions")
        return ""

    def _create_once(self) -> str:
        if not self.remote.put_if_absent(self._once, self._data) or self.remote.put_if_absent(self._once, b"second"):
            raise IntegrityError("two writers were both told they were first", hint="do not keep a registry there")
        return "it can hold the registry"
