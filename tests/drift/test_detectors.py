"""Detectors on streams whose change is known; the full figures: `python tests/drift/streams.py 100`."""

from __future__ import annotations

import sys

import numpy as np
import pyarrow as pa
import pytest
from streams import CHANGED, CONCEPT, THETAS, UNCHANGED, moods, sea, sea_errors, stagger_errors

from mlops_cli.core.base.records import Column
from mlops_cli.core.drift.check import check
from mlops_cli.core.drift.detectors.open import open_detector
from mlops_cli.core.drift.profiling import make_profile
from mlops_cli.core.errors import ExtraMissing


def delay(name: str | None, losses: np.ndarray, change: int = CONCEPT) -> float:
    return next((at - change + 1 for at in open_detector(name).update_many(losses) if at >= change), np.inf)


def test_a_changed_concept_is_seen_in_the_errors_and_not_in_the_inputs() -> None:
    generator = np.random.default_rng(5)
    names = ["a", "b", "c"]
    before, after = (sea(generator, theta, 5000)[0] for theta in (8.0, 9.0))
    columns = [Column(name, "float") for name in names]
    profile = make_profile(pa.table(dict(zip(names, before.T, strict=True))), inputs=columns)
    assert not check(profile, pa.table(dict(zip(names, after.T, strict=True)))).alarms
    assert delay(None, sea_errors(generator, 8.0, 9.0)) < 2000


def alarmed(name: str | None, stream: str, runs: int = 20) -> int:
    """How many of the seeded streams of 20,000 rows without any change have a false alarm.

    With a rate of 5%, the goal, more than 3 of 20 have probability 1.6%; with 36%, ADWIN's on the waves, 3 or fewer
    have 3.7%. So 3 is where the tests draw the line.
    """
    return sum(
        bool(open_detector(name).update_many(UNCHANGED[stream](np.random.default_rng([7, run])))) for run in range(runs)
    )


def test_the_default_alarms_on_no_more_than_3_of_20_streams_of_independent_errors() -> None:
    assert alarmed(None, "quiet, rate 0.1") <= 3


def test_the_default_alarms_on_no_more_than_3_of_20_bursty_streams_and_adwin_on_more() -> None:
    assert alarmed(None, "waves, phi 0.83") <= 3
    assert alarmed("adwin", "waves, phi 0.83") > 3


def test_the_default_is_silent_on_errors_in_bursts_where_adwin_is_not() -> None:
    streams = [moods(np.random.default_rng([8, run]), 10_000) for run in range(4)]
    assert sum(bool(open_detector().update_many(stream)) for stream in streams) == 0
    assert sum(bool(open_detector("adwin").update_many(stream)) for stream in streams) == 4


def test_the_default_finds_stagger_within_41_rows() -> None:
    assert delay(None, stagger_errors(np.random.default_rng(2))) <= 41


def test_one_loss_of_a_million_is_no_change() -> None:
    losses = np.random.default_rng(4).normal(size=5000) ** 2
    losses[4000] = 1e6
    assert open_detector().update_many(losses) == []


def test_the_default_does_not_depend_on_the_unit_of_the_loss() -> None:
    losses = np.random.default_rng(4).normal(size=6000) ** 2
    losses[4000:] *= 2
    found = open_detector().update_many(losses)
    assert found
    assert open_detector().update_many(losses * 1024 + 4096) == found


def test_a_fall_of_the_errors_is_no_alarm_of_the_default() -> None:
    assert open_detector().update_many(sea_errors(np.random.default_rng(4), 8.0, 9.0)[::-1]) == []


def test_a_detector_of_rivers_without_river_is_refused_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "river"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "river", None)
    with pytest.raises(ExtraMissing, match="river:ADWIN needs River, which is not installed") as refused:
        open_detector("river:ADWIN")
    assert refused.value.hint == "pip install 'mlops-cli[river]'"


@pytest.mark.peer
@pytest.mark.parametrize(("name", "peer"), [("page_hinkley", "river:PageHinkley"), ("ddm", "river:DDM")])
def test_page_hinkley_and_ddm_see_what_rivers_see(name: str, peer: str) -> None:
    for run in range(3):
        losses = sea_errors(np.random.default_rng([3, run]), 7.0, 9.5, 5000)
        assert open_detector(name).update_many(losses) == open_detector(peer).update_many(losses)


@pytest.mark.peer
def test_adwin_sees_what_rivers_sees_within_three_clocks() -> None:
    for run in range(3):
        losses = sea_errors(np.random.default_rng([3, run]), 7.0, 9.5, 5000)
        ours, theirs = (delay(name, losses, 5000) for name in ("adwin", "river:ADWIN"))
        assert abs(ours - theirs) <= 96


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize("stream", [*THETAS, "STAGGER"])
def test_the_default_is_no_later_than_rivers_adwin(stream: str) -> None:
    streams = [CHANGED[stream](np.random.default_rng([2, run])) for run in range(31)]
    assert np.median([delay(None, one) for one in streams]) <= np.median([delay("river:ADWIN", one) for one in streams])
