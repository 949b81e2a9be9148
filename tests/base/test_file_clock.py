"""A clock that stands in a file: replays move it while a server runs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from mlops_cli.core.base.clock import clock_from
from mlops_cli.core.errors import UsageError


def test_a_file_moves_the_clock_of_who_already_has_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("clock").write_text("2013-04-30T12:00:00Z\n")
    clock = clock_from({"MLO_NOW": "@clock"})
    assert clock.now() == datetime(2013, 4, 30, 12, tzinfo=UTC)
    Path("clock").write_text("2013-05-01\n")
    monkeypatch.chdir("/")
    assert clock.now() == datetime(2013, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize("text", [None, "soon", ""])
def test_a_file_without_a_time_is_wrong_usage(here: Path, text: str | None) -> None:
    if text is not None:
        Path("clock").write_text(text)
    with pytest.raises(UsageError) as caught:
        clock_from({"MLO_NOW": "@clock"}).now()
    assert caught.value.hint
