"""What the server counts, in a registry of its own, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from mlops_cli.core.predictions.writer import LogState
from mlops_cli.core.serving.loader import Answer

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 16384, 100_000)


class Metrics:
    """The counters of one server. Paths are the routes' own names: what clients type would have no end."""

    def __init__(self, log: Callable[[], LogState] | None = None) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        self._requests = Counter("mlo_requests", "Requests answered", ("path", "status"), registry=self.registry)
        self._latency = Histogram(
            "mlo_request_seconds",
            "Time from the headers to the answer",
            ("path",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.rows = Counter("mlo_rows", "Rows predicted", registry=self.registry)
        self.in_flight = Gauge("mlo_in_flight_requests", "Requests being answered", registry=self.registry)
        self.queued = Gauge("mlo_queued_requests", "Requests waiting for the model", registry=self.registry)
        self.batch_rows = Histogram("mlo_batch_rows", "Rows predicted in one go", buckets=_ROWS, registry=self.registry)
        self.predict_seconds = Histogram(
            "mlo_predict_seconds", "Time in the model, for one batch", buckets=_SECONDS, registry=self.registry
        )
        self._model = Gauge(
            "mlo_model_info", "The version that answers", ("model", "version", "run"), registry=self.registry
        )
        self.reloads = Counter("mlo_reloads", "Versions swapped in while serving", registry=self.registry)
        self.reload_failures = Counter(
            "mlo_reload_failures", "Versions that could not be loaded", registry=self.registry
        )
        self.reload_failed = Gauge(
            "mlo_reload_failed", "1 while the reference means a version that cannot be loaded", registry=self.registry
        )
        self.registry_reachable = Gauge(
            "mlo_registry_reachable", "0 while the registry does not answer", registry=self.registry
        )
        self.registry_reachable.set(1)
        if log is not None:
            self.registry.register(_LogCollector(log))
        # Bound once for each pair: labels() looks its child up under a lock on every call.
        self._bound: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def refused(self, model: str, reason: str) -> None:
        """A request was turned away: `queue`, `sla` or `expired`."""

    def predicted(self, model: str, rows: int, seconds: float) -> None:
        self.rows.inc(rows)
        self.predict_seconds.observe(seconds)
        self.batch_rows.observe(rows)

    def distribution(self, model: str, version: str, answer: Answer) -> None:
        """What was predicted."""

    def answered(self, path: str, status: int, seconds: float, model: str = "") -> None:
        bound = self._bound.get((path, status))
        if bound is None:
            bound = self._requests.labels(path, str(status)), self._latency.labels(path)
            self._bound[path, status] = bound
        bound[0].inc()
        bound[1].observe(seconds)

    def serves(self, model: str, version: str, run: str) -> None:
        """From now on, this version answers."""
        self._model.clear()
        self._model.labels(model, version, run).set(1)

    def render(self) -> bytes:
        text: bytes = generate_latest(self.registry)
        return text


class _LogCollector(Collector):
    """The prediction log's own counts, asked for when they are read."""

    def __init__(self, state: Callable[[], LogState]) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        state = self._state()
        yield CounterMetricFamily("mlo_log_written_rows", "Rows of the prediction log written", value=state.written)
        yield CounterMetricFamily(
            "mlo_log_dropped_rows", "Rows of the log dropped: memory or disk full", value=state.dropped
        )
        yield GaugeMetricFamily(
            "mlo_log_waiting_segments", "Segments the log's remote has not got", value=state.waiting
        )
