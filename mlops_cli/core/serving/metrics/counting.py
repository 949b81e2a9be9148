"""What one process counts.

A count is an int in a list that one thread writes, found through a key that was bound before: no lock and no look-up
of labels stands in a request's way. Requests, predictions and refusals are counted on the event loop's thread.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import monotonic
from typing import Protocol

from prometheus_client import ProcessCollector

from mlops_cli.core.base.records import Signature
from mlops_cli.core.predictions.writer import LogState
from mlops_cli.core.serving.metrics.buckets import MODEL_SECONDS, ROWS, SECONDS, Histogram
from mlops_cli.core.serving.metrics.outputs import Answer, Outputs
from mlops_cli.core.serving.metrics.snapshot import Labels, Snapshot, Spread, Values, encode, latest
from mlops_cli.core.serving.metrics.text import render

PATHS = 64  # the routes' own names are fewer; a name that a client made up would have no end
REASONS = ("queue", "sla", "expired")
OTHER = "other"


class Version(Protocol):
    """What is told of a version that answers; `expected` is what a regression predicts on its example."""

    @property
    def name(self) -> str: ...

    @property
    def version_text(self) -> str: ...

    @property
    def run(self) -> str: ...

    @property
    def signature(self) -> Signature: ...

    @property
    def expected(self) -> Sequence[float]: ...


class Level:
    """A gauge that goes up and down; `value` may be changed in place."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self) -> None:
        self.value += 1

    def dec(self) -> None:
        self.value -= 1


class _Requests:
    """The requests of one model, path and status; `latency` is shared by all statuses."""

    __slots__ = ("latency", "n")

    def __init__(self, latency: Histogram) -> None:
        self.n = 0
        self.latency = latency


class _Model:
    """What is counted for one model, whichever version answers."""

    __slots__ = ("batch_rows", "predict_seconds", "refused", "rows", "waiting")

    def __init__(self) -> None:
        self.rows = 0
        self.batch_rows = Histogram(ROWS)
        self.predict_seconds = Histogram(MODEL_SECONDS)
        self.refused = dict.fromkeys(REASONS, 0)
        self.waiting: list[Callable[[], float]] = []


