"""Follow a reference: when its alias moves, load the new version beside the old one and swap a pointer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic

from mlops_cli.core.serving.loader import Served
from mlops_cli.core.serving.metrics import Metrics
from mlops_cli.core.serving.shelf import Slot, Source
from mlops_cli.core.serving.worker import Worker

POLL_S = 1.0
SLOW_S = 5.0  # a registry that takes longer than this counts as out of reach
LONGEST_PAUSE_S = 60.0

_log = logging.getLogger(__name__)


class Reloader:
    """Polls a slot's source each second and swaps its version. Whatever goes wrong, the old one keeps answering."""

    def __init__(self, slot: Slot, source: Source, worker: Worker, metrics: Metrics, *, poll_s: float = POLL_S) -> None:
        self._slot = slot
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
        if self._slot.served is None:  # not loaded yet, or no more: nothing that could be out of date
            return
        try:
            key = await self._resolve()
        except Exception as error:  # noqa: BLE001 - a registry may fail in any way; serving goes on
            self._unreachable(f"{error}")
            return
        self._reachable()
        if self._slot.served is None or key == self._slot.served.key:
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
        warm = self._slot.previous
        try:
            served = warm if warm is not None and warm.key == key else await self._worker.call(self._loading(key))
        except Exception as error:  # noqa: BLE001 - the old version stays, whatever is wrong with the new one
            await self._load_failed(key, error)
            return
        if self._slot.served is None:  # unloaded meanwhile
            return
        before = self._slot.swap(served)
        self._healthy()
        self._metrics.reloads[served.name] += 1
        self._metrics.serves(served, slot=self._slot.ref)
        _log.info("now serving %s (was %s)", served.title, before.title if before is not None else "nothing")
        await announce(self._source, self._worker, served)

    def _loading(self, key: object) -> Callable[[], Served]:
        return lambda: self._source.load(key)

    async def _load_failed(self, key: object, error: Exception) -> None:
        is_new = key != self._failed
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S) if key == self._failed else 5.0
        self._failed, self._retry_at = key, monotonic() + self._pause_s
        self._slot.reload_error = f"{type(error).__name__}: {error}"
        self._metrics.reload_failures[self._slot.name] += 1
        self._metrics.reload_failed[self._slot.name] = 1
        _log.error("the new version cannot be served, %s stays: %s", self._title, error)
        if is_new:
            await tell(self._worker, lambda: self._source.failed(key, str(error)), "the failure could not be recorded")

    @property
    def _title(self) -> str:
        return self._slot.served.title if self._slot.served is not None else self._slot.ref

    def _healthy(self) -> None:
        self._failed, self._slot.reload_error = None, None
        self._metrics.reload_failed[self._slot.name] = 0

    def _unreachable(self, reason: str) -> None:
        if self._slot.registry_error is None:
            _log.warning("the registry is out of reach, serving goes on with %s: %s", self._title, reason)
        self._slot.registry_error = reason
        self._metrics.registry_reachable[self._slot.ref] = 0

    def _reachable(self) -> None:
        if self._slot.registry_error is not None:
            _log.warning("the registry answers again")
        self._slot.registry_error = None
        self._metrics.registry_reachable[self._slot.ref] = 1


async def announce(source: Source, worker: Worker, served: Served) -> None:
    """Tell the source that `served` answers now."""
    await tell(worker, lambda: source.deployed(served), f"the deployment of {served.title} could not be recorded")


async def tell(worker: Worker, record: Callable[[], None], trouble: str) -> None:
    """Record what happened. A failure is said and changes nothing: the record must not end what it is about."""
    try:
        await worker.call(record)
    except Exception as error:  # noqa: BLE001 - a registry may fail in any way
        _log.warning("%s: %s", trouble, error)
