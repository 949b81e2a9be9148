"""Predictions for what is queued, in one go and without a timer: an idle server answers one row as fast as it can.

A model that takes its time predicts in a thread of its own, which takes whatever has been queued meanwhile. One that
answers within a fraction of a millisecond predicts between two turns of the event loop, for all requests of that
turn: handing them to a thread and back would take longer than the model does.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from queue import Empty, SimpleQueue
from time import perf_counter, thread_time

from mlops_cli.core.serving.admission import Lane
from mlops_cli.core.serving.decode import Rows
from mlops_cli.core.serving.loader import Answer, Served
from mlops_cli.core.serving.metrics import Metrics

BATCH_ROWS = 4096
INLINE_ROWS = 64
INLINE_S = 0.001
CLOSE_S = 10.0
STUCK_S = 30.0  # a batch that runs this long is not going to end
_SWEEP_S = 0.05
_RECENT = 0.1

_log = logging.getLogger(__name__)

Result = tuple["Job", Answer | Exception]


class Job:
    """The rows of one request, and the future that gets their answer."""

    __slots__ = ("begun", "deadline", "expected", "future", "is_threaded", "lane", "rows", "served")

    def __init__(
        self,
        lane: Lane,
        served: Served,
        rows: Rows,
        future: asyncio.Future[Answer],
        *,
        begun: float,
        expected: float,
        deadline: float,
    ) -> None:
        self.lane = lane
        self.served = served
        self.rows = rows
        self.future = future
        self.begun = begun
        self.expected = expected  # seconds until the answer
        self.deadline = deadline
        self.is_threaded = False


class Batcher:
    """Answers rows from the event loop. `start` and `close` are called on the loop."""

    def __init__(self, metrics: Metrics, *, batch_rows: int = BATCH_ROWS) -> None:
        self._metrics = metrics
        self._batch_rows = batch_rows
        self._lanes: list[Lane] = []
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._turn: list[Job] = []  # what is predicted at the end of this turn of the loop
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._sweeping = False

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def close(self) -> None:
        """Answer what is queued, then end the thread; a model that hangs is left behind after ten seconds."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join, CLOSE_S)

    def open_lane(self, lane: Lane) -> None:
        self._lanes.append(lane)

    @property
    def trouble(self) -> str | None:
        """Why no prediction can be made, or None."""
        if self._loop is not None and not self._thread.is_alive():
            return "the inference thread has ended"
        now = perf_counter()
        stuck = (lane for lane in self._lanes if lane.begun and now - lane.begun > STUCK_S)
        return next((f"{lane.name} has been predicting for {now - lane.begun:.0f} s" for lane in stuck), None)

    def check(self, lane: Lane, rows: int = 1, *, lag_s: float = 0.0) -> float:
        """The seconds that so many rows more are expected to take. `lag_s`: how late the loop is. Raises Unavailable if
        they could not be answered in time."""
        now = perf_counter()
        behind = lag_s
        if len(self._lanes) > 1 and lane.limits.sla_s is not None:
            behind += sum(other.busy_s(now) for other in self._lanes if other is not lane)
        return lane.check(rows, now, behind)

    def submit(self, lane: Lane, served: Served, rows: Rows, *, lag_s: float = 0.0) -> asyncio.Future[Answer]:
        """The answer to come, by the version that decoded the rows.

        The future raises what the model raised for these rows, or Expired. Raises Unavailable if the lane lets no
        more in.
        """
        assert self._loop is not None  # noqa: S101 - started with the server
        now = perf_counter()
        expected = self.check(lane, rows.n, lag_s=lag_s)
        lane.enter(rows.n)
        future: asyncio.Future[Answer] = self._loop.create_future()
        job = Job(lane, served, rows, future, begun=now, expected=expected, deadline=now + lane.limits.timeout_s)
        lane.line.append(job)
        if served.is_quick and rows.n <= INLINE_ROWS and not lane.threaded and lane.cpu_s <= INLINE_S:
            if not self._turn:
                self._loop.call_soon(self._predict_turn)
            self._turn.append(job)
        else:
            job.is_threaded = True
            lane.threaded += 1
            self._queue.put(job)
            if not self._sweeping:
                self._sweeping = True
                self._loop.call_later(_SWEEP_S, self._sweep)
        return job.future

    def _sweep(self) -> None:
        assert self._loop is not None  # noqa: S101
        now = perf_counter()
        waiting = [lane.sweep(now) for lane in self._lanes]  # all of them, whatever the first one says
        self._sweeping = any(waiting)
        if self._sweeping:
            self._loop.call_later(_SWEEP_S, self._sweep)

    # -- on the event loop ---------------------------------------------------------------------------------

    def _predict_turn(self) -> None:
        jobs, self._turn = self._turn, []
        for batch in _batches(jobs, self._batch_rows):
            self._settle(*_predict(batch))

    # -- in the inference thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        single_threaded()
        queues: dict[int, deque[Job]] = {}  # by version, which take turns: a slow model must not hold up the others
        is_open = True
        while is_open or queues:
            is_open = self._take(queues, wait=not queues) and is_open
            for version, queue in list(queues.items()):
                if batch := self._next_batch(queue):
                    self._deliver(*_predict(batch))
                if not queue:
                    del queues[version]

    def _take(self, queues: dict[int, deque[Job]], *, wait: bool) -> bool:
        """Sort everything queued by version; False once the end is among it."""
        try:
            while (job := self._queue.get(block=wait)) is not None:
                queues.setdefault(id(job.served), deque()).append(job)
                wait = False
        except Empty:
            return True
        return False

    def _next_batch(self, queue: deque[Job]) -> list[Job]:
        """From the front, up to a batch, without those that nobody waits for any more."""
        batch: list[Job] = []
        rows = 0
        while queue and rows < self._batch_rows:
            job = queue.popleft()
            if job.future.done() or job.deadline <= perf_counter():
                self._deliver([(job, job.lane.expired())], 0, 0.0, 0.0)
                continue
            batch.append(job)
            rows += job.rows.n
        return batch

    def _deliver(self, results: Sequence[Result], rows: int, seconds: float, cpu_s: float) -> None:
        assert self._loop is not None  # noqa: S101
        try:
            self._loop.call_soon_threadsafe(self._settle, results, rows, seconds, cpu_s)
        except RuntimeError:  # the loop was stopped by force; nobody waits any more
            _log.warning("%d answers came after the server had stopped", len(results))

    def _settle(self, results: Sequence[Result], rows: int, seconds: float, cpu_s: float) -> None:
        """Hand out the answers, and learn from the batch how long the next one may take."""
        lane = results[0][0].lane
        if rows:
            lane.pace.learn(rows, seconds)
            lane.cpu_s += _RECENT * (cpu_s - lane.cpu_s)
            self._metrics.predicted(lane.name, rows, seconds)
        now = perf_counter() if lane.limits.sla_s is not None else 0.0
        for job, result in results:
            lane.leave(job.rows.n)
            if now:
                lane.took(now - job.begun, job.expected)
            lane.threaded -= job.is_threaded
            future = job.future
            if future.done():  # its client went away, or it waited too long
                continue
            if isinstance(result, StopIteration):  # the one exception a future refuses to carry
                future.set_exception(RuntimeError("the model raised StopIteration"))
            elif isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        lane.sweep(0.0)


