"""What a version of a model answers, counted: how often each class, or which numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

from mlops_cli.core.base.records import Signature
from mlops_cli.core.serving.metrics.buckets import SCORES, Histogram, value_edges

CLASSES = 50  # that have a series of their own
LABEL_LENGTH = 100
OTHER = "other"
_MANY = 64  # rows from which counting them in one go is quicker


class Answer(Protocol):
    """Predictions as plain values, and one score a class for each, or None."""

    @property
    def labels(self) -> Sequence[Any]: ...

    @property
    def scores(self) -> Sequence[Sequence[float]] | None: ...


class Outputs:
    """The predictions of one version. Its series are settled when the version is loaded, whatever it answers."""

    __slots__ = ("_is_binary", "_place", "counts", "names", "scores", "values")

    def __init__(self, signature: Signature, expected: Sequence[float] = ()) -> None:
        """`expected`: what a regression predicts on its example."""
        classes = signature.classes[:CLASSES]
        self.names = [_text(label) for label in classes]
        if signature.task == "classification":
            self.names.append(OTHER)
        self.counts = [0] * len(self.names)
        self._place: dict[Any, int] = {label: place for place, label in enumerate(classes)}
        self._is_binary = len(signature.classes) == 2
        self.scores: Histogram | None = None  # a classifier may give none
        self.values = Histogram(value_edges(expected)) if signature.task == "regression" else None

    def observe(self, answer: Answer) -> None:
        labels, scores = answer.labels, answer.scores
        if self.values is not None:
            _observe(self.values, labels)
            return
        if len(labels) < _MANY:
            for label in labels:
                self.counts[self._place.get(label, -1)] += 1
        else:
            for label, count in Counter(labels).items():
                self.counts[self._place.get(label, -1)] += count
        if scores is not None:
            if self.scores is None:
                self.scores = Histogram(SCORES)
            _observe(self.scores, [row[1] for row in scores] if self._is_binary else [max(row) for row in scores])

    def by_label(self) -> dict[str, int]:
        """Rows by class. Classes whose texts are the same after the cut are one."""
        found: dict[str, int] = {}
        for name, count in zip(self.names, self.counts, strict=True):
            found[name] = found.get(name, 0) + count
        return found


def _observe(histogram: Histogram, values: Sequence[float]) -> None:
    if len(values) < _MANY:
        for value in values:
            histogram.observe(value)
    else:
        histogram.observe_many(values)


def _text(label: str | int | float | bool) -> str:
    return str(label).lower() if isinstance(label, bool) else str(label)[:LABEL_LENGTH]
