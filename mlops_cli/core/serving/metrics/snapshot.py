"""The counts of one process as bytes, and of several processes as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import add

import msgspec

from mlops_cli.core.serving.metrics.buckets import add_histogram
from mlops_cli.core.serving.metrics.families import MERGED

VERSIONS = 5  # of one model whose predictions have series of their own

Labels = tuple[str, ...]
Values = dict[str, dict[Labels, int | float]]


class Spread(msgspec.Struct, array_like=True):
    """A histogram: `counts` by bucket, not cumulated, one more than there are `edges`."""

    edges: tuple[float, ...]
    counts: list[int]
    sum: float


class Snapshot(msgspec.Struct):
    """What one process, or several, counted: family -> label values -> value.

    `served` says when each version of a model last began to answer, in seconds of the machine's monotonic clock: which
    ones are the latest is known however many processes there were.
    """

    counters: Values = {}
    gauges: Values = {}
    histograms: dict[str, dict[Labels, Spread]] = {}
    served: dict[tuple[str, str], float] = {}


_decoder = msgspec.msgpack.Decoder(Snapshot)
encode = msgspec.msgpack.Encoder().encode


def decode(snapshot: bytes) -> Snapshot:
    return _decoder.decode(snapshot)


def merge(snapshots: Iterable[Snapshot]) -> Snapshot:
    """The sum of counters and histograms; of gauges the sum, the largest or the smallest, as their family says."""
    merged = Snapshot()
    for snapshot in snapshots:
        _add_values(merged.counters, snapshot.counters)
        _add_values(merged.gauges, snapshot.gauges)
        for name, spreads in snapshot.histograms.items():
            found = merged.histograms.setdefault(name, {})
            for labels, spread in spreads.items():
                found[labels] = _joined(found[labels], spread) if labels in found else spread
        for version, since in snapshot.served.items():
            merged.served[version] = max(since, merged.served.get(version, since))
    _forget(merged)
    return merged


def fold(snapshots: Sequence[bytes]) -> bytes:
    """What stays of processes that have ended: everything that only grows, as one snapshot.

    Of each process its last snapshot; what an earlier `fold` gave goes in as one more.
    """
    merged = merge(decode(snapshot) for snapshot in snapshots)
    return encode(Snapshot(merged.counters, {}, merged.histograms, merged.served))


def latest(served: Mapping[tuple[str, str], float]) -> set[tuple[str, str]]:
    """The versions of each model that keep their series: those that began to answer last."""
    by_model: dict[str, list[tuple[float, str]]] = {}
    for (model, version), since in served.items():
        by_model.setdefault(model, []).append((since, version))
    return {(model, version) for model, found in by_model.items() for _, version in sorted(found)[-VERSIONS:]}


_TAKE: dict[str, Callable[[float, float], float]] = {"sum": add, "max": max, "min": min}
_BY_VERSION = "mlo_prediction"  # the families whose first labels are model and version


def _add_values(into: Values, values: Values) -> None:
    for name, by_labels in values.items():
        take = _TAKE[MERGED[name]]
        found = into.setdefault(name, {})
        for labels, value in by_labels.items():
            found[labels] = take(found[labels], value) if labels in found else value


def _joined(one: Spread, other: Spread) -> Spread:
    counts = add_histogram(one.edges, one.counts, other.edges, other.counts)
    return Spread(one.edges, counts, one.sum + other.sum)


def _forget(snapshot: Snapshot) -> None:
    kept = latest(snapshot.served)
    snapshot.served = {version: since for version, since in snapshot.served.items() if version in kept}
    for values in (snapshot.counters, snapshot.histograms):
        for name, by_labels in values.items():
            if name.startswith(_BY_VERSION):
                for labels in [labels for labels in by_labels if labels[:2] not in kept]:
                    del by_labels[labels]
