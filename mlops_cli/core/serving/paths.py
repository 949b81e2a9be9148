"""The table of paths: which handler answers, and in which protocol's form."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from mlops_cli.core.serving import docs, metrics
from mlops_cli.core.serving.feedback import Feedback
from mlops_cli.core.serving.fleet import Fleet
from mlops_cli.core.serving.http import Request, json_bytes
from mlops_cli.core.serving.limits import Limits
from mlops_cli.core.serving.predicting import Predicting
from mlops_cli.core.serving.problems import UnknownPath
from mlops_cli.core.serving.protocols import repository, v2
from mlops_cli.core.serving.protocols.exchange import Exchange, Reply
from mlops_cli.core.serving.protocols.mlflow import Scoring
from mlops_cli.core.serving.protocols.named import Named
from mlops_cli.core.serving.shelf import Shelf
from mlops_cli.core.serving.status import Status

_NAMED, _SCORING, _INFERENCE = Named(), Scoring(), v2.Inference()
_PREDICTING: dict[str, Exchange] = {"predict": _NAMED, "invocations": _SCORING}
_FEEDBACK = "feedback"
_KEPT = 1000  # paths of models, so that what clients type cannot fill the memory


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table. `label` names it in the metrics; `exchange` gives its problems their form; `model` is the
    one that it asks, "" for the default or none."""

    label: str
    method: str
    answer: Callable[[Request], Awaitable[Reply]]
    exchange: Exchange
    model: str = ""


