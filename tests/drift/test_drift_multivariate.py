"""The domain classifier: what it finds that single columns cannot show, and when it keeps silent."""

from __future__ import annotations

from typing import Any

import joint_worlds
import numpy as np
import pyarrow as pa
import pytest

from mlops_cli.core.base.records import Column
from mlops_cli.core.drift.check import check
from mlops_cli.core.drift.family import Family, check_family
from mlops_cli.core.drift.multivariate import effect_floor
from mlops_cli.core.drift.profiling import make_profile
from mlops_cli.core.drift.records import Multivariate
from mlops_cli.core.drift.window import Window
from mlops_cli.core.stats.blocks import arrangements, block_auc_test


def checked(
    reference: pa.Table, window: pa.Table, *, kinds: dict[str, Any] | None = None, time: str | None = None, **other: Any
) -> Family:
    inputs = [Column(name, (kinds or {}).get(name, "float"), True) for name in reference.column_names if name != time]
    profile = make_profile(reference, inputs=inputs, time=time, **other)
    return check_family(profile, window, lambda: Window.of_table(reference), multivariate=True)


def found(family: Family) -> Multivariate:
    assert family.multivariate is not None
    return family.multivariate


def test_a_change_of_correlation_alone_is_found_and_the_columns_named() -> None:
    reference, window = joint_worlds.pair(0, 3000, 0.0), joint_worlds.pair(1, 2000, 0.8)
    profile = make_profile(reference, inputs=[Column(name, "float", True) for name in reference.column_names])
    assert check(profile, window).verdict == "quiet"
    family = checked(reference, window)
    assert (family.result.verdict, family.result.alarms) == ("drift", ())
    joint = found(family)
    assert joint.alarm
    assert joint.auc > joint.bound > 0.5
    assert joint.p_adjusted is not None
    assert joint.p_adjusted <= 0.01
    assert {name for name, _ in joint.columns[:2]} == {"a", "b"}
    assert sum(share for _, share in joint.columns) <= 1 + 1e-9


def test_a_window_like_the_reference_is_quiet_and_the_answer_always_the_same() -> None:
    reference, window = joint_worlds.pair(2, 1500, 0.5), joint_worlds.pair(3, 800, 0.5)
    first, second = (checked(reference, window) for _ in range(2))
    assert first == second
    assert first.result.verdict == "quiet"
    assert not found(first).alarm
    assert found(first).columns == ()
    assert "rows are taken as independent" in found(first).note


def test_alpha_is_shared_with_the_classifier() -> None:
    family = checked(joint_worlds.pair(2, 600, 0.5), joint_worlds.pair(3, 400, 0.5))
    spent = family.result.level * family.result.tests + found(family).level
    assert spent == pytest.approx(family.result.rules.alpha)


def test_the_floor_is_that_of_the_columns() -> None:
    # Of all ROC curves at total variation t the highest is min(1, x + t), with an area of 1 - (1 - t)^2 / 2.
    t, x = 0.05, np.linspace(0, 1, 200_001)
    area = float(np.trapezoid(np.minimum(1, x + t), x))
    assert effect_floor(t) == pytest.approx(2 * area - 1, abs=1e-9)


def test_ids_counters_times_and_constants_take_no_part() -> None:
    n, m = 600, 400
    generator = np.random.default_rng(4)

    def rows(start: int, count: int) -> pa.Table:
        at = pa.array(np.arange(start, start + count) * 1_000_000, pa.timestamp("us"))
        return pa.table(
            {
                "x": generator.normal(size=count),
                "row": np.arange(start, start + count),
                "text_id": [f"id{start + row}" for row in range(count)],
                "number_id": generator.permutation(np.arange(start, start + count)),
                "same": np.ones(count),
                "seen": at,
                "at": at,
            }
        )

    kinds = {"row": "integer", "text_id": "string", "number_id": "integer", "seen": "datetime"}
    family = checked(rows(0, n), rows(n, m), kinds=kinds, time="at")
    joint = found(family)
    assert not joint.alarm
    assert "as only ever growing: row" in joint.note
    assert "text_id" in joint.note
    assert "number_id" in joint.note
    assert "as a time: seen" in joint.note


def test_missing_rows_categories_and_infinities_are_values_to_it() -> None:
    generator = np.random.default_rng(5)

    def rows(n: int, *, joined: bool) -> pa.Table:
        gone = generator.random(n) < 0.3
        kind = np.where(gone if joined else generator.random(n) < 0.3, "p", "q")
        values = np.where(generator.random(n) < 0.01, np.inf, generator.normal(size=n))
        return pa.table({"x": pa.array(values, mask=gone), "kind": kind})

    family = checked(rows(2000, joined=False), rows(1000, joined=True), kinds={"kind": "string"})
    assert family.result.alarms == ()
    assert found(family).alarm
    assert {name for name, _ in found(family).columns} == {"x", "kind"}


