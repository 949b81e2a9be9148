"""The spool: what a script logs, appended to a file of its own. No database, no network, nothing to lose.

Each record is one write to a file opened for appending, so that whatever was logged before a kill is on disk,
and two threads never tear each other's frames. A fork or another process gets a file of its own.
The bytes are described in FORMAT.md.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mlops_cli.core.base.files import machine_errors, safe_join
from mlops_cli.core.base.records import Entry, Logged, LoggedModel, Metric
from mlops_cli.core.errors import MachineError, ProjectError, UsageError
from mlops_cli.core.store.index import Index
from mlops_cli.core.store.protocol import ChangedWhileRead, UnsupportedFile
from mlops_cli.core.store.snapshot import observe, record
from mlops_cli.core.store.tree import forbidden_name
from mlops_cli.core.tracking import frames
from mlops_cli.core.tracking.processes import born
from mlops_cli.core.tracking.spooled import Artifact, Model, Param, Point, Record, Tag, Writer, decoder, encoder

if TYPE_CHECKING:
    from mlops_cli.core.store.local import LocalStore

SUFFIX = ".spool"
FILES = "files"


class Spool:
    """Appends to one folder. Safe to use from threads and after a fork. Raises MachineError if the disk refuses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._handle = -1
        self._pid = 0
        os.register_at_fork(after_in_child=self._forget)

    def append(self, *records: Record) -> None:
        """Write the records, in one call to the system; when this returns, a kill cannot lose them."""
        data = b"".join(frames.encode(_payload(record)) for record in records)
        with self._lock, machine_errors(f"cannot log to {self.folder}"):
            if self._handle < 0:
                self._open(data)
            else:
                self._write(data)

    def keep(self, source: Path, name: str) -> str:
        """Copy a file or folder below `files` and return its place there. Only a whole copy gets a record.

        Links are followed. Raises UnsupportedFile for what no store would take.
        """
        if self.folder.resolve().is_relative_to(source.resolve()):
            raise UnsupportedFile(f"{source} holds what mlo logs to", hint="name the files or a folder inside it")
        place = f"{secrets.token_hex(8)}/{name}"
        target = safe_join(self.folder / FILES, place)
        with machine_errors(f"cannot keep {source}"):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                _copy(source, target, ())
            except BaseException:
                shutil.rmtree(target.parent, ignore_errors=True)
                raise
        return place

    def keep_bytes(self, data: bytes, name: str) -> str:
        place = f"{secrets.token_hex(8)}/{name}"
        target = safe_join(self.folder / FILES, place)
        with machine_errors(f"cannot keep {name}"):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        return place

    def close(self) -> None:
        with self._lock:
            if self._handle >= 0:
                os.close(self._handle)
                self._handle = -1

    def _open(self, data: bytes) -> None:
        """Create this process's file. Header and first records are one write as well."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._pid = os.getpid()
        path = self.folder / f"{self._pid}-{secrets.token_hex(4)}{SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._handle = os.open(path, flags, 0o644)
        writer = Writer(self._pid, socket.gethostname(), born(self._pid))
        self._write(frames.HEADER + frames.encode(encoder.encode(writer)) + data)

    def _write(self, data: bytes) -> None:
        written = os.write(self._handle, data)
        while written < len(data):  # a full disk cuts a write short; the next call says so
            rest = os.write(self._handle, data[written:])
            if rest == 0:
                raise MachineError(f"cannot log to {self.folder}: the disk takes no more bytes")
            written += rest

    def _forget(self) -> None:
        """In a forked child: its own lock, and on its first record its own file."""
        self._lock = threading.Lock()
        if self._handle >= 0:
            with contextlib.suppress(OSError):
                os.close(self._handle)
            self._handle = -1


def _copy(source: Path, target: Path, around: tuple[Path, ...]) -> None:
    """Copy a file, or a folder file by file; `around` are the folders it was reached through."""
    if source.is_dir():
        real = source.resolve()
        if real in around:
            raise UnsupportedFile(f"{source} is a link to a folder around it", hint="remove the link, or log files")
        target.mkdir()
        for item in sorted(source.iterdir()):
            if forbidden_name(os.fsencode(item.name)):
                raise UnsupportedFile(f"{item} belongs to git or mlo", hint="move it out of the folder that you log")
            _copy(item, target / item.name, (*around, real))
    elif source.is_file():
        shutil.copyfile(source, target)
        shutil.copymode(source, target)
    else:
        what = "a link that leads nowhere" if source.is_symlink() else "no ordinary file"
        raise UnsupportedFile(f"{source} is {what}", hint="move it out of the folder that you log")


def _payload(record: Record) -> bytes:
    data = encoder.encode(record)
    if len(data) > frames.MAX_PAYLOAD:
        raise UsageError(
            f"one record of {len(data):,} bytes is too large to log", hint="keep it as a file with log_artifact"
        )
    return data


class SpoolFile(msgspec.Struct, frozen=True):
    """What one file held from an offset on: its records, how much was damaged, and where to read on."""

    records: tuple[Record, ...]
    damaged: int
    end: int


def read_file(path: Path, start: int = 0, *, final: bool = False) -> SpoolFile:
    """The records of a file from `start`. `final` says that its writer is gone, so that a torn tail is done with.

    Raises ProjectError for a file that a newer mlo wrote.
    """
    try:
        with path.open("rb") as file:
            file.seek(start)
            data = file.read()
    except FileNotFoundError:
        return SpoolFile((), 0, start)
    skipped = 0
    if start == 0:
        version = frames.version_of(data)
        if version is not None and version > frames.VERSION:
            raise ProjectError(
                f"{path} has version {version}; this mlo reads up to {frames.VERSION}",
                hint="upgrade mlo: pip install --upgrade mlops-cli",
            )
        if frames.HEADER.startswith(data[: len(frames.HEADER)]):  # whole, or still in the writing
            skipped = min(len(data), len(frames.HEADER))
            if skipped < len(frames.HEADER):
                return SpoolFile((), 0, 0)
        # Otherwise the header is damaged: it is counted as damage, and the frames after it still hold.
    read = frames.decode(data, skipped, final=final)
    records: list[Record] = []
    damaged = read.damaged
    for payload in read.payloads:
        try:
            records.append(decoder.decode(payload))
        except msgspec.MsgspecError:
            damaged += 1
    return SpoolFile(tuple(records), damaged, start + read.end)


def writer_of(path: Path) -> Writer | None:
    """Who writes a file; None if its first frame is not there, or damaged."""
    try:
        with path.open("rb") as file:
            data = file.read(1024)
    except FileNotFoundError:
        return None
    for payload in frames.decode(data, len(frames.HEADER)).payloads[:1]:
        try:
            record = decoder.decode(payload)
        except msgspec.MsgspecError:
            return None
        return record if isinstance(record, Writer) else None
    return None


def spool_files(folder: Path) -> list[Path]:
    """The files of one script's spool, in the order of their names."""
    try:
        return sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIX))
    except (FileNotFoundError, NotADirectoryError):
        return []


