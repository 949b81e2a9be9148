"""A request's rows on their way through a model: read, let in, predicted, logged, written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from time import perf_counter

from mlops_cli.core.base.clock import Clock
from mlops_cli.core.errors import MloError
from mlops_cli.core.models.errors import WrongInputs
from mlops_cli.core.predictions.segment import Answered
from mlops_cli.core.predictions.writer import PredictionWriter
from mlops_cli.core.serving.batching import Batcher
from mlops_cli.core.serving.decode import Rows
from mlops_cli.core.serving.http import Request, is_request_id
from mlops_cli.core.serving.limits import Limits
from mlops_cli.core.serving.loader import Answer, Served
from mlops_cli.core.serving.metrics import Metrics
from mlops_cli.core.serving.problems import BadInput, ModelFailed, Problem
from mlops_cli.core.serving.protocols.exchange import Asked, Body, Exchange, Reply, Written
from mlops_cli.core.serving.shelf import Slot, unavailable
from mlops_cli.core.serving.worker import Worker

THREADED_BYTES = 128 << 10  # a larger body is decoded beside the event loop, so that small ones do not wait for it
THREADED_ROWS = 4096
PULSE_S = 0.02

_log = logging.getLogger(__name__)


class Pulse:
    """How far the event loop is behind: requests wait that long in their sockets before anybody sees them."""

    def __init__(self) -> None:
        self.lag_s = 0.0
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._handle = loop.call_later(PULSE_S, self._beat, loop, loop.time() + PULSE_S)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def _beat(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        late = max(0.0, loop.time() - due)
        self.lag_s = max(late, self.lag_s / 2)
        self._handle = loop.call_later(PULSE_S, self._beat, loop, loop.time() + PULSE_S)


class Predicting:
    """What every path that predicts has in common, whatever its protocol."""

    def __init__(
        self,
        *,
        batcher: Batcher,
        metrics: Metrics,
        limits: Limits,
        clock: Clock,
        log: PredictionWriter | None,
        worker: Worker,
    ) -> None:
        self.pulse = Pulse()
        self._worker = worker  # where lazy models are loaded
        self._batcher = batcher
        self._metrics = metrics
        self._limits = limits
        self._clock = clock
        self._prediction_log = log

    async def infer(self, request: Request, exchange: Exchange, slot: Slot, served: Served | None) -> Reply:
        """One request by HTTP. `served` None: whatever the slot holds by then."""
        media = request.media(exchange.media)
        body = Body(await request.body(self._limits), media, request.headers)

        def read(served: Served) -> Asked[Reply]:
            asked = exchange.read(body, served)
            if asked.request_id is not None and not request.names_itself and is_request_id(asked.request_id):
                request.id = asked.request_id
            return asked

        return await self.answer(slot, served, read, len(body.data), lambda: request.id)

    async def answer(
        self,
        slot: Slot,
        served: Served | None,
        read: Callable[[Served], Asked[Written]],
        size: int,
        request_id: Callable[[], str],
    ) -> Written:
        """What `read` makes of the request's `size` bytes, predicted, logged and encoded; large ones beside the event
        loop. `request_id` is asked once the request was read. Raises Problem."""
        started = perf_counter()
        arrived = self._clock.now()
        self._batcher.check(slot.lane, lag_s=self.pulse.lag_s)  # before any work goes into what is refused
        served = served or await self.loaded(slot)
        asked = read(served) if size <= THREADED_BYTES else await asyncio.to_thread(read, served)
        answer = await self.predict(slot, served, asked.rows, request_id(), arrived, started, size)
        if asked.rows.n > THREADED_ROWS:
            return await asyncio.to_thread(asked.encode, answer, request_id())
        return asked.encode(answer, request_id())

    async def predict(
        self, slot: Slot, served: Served, rows: Rows, request_id: str, arrived: datetime, started: float, size: int
    ) -> Answer:
        """The answer to rows, logged. `started` is when they had arrived, by perf_counter; `size` is their bytes.
        Raises Problem."""
        if rows.n == 0:
            return Answer([], [] if served.has_scores else None)
        try:
            answer = await self._batcher.submit(slot.lane, served, rows, lag_s=self.pulse.lag_s)
        except Problem:
            raise
        except WrongInputs as error:
            raise BadInput(error.message) from None
        except Exception as error:
            _log.exception("%s failed on request %s", served.title, request_id)
            raise ModelFailed(f"the model failed on these rows; the server's log has it under {request_id}") from error
        self._metrics.distribution(served.name, served.version_text, answer)
        if self._prediction_log is not None:
            latency_ms = 1000 * (perf_counter() - started)
            self._prediction_log.append(_answered(served, rows, answer, request_id, arrived, latency_ms, size))
        return answer

    async def loaded(self, slot: Slot) -> Served:
        """The slot's version, loaded now if it is not yet. Raises Unavailable if it cannot be."""
        if slot.served is not None:
            return slot.served
        try:
            served = await slot.load(self._worker)
        except MloError as error:
            raise unavailable(slot, error.message) from None
        except Exception as error:
            _log.exception("%s cannot be loaded", slot.ref)
            raise unavailable(slot, "the server's log says why") from error
        self._metrics.serves(served, slot=slot.ref)
        return served


def _answered(
    served: Served, rows: Rows, answer: Answer, request_id: str, arrived: datetime, latency_ms: float, size: int
) -> Answered:
    scores = [row[1] for row in answer.scores] if served.is_binary and answer.scores is not None else None
    return Answered(
        request=request_id,
        arrived=arrived,
        model=served.name,
        version=served.version,
        signature=served.signature,
        columns=rows.columns,
        predictions=answer.labels,
        scores=scores,
        all_scores=None if served.is_binary else answer.scores,
        latency_ms=latency_ms,
        size=size,
        time_column=served.decoder.time_column,
        times=rows.times,
    )
