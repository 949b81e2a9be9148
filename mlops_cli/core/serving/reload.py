"""Follow a reference: when its alias moves, load the new version beside the old one and swap a pointer."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from time import monotonic
from typing import Any, TypeVar

from mlops_cli.core.serving.loader import Served
from mlops_cli.core.serving.metrics import Metrics

POLL_S = 1.0
SLOW_S = 5.0  # a registry that takes longer than this counts as out of reach
LONGEST_PAUSE_S = 60.0

Result = TypeVar("Result")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """Where versions come from; all three are called in one thread of their own, one after another.

    `resolve` says which version the reference means now, as something that compares equal while it is the same;
    `load` makes that ready and checks it. Both raise. `deployed` is told of each version that begins to answer.
    """

    resolve: Callable[[], object]
    load: Callable[[Any], Served]
    deployed: Callable[[Served], None]


class Worker:
    """One daemon thread that calls functions in turn. A registry that hangs must not keep the process alive."""

    def __init__(self, name: str) -> None:
        self._queue: SimpleQueue[tuple[asyncio.Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], Result]) -> asyncio.Future[Result]:
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.put((future, function))
        return future

    def close(self) -> None:
        self._queue.put(None)

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            future, function = job
            try:
                result, error = function(), None
            except Exception as raised:  # noqa: BLE001 - it is handed to whoever waits
                result, error = None, raised
            try:
                future.get_loop().call_soon_threadsafe(_settle, future, result, error)
            except RuntimeError:
                return  # the loop is closed: the server has ended


def _settle(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


class Live:
    """The version that answers now, and what is known of the registry behind it."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.registry_error: str | None = None
        self.reload_error: str | None = None


class Reloader:
    """Polls a Source each second and swaps `live.served`. Whatever goes wrong, the old version keeps answering."""

    def __init__(self, live: Live, source: Source, worker: Worker, metrics: Metrics, *, poll_s: float = POLL_S) -> None:
        self._live = live
        self._source = source
        self._worker = worker
        self._metrics = metrics
        self._poll_s = poll_s
        self._failed: object = None  # the version that could not be loaded
        self._retry_at = 0.0
        self._pause_s = 0.0

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            await self.poll()

    async def poll(self) -> None:
        """Ask once which version is meant, and swap it in if it is another one. Never raises."""
        try:
            key = await self._resolve()
        except Exception as error:  # noqa: BLE001 - a registry may fail in any way; serving goes on
            self._unreachable(f"{error}")
            return
        self._reachable()
        if key == self._live.served.key:
            self._healthy()
        elif key != self._failed or monotonic() >= self._retry_at:
            await self._swap(key)

    async def _resolve(self) -> object:
        answer = self._worker.call(self._source.resolve)
        # Not wait_for: before Python 3.12 it swallows a cancellation that comes with the answer, and the server that
        # was told to stop would wait for this task for ever.
        done, _ = await asyncio.wait({answer}, timeout=SLOW_S)
        if not done:
            self._unreachable(f"it has not answered for {SLOW_S:g} s")
        return await answer

    async def _swap(self, key: object) -> None:
        try:
            served = await self._worker.call(lambda: self._source.load(key))
        except Exception as error:  # noqa: BLE001 - the old version stays, whatever is wrong with the new one
            self._load_failed(key, error)
            return
        before, self._live.served = self._live.served, served
        self._healthy()
        self._metrics.reloads.inc()
        self._metrics.serves(served.name, served.version_text, served.run)
        _log.info("now serving %s (was %s)", served.title, before.title)
        await announce(self._source, self._worker, served)

    def _load_failed(self, key: object, error: Exception) -> None:
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S) if key == self._failed else 5.0
        self._failed, self._retry_at = key, monotonic() + self._pause_s
        self._live.reload_error = f"{type(error).__name__}: {error}"
        self._metrics.reload_failures.inc()
        self._metrics.reload_failed.set(1)
        _log.error("the new version cannot be served, %s stays: %s", self._live.served.title, error)

    def _healthy(self) -> None:
        self._failed, self._live.reload_error = None, None
        self._metrics.reload_failed.set(0)

    def _unreachable(self, reason: str) -> None:
        if self._live.registry_error is None:
            _log.warning("the registry is out of reach, serving goes on with %s: %s", self._live.served.title, reason)
        self._live.registry_error = reason
        self._metrics.registry_reachable.set(0)

    def _reachable(self) -> None:
        if self._live.registry_error is not None:
            _log.warning("the registry answers again")
        self._live.registry_error = None
        self._metrics.registry_reachable.set(1)


async def announce(source: Source, worker: Worker, served: Served) -> None:
    """Tell the source that `served` answers now. A failure is said and changes nothing."""
    try:
        await worker.call(lambda: source.deployed(served))
    except Exception as error:  # noqa: BLE001 - the record of a deployment must not end it
        _log.warning("the deployment of %s could not be recorded: %s", served.title, error)