def read_spool(folder: Path, store: LocalStore | None = None) -> Logged:
    """Everything that was logged to one folder, by every process; torn tails are left out, damage is passed over.

    With `store` the bytes of artifacts are put there; without, they are only hashed (xxh128). A model that a stage
    wrote as its output has no entry here: whoever knows the outputs fills it in.
    """
    records: list[Record] = []
    for path in spool_files(folder):
        records += read_file(path, final=True).records
    return gather(records, folder, store)


def gather(records: Iterable[Record], folder: Path, store: LocalStore | None) -> Logged:
    """The records of one folder as Logged; what was logged last under a name holds."""
    params: dict[str, Any] = {}
    tags: dict[str, str] = {}
    metrics: list[Metric] = []
    artifacts: dict[str, Entry] = {}
    model: LoggedModel | None = None
    for found in records:
        match found:
            case Point():
                metrics.append(Metric(found.key, found.value, found.step, found.time_ms))
            case Param():
                params[found.key] = found.value
            case Tag():
                tags[found.key] = found.value
            case Artifact():
                entry = _entry(safe_join(folder / FILES, found.file), store)
                if entry is not None:
                    artifacts[found.name] = entry
            case Model():
                copy = _entry(safe_join(folder / FILES, found.copy), store) if found.copy else None
                model = msgspec.structs.replace(found.model, entry=copy)
            case _:
                pass
    return Logged(params, tuple(metrics), tags, artifacts, model)


def _entry(path: Path, store: LocalStore | None) -> Entry | None:
    """What a copied file or folder holds; its bytes go to the store if there is one. None if it is gone."""
    index = Index(path.with_name(".index"))  # never saved: a copy is looked at once
    try:
        return record(store, index, path) if store is not None else observe(index, path, "xxh128")
    except (FileNotFoundError, ChangedWhileRead):  # another process was first: it read the spool and removed it
        return None
    except UnsupportedFile:  # `keep` takes no such thing; what got there by hand must not stop every later command
        return None
