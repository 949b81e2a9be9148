"""The server as one ASGI application: its life, and the way of a request through it.

Raw ASGI on the paths that predict; FastAPI stands behind the documentation alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from time import perf_counter
from typing import Protocol

from mlops_cli.core.base.clock import Clock
from mlops_cli.core.predictions.label_writer import LabelWriter
from mlops_cli.core.predictions.writer import PredictionWriter
from mlops_cli.core.serving import docs, metrics
from mlops_cli.core.serving.admin import Repository
from mlops_cli.core.serving.batching import Batcher
from mlops_cli.core.serving.feedback import Feedback
from mlops_cli.core.serving.fleet import Fleet
from mlops_cli.core.serving.guard import Guard
from mlops_cli.core.serving.http import ClientGone, Receive, Request, Scope, Send, finish, json_bytes, reply
from mlops_cli.core.serving.limits import Limits
from mlops_cli.core.serving.paths import Paths, Route, exchange_of
from mlops_cli.core.serving.predicting import Predicting
from mlops_cli.core.serving.problems import Problem, TooLarge, UnknownPath
from mlops_cli.core.serving.protocols.exchange import Reply
from mlops_cli.core.serving.reload import POLL_S, Reloader, announce
from mlops_cli.core.serving.shelf import Library, Shelf, Slot
from mlops_cli.core.serving.status import Status
from mlops_cli.core.serving.worker import Worker

_log = logging.getLogger(__name__)


class Companion(Protocol):
    """Another way to the same models, which starts and ends with the application."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class Application:
    """Serves the versions in `slots`, and whatever their sources move on to.

    One event loop, one inference thread. The lifespan starts and ends both, with what stands `beside`, and flushes the
    log at the end.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        *,
        clock: Clock,
        guard: Guard,
        limits: Limits | None = None,
        log: PredictionWriter | None = None,
        labels: LabelWriter | None = None,
        library: Library | None = None,
        locked: bool = False,
        poll_s: float = POLL_S,
    ) -> None:
        self.shelf = Shelf(slots)
        self.metrics = metrics.Metrics((lambda: log.state) if log is not None else None)
        self.guard = guard
        self.beside: list[Companion] = []
        self._prediction_log = log
        self._poll_s = poll_s
        self._batcher = Batcher(self.metrics)
        self._worker = Worker("registry")
        repository = Repository(self.shelf, self._worker, library, self._place)
        self.fleet = Fleet(repository, self.metrics)
        self.status = Status(self.shelf, self._batcher, self.fleet, guard, log)
        self.predicting = Predicting(
            batcher=self._batcher,
            metrics=self.metrics,
            limits=limits or Limits(),
            clock=clock,
            log=log,
            worker=self._worker,
        )
        self._labels = labels
        feedback = Feedback(self.shelf, self.predicting, self.metrics, limits or Limits(), labels, repository.classes)
        self._docs = docs.Docs(self.shelf, locked=locked, labelled=labels is not None)
        self._paths = Paths(self.shelf, self.predicting, self.fleet, self.status, feedback, limits or Limits())
        self._following: list[asyncio.Task[None]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:  # a web socket: there is none
            await send({"type": "websocket.close", "code": 1000})

    # -- the life of the server ----------------------------------------------------------------------------

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await self.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def start(self) -> None:
        self._batcher.start()
        if self.fleet.link is not None:
            await self.fleet.link.open()
        for slot in self.shelf:
            self._open(slot)
        if any(slot.lane.limits.sla_s is not None for slot in self.shelf):
            self.predicting.pulse.start()
        for companion in self.beside:
            await companion.start()

    def _place(self, slot: Slot) -> None:
        self.shelf.add(slot)
        self._open(slot)

    def _open(self, slot: Slot) -> None:
        self._batcher.open_lane(slot.lane)
        lane = slot.lane
        self.metrics.holds(lane.name, lambda: lane.waiting)
        if slot.served is not None:
            served = slot.served
            self.metrics.serves(served, slot=slot.ref)
        if slot.source is not None:
            self._following.append(asyncio.create_task(self._follow(slot)))

    async def _follow(self, slot: Slot) -> None:
        assert slot.source is not None  # noqa: S101
        if slot.served is not None:
            await announce(slot.source, self._worker, slot.served)
        if slot.follows:
            await Reloader(slot, slot.source, self._worker, self.metrics, poll_s=self._poll_s).run()

    async def stop(self) -> None:
        for companion in self.beside:
            await companion.stop()
        self.predicting.pulse.stop()
        for task in self._following:
            task.cancel()
        for task in self._following:
            with suppress(asyncio.CancelledError):
                await task
        self._worker.close()
        await self._batcher.close()
        if self.fleet.link is not None:
            await self.fleet.link.close()
        if self._labels is not None:
            await asyncio.to_thread(self._labels.close)
        if self._prediction_log is not None:
            await asyncio.to_thread(self._prediction_log.close)

    # -- a request's way -----------------------------------------------------------------------------------

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        request = Request(scope, receive)
        route = self._paths.find(request.path)
        self.metrics.in_flight.inc()
        status = 499  # what a client that went away was answered
        try:
            if request.path in docs.PATHS:
                self.guard.check(request.path, request.headers)
                status = 200
                await self._docs(scope, receive, send)
                return
            response = await self._answer(request, route)
            status = response.status
            headers = ((b"x-request-id", request.id.encode()), *response.headers)
            await reply(send, response.body, status=status, media=response.media, headers=headers)
        except Problem as problem:
            status = problem.status
            if problem.refused and route is not None:
                self.metrics.refused(route.model or self.shelf.default.name, problem.refused)
            await self._refuse(request, problem, route, send)
        except ClientGone:
            pass
        finally:
            self.metrics.in_flight.dec()
            label, model = (route.label, route.model) if route is not None else ("other", "")
            self.metrics.answered(label, status, perf_counter() - started, model)

    async def _answer(self, request: Request, route: Route | None) -> Reply:
        """The response, or a Problem: whatever else goes wrong becomes one, with an id that the log knows."""
        try:
            request.check_head()
            self.guard.check(request.path, request.headers)
            if route is None:
                raise UnknownPath(f"there is nothing at {request.path[:200]}; GET /docs shows what there is")
            if request.method != route.method and (request.method, route.method) != ("HEAD", "GET"):
                raise Problem(
                    f"{request.path} takes {route.method}, not {request.method}",
                    status=405,
                    headers=((b"allow", route.method.encode()),),
                )
            return await route.answer(request)
        except (Problem, ClientGone):
            raise
        except Exception as error:
            _log.exception("request %s to %s failed", request.id, route.label if route is not None else request.path)
            raise Problem(f"something failed in the server; its log has it under {request.id}", status=500) from error

    async def _refuse(self, request: Request, problem: Problem, route: Route | None, send: Send) -> None:
        exchange = route.exchange if route is not None else exchange_of(request.path)
        body = json_bytes(exchange.problem(problem, request.id))
        headers = [(b"x-request-id", request.id.encode()), *problem.headers]
        if problem.close:
            headers.append((b"connection", b"close"))
        await reply(send, body, status=problem.status, headers=tuple(headers), more=problem.close)
        if problem.close:
            if problem.status == TooLarge.status:  # whoever is too slow has nothing on the way to linger for
                await request.linger()
            await finish(send)