class Metrics:
    """The counts of one server process. Paths are the routes' own names: what clients type would have no end.

    Models are those that `holds` or `serves` named; requests that ask for another one count under no name.
    """

    def __init__(self, log: Callable[[], LogState] | None = None) -> None:
        self._log = log
        self._bound: dict[tuple[str, int, str], _Requests] = {}
        self._latency: dict[tuple[str, str], Histogram] = {}
        self._paths = {OTHER}
        self._models: dict[str, _Model] = {}
        self._outputs: dict[tuple[str, str], Outputs] = {}
        self._served: dict[tuple[str, str], float] = {}
        self._answering: dict[tuple[str, str], tuple[str, str]] = {}
        self._process = ProcessCollector(registry=None)
        self.in_flight = Level()
        self.reloads: Counter[str] = Counter()  # by model
        self.reload_failures: Counter[str] = Counter()
        self.feedback: Counter[str] = Counter()
        self.reload_failed: dict[str, int] = {}
        self.registry_reachable: dict[str, int] = {}  # by reference
        self.unread: Mapping[int, int] = {}  # what connections refused before there was a request, by status

    # -- on a request's way --------------------------------------------------------------------------------

    def answered(self, path: str, status: int, seconds: float, model: str = "") -> None:
        bound = self._bound.get((path, status, model))
        if bound is None:
            bound = self._bind(path, status, model)
        bound.n += 1
        latency = bound.latency
        latency.counts[bisect_left(SECONDS, seconds)] += 1
        latency.sum += seconds

    def predicted(self, model: str, rows: int, seconds: float) -> None:
        """The model took `seconds` for a batch of `rows`."""
        found = self._models.get(model) or self.holds(model)
        found.batch_rows.observe(rows)
        found.predict_seconds.observe(seconds)

    def refused(self, model: str, reason: str) -> None:
        """A request was not predicted; `reason` is one of REASONS."""
        found = self._models.get(model) or self.holds(model)
        found.refused[reason] += 1

    def distribution(self, model: str, version: str, answer: Answer) -> None:
        """These rows were answered, by this version."""
        found = self._models.get(model) or self.holds(model)
        found.rows += len(answer.labels)
        outputs = self._outputs.get((model, version))
        if outputs is not None:
            outputs.observe(answer)

    def _bind(self, path: str, status: int, model: str) -> _Requests:
        model = model if model in self._models else ""
        if path not in self._paths:
            if len(self._paths) >= PATHS:
                path = OTHER
            self._paths.add(path)
        key = path, status, model
        if key not in self._bound:
            latency = self._latency.setdefault((model, path), Histogram(SECONDS))
            self._bound[key] = _Requests(latency)
        return self._bound[key]

    # -- what the server holds -----------------------------------------------------------------------------

    def holds(self, model: str, waiting: Callable[[], float] | None = None) -> _Model:
        """The server knows this model, loaded or not; `waiting` says how many requests wait for it."""
        found = self._models.setdefault(model, _Model())
        if waiting is not None:
            found.waiting.append(waiting)
        return found

    def serves(self, served: Version, *, slot: str = "") -> None:
        """From now on, this version answers for the reference `slot`, in place of the one before."""
        self.holds(served.name)
        key = served.name, served.version_text
        self._answering[served.name, slot] = served.version_text, served.run
        self._served[key] = monotonic()
        if key not in self._outputs:
            self._outputs[key] = Outputs(served.signature, served.expected)
        kept = latest(self._served)
        for old in self._served.keys() - kept:
            del self._served[old]
            self._outputs.pop(old, None)

    def unloaded(self, model: str, *, slot: str = "") -> None:
        """No version answers for this reference any more."""
        self._answering.pop((model, slot), None)

    # -- what was counted ----------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """Everything counted so far, for `render` and `fold`; may be called from any thread."""
        return encode(Snapshot(self._counters(), self._gauges(), self._histograms(), dict(self._served)))

    def render(self, accept: str = "") -> bytes:
        """The text of a server that is one process; its content type is `media_type(accept)`."""
        return render([self.snapshot()], accept=accept)

    # A dict is copied at once before it is read: a request may add to it meanwhile.

    def _counters(self) -> Values:
        requests: dict[Labels, int | float] = {}
        for (path, status, model), bound in dict(self._bound).items():
            requests[model, path, str(status)] = bound.n
        models = dict(self._models)
        counters: Values = {
            "mlo_requests": requests,
            "mlo_unread_requests": {(str(status),): n for status, n in dict(self.unread).items()},
            "mlo_rows": {(name,): model.rows for name, model in models.items()},
            "mlo_refused": {(name, why): n for name, model in models.items() for why, n in model.refused.items()},
            "mlo_predictions": {
                (*key, label): n
                for key, outputs in dict(self._outputs).items()
                for label, n in outputs.by_label().items()
            },
            "mlo_feedback": _of_each(self.feedback, models),
            "mlo_reloads": _of_each(self.reloads, models),
            "mlo_reload_failures": _of_each(self.reload_failures, models),
            "process_cpu_seconds": self._of_process(),
        }
        if self._log is not None:
            state = self._log()
            counters["mlo_log_written_rows"] = {(): state.written}
            counters["mlo_log_dropped_rows"] = {(): state.dropped}
            counters["mlo_log_sampled_out_rows"] = {(): state.sampled_out}
        return counters

    def _gauges(self) -> Values:
        models = dict(self._models)
        answering = dict(self._answering)
        loaded = {model for model, _ in answering}
        gauges: Values = {
            "mlo_in_flight_requests": {(): self.in_flight.value},
            "mlo_queued_requests": {(name,): sum(ask() for ask in model.waiting) for name, model in models.items()},
            "mlo_model_info": {(model, *found): 1 for (model, _), found in answering.items()},
            "mlo_model_loaded": {(name,): int(name in loaded) for name in models},
            "mlo_reload_failed": _of_each(self.reload_failed, models),
            "mlo_registry_reachable": {(): min(self.registry_reachable.copy().values(), default=1)},
        }
        if self._log is not None:
            gauges["mlo_log_waiting_segments"] = {(): self._log().waiting}
        for metric in self._process.collect():
            if metric.type == "gauge":
                gauges[metric.name] = {(): metric.samples[0].value}
        return gauges

    def _histograms(self) -> dict[str, dict[Labels, Spread]]:
        models, outputs = dict(self._models), dict(self._outputs)
        return {
            "mlo_request_seconds": {key: _spread(latency) for key, latency in dict(self._latency).items()},
            "mlo_batch_rows": {(name,): _spread(model.batch_rows) for name, model in models.items()},
            "mlo_predict_seconds": {(name,): _spread(model.predict_seconds) for name, model in models.items()},
            "mlo_prediction_score": {key: _spread(it.scores) for key, it in outputs.items() if it.scores is not None},
            "mlo_prediction_value": {key: _spread(it.values) for key, it in outputs.items() if it.values is not None},
        }

    def _of_process(self) -> dict[Labels, int | float]:
        found = [metric.samples[0].value for metric in self._process.collect() if metric.type == "counter"]
        return {(): sum(found)} if found else {}


def _spread(histogram: Histogram) -> Spread:
    return Spread(histogram.edges, list(histogram.counts), histogram.sum)


def _of_each(numbers: Mapping[str, int], models: Iterable[str]) -> dict[Labels, int | float]:
    """Of every model that the server knows, so that a series begins at 0."""
    return {(name,): numbers.get(name, 0) for name in models}