@pytest.mark.parametrize("rows", [1, 99])
def test_too_few_rows_are_said_and_raise_no_alarm(rows: int) -> None:
    family = checked(joint_worlds.pair(6, 500, 0.0), joint_worlds.pair(7, rows, 0.9))
    assert family.multivariate is None
    assert any("all columns together were not compared: too few rows" in note for note in family.result.notes)


def test_dependent_rows_that_are_worth_too_few_are_said() -> None:
    reference, window = (joint_worlds.dependent(seed, n, 0.99) for seed, n in ((8, 4000), (9, 500)))
    family = checked(reference, window, time="at")
    assert family.multivariate is None
    assert any("in a row are worth one" in note for note in family.result.notes)


def test_a_window_without_the_time_is_not_compared() -> None:
    reference, window = (joint_worlds.dependent(seed, n, 0.5) for seed, n in ((8, 2000), (9, 900)))
    family = checked(reference, window.drop_columns(["at"]), time="at")
    assert family.multivariate is None
    assert any("the window has no at that orders its rows" in note for note in family.result.notes)


def test_nothing_to_compare_is_said() -> None:
    reference = pa.table({"x": np.ones(300), "y": pa.nulls(300, pa.float64())})
    window = pa.table({"x": np.ones(200), "y": pa.nulls(200), "new": np.ones(200)})
    family = checked(reference, window)
    assert family.multivariate is None
    assert any("no column can be compared" in note for note in family.result.notes)


def test_a_column_of_another_kind_is_the_schemas_finding() -> None:
    reference, window = joint_worlds.pair(10, 600, 0.0), joint_worlds.pair(11, 400, 0.0)
    family = checked(reference, window.set_column(0, "a", pa.array(["text"] * 400)))
    assert [change.change for change in family.result.schema] == ["retyped"]
    assert not found(family).alarm


def test_columns_of_no_importance_take_no_part() -> None:
    reference, window = joint_worlds.pair(12, 3000, 0.0), joint_worlds.pair(13, 2000, 0.9)
    others = dict.fromkeys(reference.column_names, 0.1)
    family = checked(reference, window, importances=others | {"a": 1e-5})
    assert not found(family).alarm
    assert "as of no importance: a" in found(family).note


def test_block_permutation_agrees_with_every_arrangement() -> None:
    from itertools import combinations

    generator = np.random.default_rng(14)
    scores, second = np.round(generator.normal(size=(7, 3)), 1), np.arange(7) >= 4
    test = block_auc_test(scores, second, 0.1, 20_000, generator)

    def auc(chosen: tuple[int, ...]) -> float:
        a, b = np.delete(scores, chosen, axis=0).reshape(-1), scores[list(chosen)].reshape(-1)
        return float(np.mean((b[:, None] > a) + (b[:, None] == a) / 2))

    every = np.array([auc(chosen) for chosen in combinations(range(7), 3)])
    assert test.auc == pytest.approx(auc((4, 5, 6)))
    assert test.p_value == pytest.approx(np.mean(every >= test.auc - 1e-12), abs=0.01)
    assert test.bound == pytest.approx(np.sort(every)[-4], abs=0.02)
    assert arrangements(7, 3) == pytest.approx(len(every))


def test_block_permutation_bound_and_p_value_say_the_same() -> None:
    generator = np.random.default_rng(15)
    for _ in range(60):
        scores = generator.normal(size=(30, 2)) + np.where(np.arange(30) >= 15, 0.6, 0.0)[:, None]
        test = block_auc_test(scores, np.arange(30) >= 15, 0.05, 999, generator)
        assert (test.auc > test.bound) == (test.p_value <= 0.05)


def test_p_values_without_drift_are_not_too_small() -> None:
    p_values = joint_worlds.null_p_values(16, 12, 400, 200)
    assert np.mean(np.array(p_values) <= 0.2) <= 0.5


@pytest.mark.slow
@pytest.mark.parametrize("phi", [0.0, 0.9])
def test_dozens_of_windows_without_drift_are_quiet(phi: float) -> None:
    p_values = np.array(joint_worlds.null_p_values(17, 80, 4000 if phi else 600, 1500 if phi else 300, phi=phi))
    assert np.mean(p_values <= 0.05) <= 0.1
    assert np.mean(p_values <= 0.01) <= 0.04
