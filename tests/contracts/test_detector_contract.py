"""What every detector of drift promises, whatever its rule."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.core.drift.detectors.open import DETECTORS, from_bytes, open_detector, to_bytes
from mlops_cli.core.errors import IntegrityError, UsageError

RIVER = pytest.param("river:ADWIN", marks=pytest.mark.peer)


@pytest.fixture(params=[*DETECTORS, RIVER])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[*DETECTORS])
def own(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def worse(seed: int = 3, n: int = 3200) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return np.concatenate([generator.random(n) < 0.05, generator.random(n) < 0.7]).astype(float)


def state(detector: Any) -> dict[str, Any]:
    return dict(msgspec.to_builtins(detector))


def test_a_detector_says_its_name(name: str) -> None:
    assert open_detector(name).name == name


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_a_constant_stream_is_silent(name: str, level: float) -> None:
    assert open_detector(name).update_many([level] * 5000) == []


def test_a_rise_from_5_to_70_percent_is_found(name: str) -> None:
    assert any(3200 <= place < 3500 for place in open_detector(name).update_many(worse()))


def test_the_same_losses_give_the_same_answers(name: str) -> None:
    assert open_detector(name).update_many(worse()) == open_detector(name).update_many(worse())


def test_many_at_once_are_many_one_by_one(name: str) -> None:
    detector = open_detector(name)
    assert [at for at, loss in enumerate(worse()) if detector.update(loss)] == open_detector(name).update_many(worse())


def test_nothing_is_said_of_fewer_rows_than_the_warm_up(name: str) -> None:
    detector = open_detector(name)
    rows = detector.warm_up - 1
    assert rows > 0
    assert detector.update_many([float(row >= rows // 2) for row in range(rows)]) == []


def test_what_is_plain_to_see_is_seen_soon_after_the_warm_up(name: str) -> None:
    detector = open_detector(name)
    rows = detector.warm_up
    assert detector.update_many([float(row >= rows) for row in range(rows + 200)])


def test_the_warm_up_is_an_option_and_not_a_state(name: str) -> None:
    detector = open_detector(name)
    before = detector.warm_up
    detector.update_many(worse())
    assert detector.warm_up == before


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), None, "0.5", [1.0]])
def test_what_is_no_finite_number_is_refused_and_changes_nothing(name: str, loss: Any) -> None:
    detector, other = open_detector(name), open_detector(name)
    for one in (detector, other):
        one.update_many(worse()[:2500])
    with pytest.raises(UsageError, match="finite"):
        detector.update(loss)
    with pytest.raises(UsageError, match="finite"):
        detector.update_many([1.0, loss])
    assert detector.update_many(worse()[2500:]) == other.update_many(worse()[2500:])


def test_the_order_of_the_losses_matters(name: str) -> None:
    shuffled = worse().reshape(2, -1).T.ravel()  # both concepts by turns
    assert open_detector(name).update_many(shuffled) != open_detector(name).update_many(worse())


@pytest.mark.parametrize("kind", ["effective", "page_hinkley", "ddm"])
def test_after_a_change_it_is_as_it_was_at_the_start(kind: str) -> None:
    detector = open_detector(kind)
    for loss in worse():
        if detector.update(loss):
            assert state(detector) == state(open_detector(kind))
            return
    pytest.fail("no change was seen")


@pytest.mark.parametrize("kind", ["adwin", "kswin"])
def test_after_a_change_only_rows_of_the_new_concept_are_kept(kind: str) -> None:
    detector: Any = open_detector(kind)
    for place, loss in enumerate(worse()):
        if detector.update(loss) and place >= 3200:
            kept = detector.losses if kind == "kswin" else [total for level in detector.totals for total in level]
            assert len(kept) <= 64
            return
    pytest.fail("no change was seen")


@settings(max_examples=5, deadline=None)
@given(cuts=st.lists(st.integers(0, 3600), max_size=4))
def test_a_detector_goes_on_where_it_was_stored(cuts: list[int]) -> None:
    for kind in DETECTORS:
        detector, found, losses = open_detector(kind), [], worse(n=3200 if kind == "effective" else 1800)[:3600]
        for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), 3600], strict=True):
            detector = from_bytes(to_bytes(detector))
            found += [start + place for place in detector.update_many(losses[start:end])]
        whole = open_detector(kind)
        assert found == whole.update_many(losses)
        assert to_bytes(detector) == to_bytes(whole)


def test_other_bytes_are_no_detector() -> None:
    for stored in (b"", b"\xc1", to_bytes(open_detector()).replace(b"\xa7version\x01", b"\xa7version\x02")):
        with pytest.raises(IntegrityError):
            from_bytes(stored)


@pytest.mark.parametrize("options", [{"surely": 1}, {"delta": 2.0}, {"warm_up": -1}])
def test_options_that_do_not_exist_or_fit_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        open_detector("effective", **options)


def test_an_unknown_detector_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError) as refused:
        open_detector("eddm")
    assert "adwin" in str(refused.value.hint)


@pytest.mark.slow
def test_a_million_losses_keep_the_state_small(own: str) -> None:
    detector = open_detector(own)
    generator = np.random.default_rng(1)
    sizes = []
    for _ in range(4):
        detector.update_many((generator.random(25_000 if own == "kswin" else 250_000) < 0.1).astype(float))
        sizes.append(len(to_bytes(detector)))
    assert max(sizes) < 80_000
