"""Columns of prose: what is measured, what counts as prose, what is found in it."""

from __future__ import annotations

import uuid
from typing import Any

import drift_kinds
import numpy as np
import pyarrow as pa
import pytest

from mlops_cli.core.base.records import Column
from mlops_cli.core.drift.check import check
from mlops_cli.core.drift.profile import Profile
from mlops_cli.core.drift.profiling import make_profile
from mlops_cli.core.drift.records import ColumnResult
from mlops_cli.core.drift.summaries.text import add, count_like, measure_text

N = 1500


def profile_of(texts: Any) -> Profile:
    return make_profile(pa.table({"x": texts}), inputs=[Column("x", "string", True)])


def checked(before: Any, now: Any) -> ColumnResult:
    return check(profile_of(before), pa.table({"x": now})).columns[0]


def prose(seed: int, n: int = N) -> list[str]:
    return drift_kinds.prose(np.random.default_rng(seed), n)


def test_each_part_is_measured_by_characters_of_any_script() -> None:
    texts = pa.chunked_array([pa.array(["Ab 12, c!", "", "ÄÖ\u00a0ü٣"], pa.large_string())])
    found = {part: values.tolist() for part, values in measure_text(texts, ("ab", "äö")).items()}
    assert found["length"] == [9, 0, 5]
    assert found["words"] == [3, 0, 2]
    assert found["word_length"][::2] == [pytest.approx(7 / 3), 2]
    assert found["digits"][::2] == [pytest.approx(2 / 9), pytest.approx(1 / 5)]
    assert found["uppercase"][::2] == [pytest.approx(1 / 9), pytest.approx(2 / 5)]
    assert found["punctuation"][0] == pytest.approx(2 / 9)
    assert found["whitespace"][::2] == [pytest.approx(2 / 9), pytest.approx(1 / 5)]
    assert found["non_ascii"][::2] == [0, 1]
    assert found["unknown_words"][::2] == [0.5, 0.5]
    assert all(np.isnan(values[1]) for part, values in found.items() if part not in ("length", "words"))


@pytest.mark.parametrize(
    "texts",
    [
        [f"user-{row:06}" for row in range(N)],
        [str(uuid.UUID(int=row * 7919)) for row in range(N)],
        [f"https://example.org/a/{row}?q=some words here" for row in range(N)],
        [f"someone.{row}@example.org" for row in range(N)],
        [f"Order number no. {row}" for row in range(N)],
        [f"{row:032x}" for row in range(N)],
    ],
    ids=["counter", "uuid", "address", "mail", "template", "hex"],
)
def test_ids_are_no_prose_and_never_alarm(texts: list[str]) -> None:
    assert profile_of(texts[:1000]).columns[0].text is None
    assert not checked(texts[:1000], texts[1000:]).alarm


def test_prose_is_told_in_scripts_without_spaces() -> None:
    generator = np.random.default_rng(1)
    signs = [chr(code) for code in range(0x4E00, 0x4E00 + 400)]
    texts = ["".join(generator.choice(signs, 20)) for _ in range(600)]
    assert profile_of(texts).columns[0].text is not None
    kana = ["".join(chr(code) for code in generator.integers(0x3041, 0x3090, 20)) for _ in range(300)]
    result = checked(texts, kana)
    assert "unknown_words" in {test.part for test in result.tests if test.alarm}


def test_other_prose_of_the_same_kind_is_quiet() -> None:
    result = checked(prose(2), prose(3))
    assert result.status == "quiet"
    assert result.leading is not None
    assert result.leading.part in (
        "length",
        "words",
        "word_length",
        "unknown_words",
        "whitespace",
        "uppercase",
        "punctuation",
    )


def test_a_text_that_fills_the_window_is_named() -> None:
    now = ["N/A" if row % 20 == 0 else text for row, text in enumerate(prose(4))]
    atom = next(test for test in checked(prose(5), now).tests if test.part == "atom")
    assert atom.alarm
    assert "“N/A” fills 5.0% of the window" in atom.detail


def test_missing_and_empty_windows_are_told() -> None:
    now = pa.array(prose(6), mask=np.arange(N) % 10 == 0)
    assert {test.part for test in checked(prose(7), now).tests if test.alarm} == {"missing"}
    assert checked(prose(7), pa.array([None] * 50, pa.string())).note == "the window has no value"
    assert not [test.part for test in checked(prose(7), [""] * 50).tests if test.part == "digits"]


def test_the_profile_of_prose_stays_under_64_kib() -> None:
    generator = np.random.default_rng(8)
    texts = [" ".join(f"{word:x}".translate(LETTERS) for word in generator.integers(0, 5000, 30)) for _ in range(3000)]
    assert profile_of(texts).columns[0].text is not None
    assert len(profile_of(texts).to_bytes()) < 64 << 10


LETTERS = str.maketrans("0123456789", "ghijklmnop")


def test_counts_in_one_frame_add_exactly() -> None:
    known = profile_of(prose(9)).columns[0].text
    assert known is not None
    texts = pa.chunked_array([pa.array(prose(10, 300))])
    whole = count_like(known, texts)
    parts = [count_like(known, texts.slice(start, 100)) for start in (0, 100, 200)]
    joined = add(add(parts[0], parts[1]), parts[2])
    assert (joined.parts, joined.counts) == (whole.parts, whole.counts)
    with pytest.raises(ValueError, match="other frames"):
        add(whole, profile_of(prose(11)).columns[0].text)  # type: ignore[arg-type]
