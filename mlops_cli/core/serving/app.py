"""The server as one ASGI application: a table of paths, and the way of a request through it.

Raw ASGI on the paths that predict; FastAPI stands behind the documentation alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from mlops_cli.core.base.clock import Clock
from mlops_cli.core.models.errors import WrongInputs
from mlops_cli.core.predictions.segment import Answered
from mlops_cli.core.predictions.writer import PredictionWriter
from mlops_cli.core.serving import docs, metrics
from mlops_cli.core.serving.batching import Batcher
from mlops_cli.core.serving.guard import Guard
from mlops_cli.core.serving.http import (
    ClientGone,
    Receive,
    Request,
    Scope,
    Send,
    finish,
    is_request_id,
    json_bytes,
    reply,
)
from mlops_cli.core.serving.limits import Limits
from mlops_cli.core.serving.loader import Answer, Served
from mlops_cli.core.serving.problems import BadInput, ModelFailed, Problem, TooLarge, UnknownPath
from mlops_cli.core.serving.protocols import v2
from mlops_cli.core.serving.protocols.exchange import Asked, Body, Exchange, Reply
from mlops_cli.core.serving.protocols.mlflow import Scoring
from mlops_cli.core.serving.protocols.named import Named
from mlops_cli.core.serving.reload import POLL_S, Live, Reloader, Source, Worker, announce

THREADED_BYTES = 128 << 10  # a larger body is decoded beside the event loop, so that small ones do not wait for it
THREADED_ROWS = 4096

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table. `label` names it in the metrics; `exchange` gives its problems their form."""

    label: str
    method: str
    answer: Callable[[Request], Awaitable[Reply]]
    exchange: Exchange


