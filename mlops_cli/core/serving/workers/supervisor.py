"""Several processes that share a port: started, watched, started again when one dies, and ended together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from time import monotonic
from typing import Any

from mlops_cli.core.serving.metrics import fold
from mlops_cli.core.serving.workers.messages import (
    Adopt,
    Answer,
    Ask,
    Beat,
    Crew,
    Do,
    Done,
    Ready,
    Release,
    ToWorker,
    from_worker,
    send,
)
from mlops_cli.core.serving.workers.seat import VARIABLE, seat_text

SILENT_S = 30.0  # a process that says nothing for so long hangs
YOUNG_S = 10.0  # one that dies younger than this is not started again at once
LONGEST_PAUSE_S = 30.0
DO_S = 100.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Member:
    """One process. `counted` is what it last said it had counted."""

    seat: int
    process: asyncio.subprocess.Process
    writer: asyncio.StreamWriter
    born: float
    heard: float
    is_ready: bool = False
    counted: bytes = b""
    orders: dict[int, asyncio.Future[Done]] = field(default_factory=dict)


class Supervisor:
    """Runs `command` once for each listener, with its seat in the environment.

    `ready` is called with what the first process says of itself once all answer. A process that dies is started again;
    until it answers, the others accept the connections that come to its socket, so that only what it was answering is
    lost. `run` returns the signal that ended it, or the exit code of a process that could not start at all.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: str,
        environ: Mapping[str, str],
        listeners: Sequence[socket.socket],
        ready: Callable[[bytes], None],
        drain_s: float,
    ) -> None:
        self._command = list(command)
        self._cwd = cwd
        self._environ = environ
        self._listeners = list(listeners)
        self._announce = ready
        self._drain_s = drain_s
        self._said = b""
        self._members: dict[int, _Member] = {}
        self._retired = b""
        self._restarts = 0
        self._changes: dict[str, str] = {}  # models loaded and unloaded since the start, for those started again
        self._numbers = count()
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = False
        self._failed: int | None = None
        self._received: signal.Signals | None = None

    def run(self) -> signal.Signals | int:
        return asyncio.run(self._run())

    async def _run(self) -> signal.Signals | int:
        self._ending = asyncio.Event()
        self._changed = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        try:
            keepers = [self._kept(0)]
            await self._until(lambda: self._is_ready(0))  # one alone: what is wrong with all is said once
            seats = range(1, len(self._listeners))
            keepers += [self._kept(seat) for seat in seats if not self._ending.is_set()]
            await self._until(lambda: self._alive() == len(self._listeners))
            if not self._ending.is_set():
                self._started = True
                self._announce(self._said)
            watching = asyncio.create_task(self._watch())
            await self._ending.wait()
            watching.cancel()
            await self._end(keepers)
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
        if self._failed is not None:
            return self._failed
        return self._received or signal.SIGTERM

    def _signalled(self, number: signal.Signals) -> None:
        if self._received is None:
            self._received = number
        elif number is signal.SIGINT:  # a second one: do not wait for what is in flight
            for member in self._members.values():
                _send_signal(member, signal.SIGKILL)
        self._ending.set()
        self._changed.set()

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds() and not self._ending.is_set():
            await self._changed.wait()
            self._changed.clear()

    def _is_ready(self, seat: int) -> bool:
        member = self._members.get(seat)
        return member is not None and member.is_ready

    def _alive(self) -> int:
        return sum(member.is_ready for member in self._members.values())

    def _kept(self, seat: int) -> asyncio.Task[None]:
        task = asyncio.create_task(self._keep(seat))
        task.add_done_callback(self._check)
        return task

    def _check(self, keeper: asyncio.Task[None]) -> None:
        """A process that cannot be started at all ends the server."""
        if not keeper.cancelled() and keeper.exception() is not None:
            self._ending.set()
            self._changed.set()

    # -- one process, again and again ----------------------------------------------------------------------

    async def _keep(self, seat: int) -> None:
        pause_s = 0.0
        while not self._ending.is_set():
            member, reader = await self._spawn(seat)
            await self._listen(member, reader)
            code = await member.process.wait()
            member.writer.close()
            del self._members[seat]
            if member.counted:
                self._retired = fold([part for part in (self._retired, member.counted) if part])
            for order in member.orders.values():
                if not order.done():
                    order.set_result(Done(0, status=503, error="the process died"))
            if self._ending.is_set():
                return
            if not self._started:
                self._failed = code if code > 0 else 1
                self._ending.set()
                self._changed.set()
                return
            self._restarts += 1
            self._tell_all(Adopt(seat))
            self._tell_crew()
            lived_s = monotonic() - member.born
            pause_s = min(max(1.0, 2 * pause_s), LONGEST_PAUSE_S) if lived_s < YOUNG_S else 0.0
            _log.error(
                "process %d (pid %d) ended with %d after %.0f s; starting it again",
                seat,
                member.process.pid,
                code,
                lived_s,
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._ending.wait()

    async def _spawn(self, seat: int) -> tuple[_Member, asyncio.StreamReader]:
        ours, theirs = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                cwd=self._cwd,
                env={**self._environ, VARIABLE: seat_text(seat, theirs, self._listeners)},
                pass_fds=(theirs.fileno(), *(listener.fileno() for listener in self._listeners)),
                stdout=asyncio.subprocess.DEVNULL,
            )
        finally:
            theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours)
        member = _Member(seat, process, writer, born=monotonic(), heard=monotonic())
        self._members[seat] = member
        return member, reader

    async def _listen(self, member: _Member, reader: asyncio.StreamReader) -> None:
        while (message := await from_worker(reader)) is not None:
            member.heard = monotonic()
            if isinstance(message, Beat):
                member.counted = message.counted
            elif isinstance(message, Done):
                if (order := member.orders.get(message.number)) is not None and not order.done():
                    order.set_result(message)
            elif isinstance(message, Ask):
                self._start(self._answer(member, message))
            else:
                self._start(self._welcome(member, message))

    async def _welcome(self, member: _Member, ready: Ready) -> None:
        """A process answers: bring it up to what happened since the start, and let it have its connections."""
        for name, what in list(self._changes.items()):
            await self._order(member, what, name)
        if member.seat == 0:
            self._said = ready.said
        member.is_ready = True
        self._tell_all(Release(member.seat))
        self._tell_crew()
        self._changed.set()

    # -- what all are to do --------------------------------------------------------------------------------

    async def _answer(self, member: _Member, ask: Ask) -> None:
        if ask.what in ("load", "unload"):
            self._changes[ask.name] = ask.what
        others = [other for other in self._members.values() if other.is_ready]
        results = await asyncio.gather(*(self._order(other, ask.what, ask.name) for other in others))
        if ask.what == "counted":  # shown once is counted for ever, or the totals would go backwards
            for other, result in zip(others, results, strict=True):
                other.counted = result.body or other.counted
            results = [done if done.body else Done(0, o.counted) for o, done in zip(others, results, strict=True)]
        send(member.writer, Answer(ask.number, results, self._retired))

    async def _order(self, member: _Member, what: str, name: str) -> Done:
        number = next(self._numbers)
        order: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        member.orders[number] = order
        try:
            send(member.writer, Do(number, what, name))
            async with asyncio.timeout(DO_S):
                return await order
        except TimeoutError:
            return Done(number, status=504, error=f"process {member.seat} did not answer")
        finally:
            del member.orders[number]

    def _tell_all(self, message: ToWorker) -> None:
        for member in self._members.values():
            if member.is_ready and not (isinstance(message, Adopt | Release) and message.seat == member.seat):
                send(member.writer, message)

    def _tell_crew(self) -> None:
        self._tell_all(Crew(self._alive(), len(self._listeners), self._restarts))

    # -- the end -------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Kill a process whose event loop stands still: its port is open, and nobody would answer there."""
        while True:
            await asyncio.sleep(1.0)
            for member in list(self._members.values()):
                if member.is_ready and monotonic() - member.heard > SILENT_S:
                    _log.error("process %d (pid %d) hangs; killing it", member.seat, member.process.pid)
                    _send_signal(member, signal.SIGKILL)

    async def _end(self, keepers: Sequence[asyncio.Task[None]]) -> None:
        for member in self._members.values():
            _send_signal(member, signal.SIGTERM)
        for listener in self._listeners:  # nobody is to wait for an answer that does not come
            listener.close()
        done, late = await asyncio.wait(keepers, timeout=self._drain_s)
        for member in list(self._members.values()):
            _log.error("process %d (pid %d) did not end in time; killing it", member.seat, member.process.pid)
            _send_signal(member, signal.SIGKILL)
        if late:
            await asyncio.wait(late)
        for task in list(self._tasks):
            task.cancel()
        for keeper in done:
            keeper.result()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _send_signal(member: _Member, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        member.process.send_signal(number)