class Paths:
    """Finds the route of a path. What a path names is looked up anew at each request: models come and go."""

    def __init__(
        self,
        shelf: Shelf,
        predicting: Predicting,
        fleet: Fleet,
        status: Status,
        feedback: Feedback,
        limits: Limits,
    ) -> None:
        self._shelf = shelf
        self._predicting = predicting
        self._fleet = fleet
        self._status = status
        self._feedback = feedback
        self._limits = limits
        self._table = {route.label: route for route in self._fixed()}
        self._known: dict[str, Route] = {}

    def find(self, path: str) -> Route | None:
        route = self._table.get(path) or self._known.get(path)
        if route is None:
            route = self._of_model(path)
            if route is not None and route.model in self._shelf.names and len(self._known) < _KEPT:
                self._known[path] = route
        return route

    # -- fixed paths ---------------------------------------------------------------------------------------

    def _fixed(self) -> list[Route]:
        status = self._status
        return [
            Route("/predict", "POST", self._default(_NAMED), _NAMED),
            Route("/invocations", "POST", self._default(_SCORING), _SCORING),
            Route("/feedback", "POST", self._labels_of(None), _NAMED),
            _get("/", self._index, _NAMED),
            _get("/ping", lambda _: {"status": "ok"}, _SCORING),
            _get("/health", status.health, _SCORING),
            _get("/version", status.version, _SCORING),
            Route("/metrics", "GET", self._counted, _NAMED),
            _get("/v2", lambda _: v2.server_metadata(), _INFERENCE),
            # KServe's client asks for `live` or `ready` by name and takes an empty body for a failure.
            _get("/v2/health/live", lambda _: {"live": True, "ready": status.trouble is None}, _INFERENCE),
            _get("/v2/health/ready", self._ready, _INFERENCE),
            Route("/v2/repository/index", "POST", self._repository_index, _INFERENCE),
            *(_get(path, _nothing, _NAMED) for path in docs.PATHS),
        ]

    def _default(self, exchange: Exchange) -> Callable[[Request], Awaitable[Reply]]:
        async def answer(request: Request) -> Reply:
            slot = self._shelf.default
            served = slot.served
            if served is None:
                _, served = self._shelf.find(slot.name)
            return await self._predicting.infer(request, exchange, slot, served)

        return answer

    def _labels_of(self, model: str | None) -> Callable[[Request], Awaitable[Reply]]:
        async def take(request: Request) -> Reply:
            return await self._feedback.take(request, model or self._shelf.default.name)

        return take

    def _ready(self, _: Request) -> Reply:
        trouble = self._status.trouble
        if trouble is None:
            return Reply(json_bytes({"live": True, "ready": True}))
        return Reply(json_bytes({"live": True, "ready": False, "error": trouble}), status=503)

    async def _counted(self, request: Request) -> Reply:
        accept = request.headers.get(b"accept", b"").decode("latin-1")
        return Reply(await self._fleet.metrics(accept), metrics.media_type(accept))

    def _index(self, _: Request) -> dict[str, Any]:
        """Where to send what. The documentation's assets are nobody's to ask for."""
        paths = [path for path in self._table if path not in docs.PATHS]
        for name in self._shelf.names:
            paths += [f"/v2/models/{name}{rest}" for rest in ("", "/ready", "/infer")]
        if len(self._shelf.names) > 1:
            paths += [f"/models/{name}/{rest}" for name in self._shelf.names for rest in (*_PREDICTING, _FEEDBACK)]
        return {**self._status.versions(), "docs": "/docs", "openapi": "/openapi.json", "paths": paths}

    # -- paths of a model ----------------------------------------------------------------------------------

    def _of_model(self, path: str) -> Route | None:
        if (found := _split(path, "/models/")) is not None and found[2] in _PREDICTING:
            return self._predict_route(*found)
        if found is not None and found[1:] == (None, _FEEDBACK):
            return Route("/models/{model}/feedback", "POST", self._labels_of(found[0]), _NAMED, found[0])
        if (found := _split(path, "/v2/models/")) is not None:
            return self._v2_route(*found)
        if (found := _split(path, "/v2/repository/models/")) is not None and found[1] is None:
            return self._repository_route(found[0], found[2])
        return None

    def _predict_route(self, name: str, version: str | None, rest: str) -> Route:
        exchange = _PREDICTING[rest]

        async def answer(request: Request) -> Reply:
            return await self._predicting.infer(request, exchange, *self._shelf.find(name, version))

        return Route(f"/models/{{model}}/{rest}", "POST", answer, exchange, name)

    def _v2_route(self, name: str, version: str | None, rest: str) -> Route | None:
        async def infer(request: Request) -> Reply:
            return await self._predicting.infer(request, _INFERENCE, *self._shelf.find(name, version))

        if rest == "infer":
            return Route("/v2/models/{model}/infer", "POST", infer, _INFERENCE, name)
        if rest == "ready":

            def ready(_: Request) -> dict[str, Any]:
                served = self._shelf.find(name, version)[1]
                return {"name": name, "ready": served is not None}

            return _get("/v2/models/{model}/ready", ready, _INFERENCE, name)
        if rest == "":

            async def metadata(_: Request) -> Reply:
                slot, served = self._shelf.find(name, version)
                served = served or await self._predicting.loaded(slot)
                return Reply(json_bytes(v2.model_metadata(served, self._shelf.held(name))))

            return Route("/v2/models/{model}", "GET", metadata, _INFERENCE, name)
        if rest in v2.NOT_OFFERED:

            def refuse(_: Request) -> None:
                raise UnknownPath(f"the extension {v2.NOT_OFFERED[rest]} is not offered; {v2.INSTEAD[rest]}")

            return _get(f"/v2/models/{{model}}/{rest}", refuse, _INFERENCE, name)
        return None

    # -- the repository ------------------------------------------------------------------------------------

    async def _repository_index(self, request: Request) -> Reply:
        ready_only = repository.read_index(await request.body(self._limits))
        entries = [entry for slot in self._shelf for entry in repository.entries(slot)]
        return Reply(json_bytes([entry for entry in entries if not ready_only or entry["state"] == "READY"]))

    def _repository_route(self, name: str, rest: str) -> Route | None:
        async def load(request: Request) -> Reply:
            repository.check_change(await request.body(self._limits))
            await self._fleet.load(name)
            return Reply(b"{}")

        async def unload(request: Request) -> Reply:
            repository.check_change(await request.body(self._limits))
            await self._fleet.unload(name)
            return Reply(b"{}")

        answer = {"load": load, "unload": unload}.get(rest)
        if answer is None:
            return None
        return Route(f"/v2/repository/models/{{model}}/{rest}", "POST", answer, _INFERENCE, name)


def _get(path: str, answer: Callable[[Request], Any], exchange: Exchange, model: str = "") -> Route:
    async def document(request: Request) -> Reply:
        found = answer(request)
        return found if isinstance(found, Reply) else Reply(json_bytes(found))

    return Route(path, "GET", document, exchange, model)


def _nothing(request: Request) -> None:
    raise UnknownPath(f"there is nothing at {request.path}")


def _split(path: str, prefix: str) -> tuple[str, str | None, str] | None:
    """`<prefix>M[/versions/V][/rest]` as (M, V, rest); None if the path does not begin so."""
    if not path.startswith(prefix):
        return None
    name, *rest = path[len(prefix) :].split("/")
    version = None
    if len(rest) >= 2 and rest[0] == "versions":
        version, rest = rest[1], rest[2:]
    return name, version, "/".join(rest)


def exchange_of(path: str) -> Exchange:
    """The form of the problems of a path that is in no table."""
    return _INFERENCE if path.startswith("/v2") else _NAMED
