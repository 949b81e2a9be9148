"""One thread that predicts. It takes whatever is queued when it is free; there is no timer, so an idle server
answers one row as fast as the model can."""

from __future__ import annotations

import asyncio
import logging
import threading
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import NamedTuple

from mlops_cli.core.serving.decode import Rows
from mlops_cli.core.serving.loader import Answer, Served
from mlops_cli.core.serving.metrics import Metrics
from mlops_cli.core.serving.problems import Unavailable

BATCH_ROWS = 4096
QUEUED_REQUESTS = 1024
CLOSE_S = 10.0

_log = logging.getLogger(__name__)


class _Job(NamedTuple):
    served: Served
    rows: Rows
    future: asyncio.Future[Answer]


class Batcher:
    """Answers rows from the event loop in a thread of its own. `start` and `close` are called on the loop."""

    def __init__(
        self, metrics: Metrics, *, batch_rows: int = BATCH_ROWS, queued_requests: int = QUEUED_REQUESTS
    ) -> None:
        self._metrics = metrics
        self._batch_rows = batch_rows
        self._queued_requests = queued_requests
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        metrics.queued.set_function(self._queue.qsize)

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def close(self) -> None:
        """Answer what is queued, then end the thread; a model that hangs is left behind after ten seconds."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join, CLOSE_S)

    def submit(self, served: Served, rows: Rows) -> asyncio.Future[Answer]:
        """The answer to come, by the version that decoded the rows.

        The future raises what the model raised for these rows. Raises Unavailable if too much waits already.
        """
        if self._queue.qsize() >= self._queued_requests:
            raise Unavailable(f"{self._queued_requests} requests wait for the model already; try again")
        assert self._loop is not None  # noqa: S101 - started with the server
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._queue.put(_Job(served, rows, future))
        return future

    def _run(self) -> None:
        single_threaded()
        while (job := self._queue.get()) is not None:
            jobs, closing = self._take([job])
            results: list[tuple[asyncio.Future[Answer], Answer | Exception]] = []
            for version in dict.fromkeys(id(job.served) for job in jobs):  # two, while one gives way to the next
                results += self._predict([job for job in jobs if id(job.served) == version])
            self._deliver(results)
            if closing:
                return

    def _take(self, jobs: list[_Job]) -> tuple[list[_Job], bool]:
        """Everything queued, up to a batch; and whether the end is among it."""
        rows = jobs[0].rows.n
        while rows < self._batch_rows:
            try:
                job = self._queue.get_nowait()
            except Empty:
                break
            if job is None:
                return jobs, True
            jobs.append(job)
            rows += job.rows.n
        return jobs, False

    def _predict(self, jobs: list[_Job]) -> list[tuple[asyncio.Future[Answer], Answer | Exception]]:
        started = perf_counter()
        batches = [job.rows for job in jobs]
        try:
            answers: list[Answer | Exception] = list(jobs[0].served.answer(batches))
        except Exception as error:  # noqa: BLE001 - a model may raise anything
            # One request's rows must not fail its neighbours': ask again, one by one.
            answers = [error] if len(jobs) == 1 else [_alone(job) for job in jobs]
        self._metrics.predict_seconds.observe(perf_counter() - started)
        self._metrics.batch_rows.observe(sum(rows.n for rows in batches))
        return [(job.future, answer) for job, answer in zip(jobs, answers, strict=True)]

    def _deliver(self, results: list[tuple[asyncio.Future[Answer], Answer | Exception]]) -> None:
        assert self._loop is not None  # noqa: S101 - started with the server
        try:
            self._loop.call_soon_threadsafe(_resolve, results)
        except RuntimeError:  # the loop was stopped by force; nobody waits any more
            _log.warning("%d answers came after the server had stopped", len(results))


def _alone(job: _Job) -> Answer | Exception:
    try:
        return job.served.answer([job.rows])[0]
    except Exception as error:  # noqa: BLE001 - a model may raise anything
        return error


def _resolve(results: list[tuple[asyncio.Future[Answer], Answer | Exception]]) -> None:
    for future, result in results:
        if future.done():  # its client went away
            continue
        if isinstance(result, StopIteration):  # the one exception a future refuses to carry
            future.set_exception(RuntimeError("the model raised StopIteration"))
        elif isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)


def single_threaded() -> None:
    """Keep BLAS and OpenMP to one thread, for the calling thread: one row is too little work to share, and a dozen
    threads that spin for it made one row take 138 ms on a busy machine instead of 6."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits=1)