def _batches(jobs: list[Job], most: int) -> Iterable[list[Job]]:
    """Jobs of one version each, up to `most` rows."""
    is_one = len(jobs) == 1 or all(job.served is jobs[0].served for job in jobs)
    if is_one and sum(job.rows.n for job in jobs) <= most:
        yield jobs
        return
    open_batches: dict[int, list[Job]] = {}
    sizes: dict[int, int] = {}
    for job in jobs:
        key = id(job.served)
        open_batches.setdefault(key, []).append(job)
        sizes[key] = sizes.get(key, 0) + job.rows.n
        if sizes[key] >= most:
            yield open_batches.pop(key)
            del sizes[key]
    yield from open_batches.values()


def _predict(jobs: list[Job]) -> tuple[list[Result], int, float, float]:
    """Each job with its answer, and the batch's rows, seconds, and seconds of processor time."""
    lane = jobs[0].lane
    rows = sum(job.rows.n for job in jobs) if len(jobs) > 1 else jobs[0].rows.n
    started, cpu = perf_counter(), thread_time()
    lane.running_rows, lane.begun = rows, started
    try:
        answers: list[Answer | Exception] = list(jobs[0].served.answer([job.rows for job in jobs]))
    except Exception as error:  # noqa: BLE001 - a model may raise anything
        # One request's rows must not fail its neighbours': ask again, one by one.
        answers = [error] if len(jobs) == 1 else [_alone(job) for job in jobs]
    finally:
        lane.running_rows, lane.begun = 0, 0.0
    return list(zip(jobs, answers, strict=True)), rows, perf_counter() - started, thread_time() - cpu


def _alone(job: Job) -> Answer | Exception:
    try:
        return job.served.answer([job.rows])[0]
    except Exception as error:  # noqa: BLE001 - a model may raise anything
        return error


def single_threaded() -> None:
    """Keep BLAS and OpenMP to one thread, for the calling thread: one row is too little work to share, and a dozen
    threads that spin for it made one row take 138 ms on a busy machine instead of 6."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits=1)
