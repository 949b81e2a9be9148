"""A worker's end of the line to its supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from itertools import count

from mlops_cli.core.serving.problems import Problem
from mlops_cli.core.serving.workers.messages import (
    BEAT_S,
    Adopt,
    Answer,
    Ask,
    Beat,
    Crew,
    Do,
    Done,
    Ready,
    from_supervisor,
    send,
)
from mlops_cli.core.serving.workers.seat import Seat

ANSWER_S = 120.0

_log = logging.getLogger(__name__)


class Link:
    """Tells the supervisor that this process lives, and does what all processes are to do.

    `do` carries out a Do and gives its body, or raises Problem; `adopt` and `release` are told of the sockets of
    processes that have died or are back; `ended` is called if the supervisor is gone. All on the event loop.
    """

    def __init__(
        self,
        seat: Seat,
        *,
        do: Callable[[str, str], Awaitable[bytes]],
        counted: Callable[[], bytes],
        adopt: Callable[[int], Awaitable[None]],
        release: Callable[[int], None],
        ended: Callable[[], None],
    ) -> None:
        self.crew = Crew(alive=0, wanted=0)
        self._seat = seat
        self._do = do
        self._counted = counted
        self._adopt = adopt
        self._release = release
        self._ended = ended
        self._numbers = count()
        self._asked: dict[int, asyncio.Future[Answer]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._writer: asyncio.StreamWriter | None = None

    @property
    def trouble(self) -> str | None:
        """What is wrong in the other processes, or None."""
        crew = self.crew
        return f"{crew.alive} of {crew.wanted} processes answer" if crew.alive < crew.wanted else None

    async def open(self) -> None:
        reader, self._writer = await asyncio.open_connection(sock=self._seat.line)
        self._start(self._listen(reader))
        self._start(self._beat())

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._writer is not None:
            with contextlib.suppress(OSError):
                await self._writer.drain()
            self._writer.close()

    def ready(self, said: bytes) -> None:
        self._send(Ready(said))

    async def ask(self, what: str, name: str = "") -> Answer:
        """Let every process do this, this one among them. Raises TimeoutError if one does not say how it went."""
        number = next(self._numbers)
        self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            self._send(Ask(number, what, name))
            async with asyncio.timeout(ANSWER_S):
                return await self._asked[number]
        finally:
            del self._asked[number]

    def _send(self, message: Ready | Beat | Ask | Done) -> None:
        assert self._writer is not None  # noqa: S101 - opened with the server
        send(self._writer, message)

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _beat(self) -> None:
        while True:
            self._send(Beat(self._counted()))
            await asyncio.sleep(BEAT_S)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while (message := await from_supervisor(reader)) is not None:
            if isinstance(message, Do):
                self._start(self._carry_out(message))
            elif isinstance(message, Answer):
                if (future := self._asked.get(message.number)) is not None and not future.done():
                    future.set_result(message)
            elif isinstance(message, Crew):
                self.crew = message
            elif isinstance(message, Adopt):
                await self._adopt(message.seat)
            else:
                self._release(message.seat)
        self._ended()

    async def _carry_out(self, order: Do) -> None:
        try:
            done = Done(order.number, await self._do(order.what, order.name))
        except Problem as problem:
            done = Done(order.number, status=problem.status, error=problem.message)
        except Exception:  # noqa: BLE001 - the supervisor waits for an answer
            _log.exception("%s %s failed in process %d", order.what, order.name, self._seat.number)
            done = Done(order.number, status=500, error="something failed in the server; its log says why")
        self._send(done)
