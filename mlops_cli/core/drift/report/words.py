"""What a check found, in words: the same on the page and in the terminal."""

from __future__ import annotations

from mlops_cli.core.drift.records import Bounds, ColumnResult, DriftAnswer, Multivariate, Status, Test
from mlops_cli.core.reports.blocks import Tone
from mlops_cli.core.reports.numbers import number
from mlops_cli.core.reports.texts import middle_cut, visible

WORDS: dict[Status, str] = {
    "drift": "drift",
    "warning": "warning",
    "quiet": "quiet",
    "too_little": "too few rows",
    "not_tested": "not tested",
}
TONES: dict[Status, Tone] = {
    "drift": "alarm",
    "warning": "warn",
    "quiet": "calm",
    "too_little": "unsure",
    "not_tested": "faint",
}
TITLES = {"_prediction": "prediction", "_score": "prediction score"}
NAME = 60  # characters of a name that are shown; a longer one loses its middle
_TESTS = {"Kolmogorov-Smirnov": "KS", "Good-Turing": "Good-Turing"}
_PARTS = {"atom": "single value"}


def title_of(column: ColumnResult) -> str:
    return named(column.column)


def named(name: str) -> str:
    """A column's name for people: one line, of a bearable length, without marks that act on what follows."""
    return middle_cut(visible(TITLES.get(name, " ".join(name.split()) or "(no name)")), NAME)


def part_of(test: Test) -> str:
    """What a test looks at, in words."""
    return _PARTS.get(test.part, test.part.replace("_", " "))


def test_of(column: ColumnResult) -> str:
    """The leading test of a column: `KS`, or with what it looked at: `Fisher, missing`."""
    leading = column.leading
    if leading is None:
        return "–"
    method = _TESTS.get(leading.method, leading.method)
    return method if leading.part == "distribution" else f"{method}, {part_of(leading)}"


def statistic_of(column: ColumnResult) -> str:
    leading = column.leading
    return number(leading.statistic) if leading is not None else "–"


def period(answer: DriftAnswer) -> str:
    """The window for people: `2013-04-01 to 2013-05-01`, minutes only where they matter; or the file's name."""
    return answer.source if answer.window is None else span_of(answer.window)


def span_of(bounds: Bounds) -> str:
    """`2013-04-01 to 2013-05-01`, or with minutes in UTC where the ends are not whole days."""
    whole = "T00:00:00.000000Z"
    ends = (bounds.start, bounds.end)
    if all(end.endswith(whole) for end in ends):
        return " to ".join(end.removesuffix(whole) for end in ends)
    return " to ".join(end[:16].replace("T", " ") for end in ends) + " UTC"


def against(answer: DriftAnswer) -> str:
    """What the window was compared with."""
    return "the rows it was trained on" if answer.reference == "training" else middle_cut(visible(answer.reference), 80)


def subject(answer: DriftAnswer) -> str:
    """What is compared with what: `flights@3, april.parquet, against march.parquet`; of files alone no model is
    named."""
    if not answer.model:
        when = "" if answer.window is None else f", {period(answer)},"
        return f"{middle_cut(visible(answer.source), 80)}{when} against {against(answer)}"
    other = "" if answer.reference == "training" else f", against {against(answer)}"
    return f"{answer.model}, {period(answer)}{other}"


def headline(answer: DriftAnswer) -> str:
    """The verdict in one line."""
    if answer.verdict == "drift":
        alarmed = [named(name) for name in answer.alarms]
        alarmed += segment_alarms(answer)
        if not alarmed and answer.multivariate is not None and answer.multivariate.alarm:
            return "drift: no column by itself, all columns together"
        others = f" and {len(alarmed) - 4} more" if len(alarmed) > 4 else ""
        return f"drift: {', '.join(alarmed[:4])}{others}"
    if answer.verdict == "quiet":
        return "quiet: nothing of importance has drifted"
    return "too little data: neither the predictions nor any important column can be decided"


def segment_alarms(answer: DriftAnswer) -> list[str]:
    """What drifts in a segment and is no alarm of all rows: `temp where carrier is AA`."""
    if answer.segments is None:
        return []
    where = named(answer.segments.column)
    return [
        f"{named(column.column)} where {where} is {named(segment.value)}"
        for segment in answer.segments.segments
        for column in segment.columns
        if column.status == "drift" and column.column not in answer.alarms
    ]


def explanation(answer: DriftAnswer) -> str:
    """What the verdict rests on."""
    rows = f"{answer.rows:,} rows against {answer.rows_reference:,}, {answer.tests} tests"
    text = f"{rows}; the chance of any false alarm is at most {answer.rules.alpha:.2g}."
    warned = [title_of(column) for column in answer.columns if column.status == "warning"]
    if warned:
        others = f" and {len(warned) - 5} more" if len(warned) > 5 else ""
        text += f" Changed, but of no importance to the model: {', '.join(warned[:5])}{others}."
    undecided = sum(column.status == "too_little" for column in answer.columns)
    if undecided and answer.verdict != "too_little":
        text += (
            f" {undecided} of {len(answer.columns)} columns have too few rows to show a change of "
            f"{answer.rules.detect:.2g}: they are not known to be calm."
        )
    return text


def multivariate_line(found: Multivariate) -> str:
    """The domain classifier's answer in one line."""
    said = "drift of all columns together" if found.alarm else "all columns together are quiet"
    text = (
        f"{said}: a classifier tells the window's rows from the reference's with an AUC of {number(found.auc)}; "
        f"chance reaches {number(found.bound)} (p {number(found.p_value, 2)}, {found.n:,} rows against "
        f"{found.n_reference:,})"
    )
    if found.alarm and found.columns:
        text += f"; it rests on {', '.join(f'{named(name)} ({part:.0%})' for name, part in found.columns[:5])}"
    return f"{text}; {found.note}" if found.note else text


def detectable(column: ColumnResult) -> str:
    """The smallest change that would have been found; none, where even the largest possible would not."""
    if column.smallest_detectable is None:
        return "–"
    return number(column.smallest_detectable, 2) if column.smallest_detectable <= 1 else "nothing"


def effective(column: ColumnResult) -> str:
    return f"{column.n_effective:,.0f}" if column.n_effective else "–"


def effect(column: ColumnResult) -> str:
    return number(column.effect, 2) if column.tests else "–"


def remark(column: ColumnResult) -> str:
    """The most telling detail of a column, in a few words."""
    if column.note:
        return column.note
    leading = column.leading
    means = ""
    if column.mean is not None and column.mean_reference is not None and column.alarm:
        means = f"mean {number(column.mean_reference)} before, {number(column.mean)} now"
    if leading is not None and leading.part == "distribution" and means:
        return means
    telling = [test for test in column.tests if test.alarm and test.detail]
    detail = max(telling, key=lambda test: test.effect).detail if telling else means
    return middle_cut(visible(detail), 160)
