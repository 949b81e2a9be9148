"""Metrics files: JSON or YAML that a stage wrote, read as numbers with dotted names."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlops_cli.core.base.records import Metric
from mlops_cli.core.errors import ProjectError, StageFailed
from mlops_cli.core.project import yaml12


class MetricNotANumber(StageFailed):
    code = "metric_not_a_number"


def read_metrics(path: Path, name: str, *, time_ms: int) -> tuple[Metric, ...]:
    """The metrics in a file, `{"val": {"auc": 0.7}}` as `val.auc`, sorted by name; `name` is for messages.

    Raises StageFailed if the file does not read, or if a value is not a finite number, naming file and key.
    """
    values: dict[str, float] = {}
    for key, value in _leaves(_document(path, name), "", name):
        if key in values:
            raise StageFailed(f"{name}: the metric {key} stands there twice", hint="give each metric one name")
        values[key] = value
    return tuple(Metric(key, values[key], time_ms=time_ms) for key in sorted(values))


def _document(path: Path, name: str) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except IsADirectoryError:
        raise StageFailed(f"{name} is a folder, and metrics are a file", hint="name the file under metrics:") from None
    except UnicodeDecodeError as error:
        raise StageFailed(f"{name} is not UTF-8: {error}", hint="write the metrics as JSON or YAML text") from None
    try:
        # YAML 1.2 holds JSON, but json is faster and its messages are better known.
        document = yaml12.read(text, name)[0] if path.suffix in (".yaml", ".yml") else json.loads(text)
    except ProjectError as error:
        raise StageFailed(f"{error.message}; it holds the stage's metrics", hint="write JSON or YAML") from None
    except (ValueError, RecursionError) as error:
        raise StageFailed(
            f"{name} holds the stage's metrics, but is not JSON: {error}", hint="write JSON or YAML"
        ) from None
    if not isinstance(document, Mapping):
        raise StageFailed(
            f"{name} holds {_shown(document)}, where metrics are names with numbers",
            hint='write {"auc": 0.71}',
        )
    return document


def _leaves(document: Mapping[str, Any], prefix: str, name: str) -> Iterator[tuple[str, float]]:
    for part, value in document.items():
        key = f"{prefix}{part}"
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{key}.", name)
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise MetricNotANumber(
                f"{name}: {key} is {_shown(value)}, which is not a number",
                hint="keep numbers only under metrics:; other results belong under outs:",
            )
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise MetricNotANumber(
                f"{name}: {key} is {number}, and a metric is a finite number",
                hint="leave the metric out where it cannot be computed",
            )
        yield key, number


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:60]}…"
