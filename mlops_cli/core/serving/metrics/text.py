"""Counts as text: Prometheus' format, or OpenMetrics for who asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from mlops_cli.core.serving.metrics.families import FAMILIES, Family
from mlops_cli.core.serving.metrics.snapshot import Labels, Snapshot, Spread, decode, merge

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


def render(
    snapshots: Sequence[bytes], retired: bytes = b"", *, workers: int | None = None, restarts: int = 0, accept: str = ""
) -> bytes:
    """What the processes counted together, in the format that the Accept header asks for.

    `snapshots` one of each living process; `retired` is the `fold` of those that ended; `workers` how many there are,
    if that is another number than that of snapshots; `restarts` how many had to be replaced.
    """
    merged = merge(decode(snapshot) for snapshot in (*snapshots, *((retired,) if retired else ())))
    merged.gauges["mlo_workers"] = {(): len(snapshots) if workers is None else workers}
    merged.counters["mlo_worker_restarts"] = {(): restarts}
    encoder, _ = choose_encoder(accept)
    text: bytes = encoder(_Collected(merged))
    return text


def media_type(accept: str = "") -> bytes:
    """The content type of what `render` answers to the same Accept header."""
    media: str = choose_encoder(accept)[1]
    return media.encode()


class _Collected(Collector):
    """A snapshot as prometheus_client's encoders read it, families in the order of their table."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        snapshot = self._snapshot
        for family in FAMILIES:
            metric = Metric(family.name, family.text, family.kind)
            if family.kind == "histogram":
                for labels, spread in sorted(snapshot.histograms.get(family.name, {}).items()):
                    _add_histogram(metric, family, labels, spread)
            else:
                values = snapshot.counters if family.kind == "counter" else snapshot.gauges
                name = family.name + "_total" * (family.kind == "counter")
                for labels, value in sorted(values.get(family.name, {}).items()):
                    metric.add_sample(name, _named(family, labels), value)
            if metric.samples:
                yield metric


def _add_histogram(metric: Metric, family: Family, labels: Labels, spread: Spread) -> None:
    named = _named(family, labels)
    upper = (*map(floatToGoString, spread.edges), "+Inf")
    for edge, count in zip(upper, accumulate(spread.counts), strict=True):
        metric.add_sample(f"{family.name}_bucket", {**named, "le": edge}, count)
    if family.has_sum:
        metric.add_sample(f"{family.name}_count", named, sum(spread.counts))
        metric.add_sample(f"{family.name}_sum", named, spread.sum)


def _named(family: Family, labels: Labels) -> dict[str, str]:
    """To Prometheus an empty label and none are the same."""
    return {name: value for name, value in zip(family.labels, labels, strict=True) if value}