class Application:
    """Serves `served`, and whatever version `source` moves on to. `source` None: the version never changes.

    One event loop, one inference thread. The lifespan starts and ends both, and flushes the log at the end.
    """

    def __init__(
        self,
        served: Served,
        *,
        clock: Clock,
        guard: Guard,
        limits: Limits | None = None,
        log: PredictionWriter | None = None,
        source: Source | None = None,
        follow: bool = True,
        locked: bool = False,
        poll_s: float = POLL_S,
    ) -> None:
        self.live = Live(served)
        self.metrics = metrics.Metrics((lambda: log.state) if log is not None else None)
        self._clock = clock
        self._guard = guard
        self._limits = limits or Limits()
        self._prediction_log = log
        self._source = source
        self._follow = follow
        self._poll_s = poll_s
        self._batcher = Batcher(self.metrics)
        self._docs = docs.Docs(lambda: self.live.served, locked=locked)
        self._routes = self._table()
        self._following: asyncio.Task[None] | None = None
        self._worker: Worker | None = None

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
        served = self.live.served
        self.metrics.serves(served.name, served.version_text, served.run)
        self._batcher.start()
        if self._source is not None:
            self._worker = Worker("registry")
            self._following = asyncio.create_task(self._follow_source(self._source, self._worker))

    async def _follow_source(self, source: Source, worker: Worker) -> None:
        await announce(source, worker, self.live.served)
        if self._follow:
            await Reloader(self.live, source, worker, self.metrics, poll_s=self._poll_s).run()

    async def stop(self) -> None:
        if self._following is not None:
            self._following.cancel()
            with suppress(asyncio.CancelledError):
                await self._following
        if self._worker is not None:
            self._worker.close()
        await self._batcher.close()
        if self._prediction_log is not None:
            await asyncio.to_thread(self._prediction_log.close)

    # -- a request's way -----------------------------------------------------------------------------------

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        request = Request(scope, receive)
        route = self._routes.get(request.path) or self._v2_route(request.path)
        self.metrics.in_flight.inc()
        status = 499  # what a client that went away was answered
        try:
            if request.path in docs.PATHS:
                self._guard.check(request.path, request.headers)
                status = 200
                await self._docs(scope, receive, send)
                return
            response = await self._answer(request, route)
            status = 200
            headers = ((b"x-request-id", request.id.encode()), *response.headers)
            await reply(send, response.body, media=response.media, headers=headers)
        except Problem as problem:
            status = problem.status
            await self._refuse(request, problem, route, send)
        except ClientGone:
            pass
        finally:
            self.metrics.in_flight.dec()
            self.metrics.answered(route.label if route is not None else "other", status, perf_counter() - started)

    async def _answer(self, request: Request, route: Route | None) -> Reply:
        """The response, or a Problem: whatever else goes wrong becomes one, with an id that the log knows."""
        try:
            request.check_head()
            self._guard.check(request.path, request.headers)
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
        exchange = route.exchange if route is not None else _exchange_of(request.path)
        body = json_bytes(exchange.problem(problem, request.id))
        headers = [(b"x-request-id", request.id.encode()), *problem.headers]
        if problem.close:
            headers.append((b"connection", b"close"))
        await reply(send, body, status=problem.status, headers=tuple(headers), more=problem.close)
        if problem.close:
            if problem.status == TooLarge.status:  # whoever is too slow has nothing on the way to linger for
                await request.linger()
            await finish(send)

    async def _infer(self, request: Request, exchange: Exchange) -> Reply:
        media = request.media(exchange.media)
        body = Body(await request.body(self._limits), media, request.headers)
        arrived = self._clock.now()
        served = self.live.served
        if len(body.data) > THREADED_BYTES:
            asked = await asyncio.to_thread(exchange.read, body, served)
        else:
            asked = exchange.read(body, served)
        if asked.request_id is not None and not request.names_itself and is_request_id(asked.request_id):
            request.id = asked.request_id
        answer = await self._predicted(served, asked, request)
        if self._prediction_log is not None:
            self._prediction_log.append(_answered(served, asked, answer, request.id, arrived))
        self.metrics.rows.inc(asked.rows.n)
        if asked.rows.n > THREADED_ROWS:
            return await asyncio.to_thread(asked.encode, answer, request.id)
        return asked.encode(answer, request.id)

    async def _predicted(self, served: Served, asked: Asked, request: Request) -> Answer:
        if asked.rows.n == 0:
            return Answer([], [] if served.has_scores else None)
        try:
            return await self._batcher.submit(served, asked.rows)
        except Problem:
            raise
        except WrongInputs as error:
            raise BadInput(error.message) from None
        except Exception as error:
            _log.exception("%s failed on request %s", served.title, request.id)
            raise ModelFailed(f"the model failed on these rows; the server's log has it under {request.id}") from error

    # -- the table of paths --------------------------------------------------------------------------------

    def _table(self) -> dict[str, Route]:
        scoring, named, inference = Scoring(), Named(), v2.Inference()

        def get(path: str, answer: Callable[[Request], Any], exchange: Exchange) -> Route:
            async def document(request: Request) -> Reply:
                found = answer(request)
                return found if isinstance(found, Reply) else Reply(json_bytes(found))

            return Route(path, "GET", document, exchange)

        routes = [
            Route("/predict", "POST", lambda request: self._infer(request, named), named),
            Route("/invocations", "POST", lambda request: self._infer(request, scoring), scoring),
            get("/", self._index, named),
            get("/ping", lambda _: {"status": "ok"}, scoring),
            get("/health", self._health, scoring),
            get("/version", lambda _: {"mlo": v2.MLO_VERSION, **self._model()}, scoring),
            get("/metrics", lambda _: Reply(self.metrics.render(), metrics.CONTENT_TYPE), named),
            get("/v2", lambda _: v2.server_metadata(), inference),
            # KServe's client asks for `live` or `ready` by name and takes an empty body for a failure.
            get("/v2/health/live", lambda _: {"live": True, "ready": True}, inference),
            get("/v2/health/ready", lambda _: {"live": True, "ready": True}, inference),
            *(Route(path, "GET", self._nothing, named) for path in docs.PATHS),
        ]
        self._inference = inference
        return {route.label: route for route in routes}

    def _v2_route(self, path: str) -> Route | None:
        """/v2/models/M[/versions/V][/ready|/infer]"""
        parts = path.split("/")[1:]
        if len(parts) < 3 or parts[:2] != ["v2", "models"]:
            return None
        name, rest = parts[2], parts[3:]
        version = None
        if len(rest) >= 2 and rest[0] == "versions":
            version, rest = rest[1], rest[2:]
        action = "/".join(rest)
        if action not in ("", "ready", "infer"):
            return None

        async def answer(request: Request) -> Reply:
            served = self.live.served
            v2.check_model(served, name, version)
            if action == "infer":
                return await self._infer(request, self._inference)
            if action == "ready":
                return Reply(json_bytes({"name": served.name, "ready": True}))
            return Reply(json_bytes(v2.model_metadata(served)))

        label = "/v2/models/{model}" + (f"/{action}" if action else "")
        return Route(label, "POST" if action == "infer" else "GET", answer, self._inference)

    async def _nothing(self, request: Request) -> Reply:
        raise UnknownPath(f"there is nothing at {request.path}")

    def _model(self) -> dict[str, Any]:
        served = self.live.served
        return {"model": served.name, "version": served.version, "run": served.run}

    def _index(self, _: Request) -> dict[str, Any]:
        """Where to send what. The documentation's assets are nobody's to ask for."""
        model = f"/v2/models/{self.live.served.name}"
        paths = [path for path in self._routes if path not in docs.PATHS]
        paths += [model, f"{model}/ready", f"{model}/infer"]
        return {**self._model(), "docs": "/docs", "openapi": "/openapi.json", "paths": paths}

    def _health(self, request: Request) -> dict[str, Any]:
        """Always 200 while predictions are answered; what is wrong around them stands in the details."""
        if not self._guard.knows(request.headers):
            return {"status": "ok"}
        log = self._prediction_log.state if self._prediction_log is not None else None
        return {
            "status": "ok",
            **self._model(),
            "registry": {"reachable": self.live.registry_error is None, "error": self.live.registry_error},
            "reload": {"error": self.live.reload_error},
            "log": log,
        }


def _exchange_of(path: str) -> Exchange:
    return v2.Inference() if path.startswith("/v2") else Named()


def _answered(served: Served, asked: Asked, answer: Answer, request_id: str, arrived: Any) -> Answered:
    scores = [row[1] for row in answer.scores] if served.is_binary and answer.scores is not None else None
    return Answered(
        request=request_id,
        arrived=arrived,
        model=served.name,
        version=served.version,
        signature=served.signature,
        columns=asked.rows.columns,
        predictions=answer.labels,
        scores=scores,
        time_column=served.decoder.time_column,
        times=asked.rows.times,
    )
