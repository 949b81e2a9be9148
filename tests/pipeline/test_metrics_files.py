"""Metrics files: numbers with dotted names, or an error that names file and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_cli.core.errors import StageFailed
from mlops_cli.core.pipeline.metrics import MetricNotANumber, read_metrics


def read(tmp_path: Path, text: str, name: str = "m.json") -> dict[str, float]:
    (tmp_path / name).write_text(text)
    return {metric.key: metric.value for metric in read_metrics(tmp_path / name, name, time_ms=5)}


def test_nested_metrics_get_dotted_names(tmp_path: Path) -> None:
    assert read(tmp_path, '{"val": {"auc": 0.7, "n": 3}, "loss": 1e-3}') == {"loss": 0.001, "val.auc": 0.7, "val.n": 3}


def test_yaml_is_read_by_its_suffix(tmp_path: Path) -> None:
    assert read(tmp_path, "auc: 0.7\nn: 1e3\n", "m.yaml") == {"auc": 0.7, "n": 1000.0}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"auc": "0.7"}', "auc"),
        ('{"val": {"auc": null}}', "val.auc"),
        ('{"ok": true}', "ok"),
        ('{"curve": [1, 2]}', "curve"),
        ('{"auc": NaN}', "auc"),
        ('{"val": {"loss": -Infinity}}', "val.loss"),
        ('{"big": 1e999}', "big"),
    ],
)
def test_a_metric_that_is_not_a_finite_number_is_named(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(MetricNotANumber, match=rf"^m\.json: {key} is") as caught:
        read(tmp_path, text)
    assert caught.value.exit_code == 9


def test_an_integer_beyond_every_float_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MetricNotANumber, match="n is"):
        read(tmp_path, '{"n": 1' + "0" * 400 + "}")


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", '"text"', "[" * 100_000])
def test_a_file_that_holds_no_metrics_is_an_error_of_the_stage(tmp_path: Path, text: str) -> None:
    with pytest.raises(StageFailed, match=r"m\.json"):
        read(tmp_path, text)


def test_a_folder_and_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="folder"):
        read_metrics(tmp_path, "m", time_ms=0)
    (tmp_path / "m.json").write_bytes(b"\xff\xfe")
    with pytest.raises(StageFailed, match="UTF-8"):
        read_metrics(tmp_path / "m.json", "m.json", time_ms=0)


def test_one_name_written_in_two_ways_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="twice"):
        read(tmp_path, '{"a.b": 1, "a": {"b": 2}}')
