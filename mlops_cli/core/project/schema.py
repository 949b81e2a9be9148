"""mlo.yaml as types. A field here is a key there; nothing else is accepted."""
# ruff: noqa: RUF012 - a Struct copies its defaults

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mlops_cli.core.base.records import MODEL_NAME
from mlops_cli.core.project.stages import Duration, Environment, Link, PathText, Plot, Size, Stage, Strict

__all__ = ["Plot", "Project", "Stage", "json_schema"]

Name = Annotated[str, Meta(pattern=f"^{MODEL_NAME.pattern}$")]


class Evaluate(Strict, frozen=True):
    """Labelled rows on which every candidate is scored."""

    data: PathText
    target: str


class Model(Strict, frozen=True):
    """The model that this project makes."""

    name: Name
    path: PathText = "model"
    reference: PathText | None = None
    evaluate: Evaluate | None = None
    time: str | None = None
    gates: dict[Name, list[str]] = {}
    trusted: list[str] = []


Milliseconds = Annotated[float, Meta(gt=0, le=3_600_000)]
Waiting = Annotated[int, Meta(ge=1, le=1_000_000)]


class ServedModel(Strict, frozen=True):
    """What differs for one model of a server that holds several; null is as under `serve`."""

    sla_ms: Milliseconds | None = None
    queue: Waiting | None = None
    timeout_ms: Milliseconds | None = None
    lazy: Annotated[bool, Meta(description="load it at the first request")] = False


class Serve(Strict, frozen=True):
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8080
    hosts: Annotated[tuple[str, ...], Meta(description="the names under which clients may ask; empty: any")] = ()
    workers: Annotated[int, Meta(ge=1, le=256, description="processes that share the port")] = 1
    log: bool | str = True
    sample: Annotated[float, Meta(gt=0, le=1, description="share of the requests that are logged")] = 1.0
    keep: Annotated[Duration | None, Meta(description="how long predictions are kept; null: for ever")] = None
    max_body: Size = "8MiB"
    max_rows: Annotated[int, Meta(ge=1)] = 100_000
    sla_ms: Annotated[Milliseconds | None, Meta(description="refuse at once what cannot be answered in it")] = None
    queue: Annotated[Waiting, Meta(description="requests that may wait for a model, in each process")] = 256
    timeout_ms: Annotated[Milliseconds, Meta(description="a request that waited longer is dropped")] = 30_000
    models: dict[Name, ServedModel] = {}


class Drift(Strict, frozen=True):
    window: Duration = "24h"
    alpha: Annotated[float, Meta(gt=0, lt=1)] = 0.01
    floor: Annotated[float, Meta(ge=0, lt=1)] = 0.05
    detect: Annotated[float, Meta(gt=0, lt=1)] = 0.2
    min_rows: Annotated[int, Meta(ge=1)] = 200
    max_window: Duration | None = None
    margin: Annotated[float, Meta(ge=0, lt=1)] = 0.02
    persistence: Annotated[
        str, Meta(pattern=r"^[1-9][0-9]?/[1-9][0-9]?$", description="alarms of windows, as in 2/3")
    ] = "2/3"
    reference: Annotated[
        str,
        Meta(
            min_length=1,
            description="what windows are compared with: training, weekday:4, season:1, 2013-04-01..2013-05-01, a file",
        ),
    ] = "training"


class Retrain(Strict, frozen=True):
    triggers: tuple[Literal["drift", "performance", "age"], ...] = ("drift",)
    holdout: PathText | None = None
    cooldown: Duration = "7d"
    max_age: Duration | None = None
    metric: str = "auc"
    min_labels: Annotated[int, Meta(ge=1)] = 200
    promote: bool = True


class Cache(Strict, frozen=True):
    dir: str | None = None
    link: tuple[Link, ...] = ("reflink", "copy")


class RemoteConfig(Strict, frozen=True):
    url: str
    trust: Literal["private", "shared"] = "private"
    options: dict[str, Any] = {}


class Project(Strict, frozen=True):
    """The whole of mlo.yaml."""

    name: Name
    params: dict[str, Any] = {}
    stages: dict[str, Stage] = {}
    env: Environment | None = None
    model: Model | None = None
    serve: Serve = Serve()
    drift: Drift = Drift()
    retrain: Retrain = Retrain()
    cache: Cache = Cache()
    registry: str = "local"
    remotes: dict[Name, str | RemoteConfig] = {}
    hash: Literal["xxh128", "blake3"] = "xxh128"

    def remote(self, name: str) -> RemoteConfig:
        """Raises KeyError for an unknown name."""
        remote = self.remotes[name]
        return RemoteConfig(url=remote) if isinstance(remote, str) else remote


def json_schema() -> dict[str, Any]:
    """The JSON Schema of mlo.yaml, for editors."""
    schema = msgspec.json.schema(Project)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "mlo.yaml", **schema}
