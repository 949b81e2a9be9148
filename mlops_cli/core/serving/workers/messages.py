"""What the processes of one server tell each other: length-prefixed MessagePack over a pair of sockets."""

from __future__ import annotations

import asyncio

import msgspec

LARGEST = 64 << 20
BEAT_S = 1.0


class Ready(msgspec.Struct, tag=True, frozen=True):
    """To the supervisor: requests are answered here. `said` is what the command prints, as JSON."""

    said: bytes


class Beat(msgspec.Struct, tag=True, frozen=True):
    """To the supervisor, each second: the event loop turns, and this was counted so far."""

    counted: bytes


class Ask(msgspec.Struct, tag=True, frozen=True):
    """To the supervisor: let every process do this, and say how it went."""

    number: int
    what: str
    name: str = ""


class Do(msgspec.Struct, tag=True, frozen=True):
    """From the supervisor: `load` or `unload` a model, or say what was `counted`."""

    number: int
    what: str
    name: str = ""


class Done(msgspec.Struct, tag=True, frozen=True):
    """What came of a Do. `status` and `error` are those of a Problem, 0 and empty if all is well."""

    number: int
    body: bytes = b""
    status: int = 0
    error: str = ""


class Answer(msgspec.Struct, tag=True, frozen=True):
    """From the supervisor: what came of an Ask in each process, and the counts of those that have died."""

    number: int
    results: list[Done]
    retired: bytes = b""


class Crew(msgspec.Struct, tag=True, frozen=True):
    """From the supervisor: so many of the wanted processes answer; so many had to be started again."""

    alive: int
    wanted: int
    restarts: int = 0


class Adopt(msgspec.Struct, tag=True, frozen=True):
    """From the supervisor: the process with this number has died; accept its connections too."""

    seat: int


class Release(msgspec.Struct, tag=True, frozen=True):
    """From the supervisor: it is back."""

    seat: int


ToSupervisor = Ready | Beat | Ask | Done
ToWorker = Do | Answer | Crew | Adopt | Release

_ENCODER = msgspec.msgpack.Encoder()
_FROM_WORKER = msgspec.msgpack.Decoder(ToSupervisor)
_FROM_SUPERVISOR = msgspec.msgpack.Decoder(ToWorker)


def send(writer: asyncio.StreamWriter, message: ToSupervisor | ToWorker) -> None:
    """Write a message; one to a process that has died is dropped."""
    if writer.is_closing():
        return
    data = _ENCODER.encode(message)
    writer.write(len(data).to_bytes(4, "big") + data)


async def from_worker(reader: asyncio.StreamReader) -> ToSupervisor | None:
    """The next message; None at the end."""
    data = await _frame(reader)
    return _FROM_WORKER.decode(data) if data is not None else None


async def from_supervisor(reader: asyncio.StreamReader) -> ToWorker | None:
    """The next message; None at the end."""
    data = await _frame(reader)
    return _FROM_SUPERVISOR.decode(data) if data is not None else None


async def _frame(reader: asyncio.StreamReader) -> bytes | None:
    try:
        size = int.from_bytes(await reader.readexactly(4), "big")
        if size > LARGEST:
            raise ValueError(f"a message of {size} bytes")
        return await reader.readexactly(size)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
