"""A drift check as a page: verdict, columns, pictures, new values, method."""

from __future__ import annotations

from collections.abc import Sequence

from mlops_cli.core.drift.records import ColumnResult, DriftAnswer, Rules, Status
from mlops_cli.core.reports.blocks import (
    Block,
    Cell,
    Facts,
    Gallery,
    Heading,
    Heatmap,
    Listing,
    Overlay,
    Paragraph,
    Report,
    Table,
    Tone,
    Verdict,
)
from mlops_cli.core.reports.numbers import number, p_value, share

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
PICTURES = 12  # columns that get a picture: the alarmed ones, then the most important
PARTS = ("distribution", "missing", "unseen", "tails", "atom")


def drift_report(answer: DriftAnswer) -> Report:
    """The page of one check."""
    blocks: list[Block] = [_verdict(answer), _facts(answer)]
    if answer.answers:
        blocks += [Heading(text="What the model answers"), _table(answer.answers, answer, "Predictions, tested first")]
    if answer.columns:
        blocks += [
            Heading(text="What the model sees"),
            _table(answer.columns, answer, "Alarms first, then by importance × effect"),
        ]
    blocks += _pictures(answer)
    blocks += _new_values(answer)
    blocks += _method(answer)
    return Report(
        title=f"Drift of {answer.model}",
        subtitle=f"{period(answer)} against the rows it was trained on",
        blocks=tuple(blocks),
        footer=f"Made by mlo from {answer.source}; profile {answer.profile}.",
    )


def period(answer: DriftAnswer) -> str:
    """The window for people: `2013-04-01 to 2013-05-01`, minutes only where they matter; or the file's name."""
    if answer.window is None:
        return answer.source
    whole = "T00:00:00.000000Z"
    ends = (answer.window.start, answer.window.end)
    if all(end.endswith(whole) for end in ends):
        return " to ".join(end.removesuffix(whole) for end in ends)
    return " to ".join(end[:16].replace("T", " ") for end in ends) + " UTC"


def title_of(column: ColumnResult) -> str:
    return TITLES.get(column.column, column.column)


def headline(answer: DriftAnswer) -> str:
    """The verdict in one line."""
    if answer.verdict == "drift":
        alarmed = [TITLES.get(name, name) for name in answer.alarms]
        others = f" and {len(alarmed) - 4} more" if len(alarmed) > 4 else ""
        return f"drift: {', '.join(alarmed[:4])}{others}"
    if answer.verdict == "quiet":
        return "quiet: nothing of importance has drifted"
    return "too little data: neither the predictions nor any important column can be decided"


def explanation(answer: DriftAnswer) -> str:
    """What the verdict rests on."""
    rows = f"{answer.rows:,} rows against {answer.rows_reference:,}, {answer.tests} tests"
    warned = [title_of(column) for column in answer.columns if column.status == "warning"]
    text = f"{rows}; the chance of any false alarm is at most {answer.rules.alpha:.2g}."
    if warned:
        text += f" Changed, but of no importance to the model: {', '.join(warned[:5])}."
    return text


def _verdict(answer: DriftAnswer) -> Verdict:
    tones: dict[str, Tone] = {"drift": "alarm", "quiet": "calm", "too_little": "unsure"}
    text = headline(answer)
    return Verdict(tone=tones[answer.verdict], headline=text[0].upper() + text[1:], text=explanation(answer))


def _facts(answer: DriftAnswer) -> Facts:
    items = [("Model", answer.model), ("Window", period(answer)), ("Rows", f"{answer.rows:,}")]
    items.append(("Reference rows", f"{answer.rows_reference:,}"))
    if answer.window is not None:
        items.append(("Read from", answer.source))
    return Facts(items=tuple(items))


def _table(columns: Sequence[ColumnResult], answer: DriftAnswer, caption: str) -> Table:
    headers = ("Column", "Verdict", "Effect", "p, adjusted", "Rows", "Effective rows", "Detectable from", "Importance")
    return Table(
        caption=caption,
        headers=headers,
        rows=tuple(_row(column, answer) for column in columns),
        right=("p, adjusted", "Rows", "Effective rows", "Detectable from", "Importance"),
    )


def _row(column: ColumnResult, answer: DriftAnswer) -> tuple[Cell, ...]:
    tested = bool(column.tests)
    shown = {one.column for one in _shown(answer)}
    return (
        Cell(text=title_of(column), link=_anchor(column) if column.column in shown else "", detail=remark(column)),
        Cell(text=WORDS[column.status], tone=TONES[column.status]),
        Cell(text=number(column.effect, 2) if tested else "–", bar=column.effect if tested else None),
        Cell(text=p_value(column.p_adjusted)),
        Cell(text=f"{column.n:,}"),
        Cell(text=number(round(column.n_effective)) if column.n_effective else "–"),
        Cell(text=detectable(column)),
        Cell(text=number(column.importance, 2)),
    )


def detectable(column: ColumnResult) -> str:
    """The smallest change that would have been found; none, where even the largest possible would not."""
    if column.smallest_detectable is None:
        return "–"
    return number(column.smallest_detectable, 2) if column.smallest_detectable <= 1 else "nothing"


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
    return max(telling, key=lambda test: test.effect).detail if telling else means


def _shown(answer: DriftAnswer) -> list[ColumnResult]:
    everything = [column for column in (*answer.answers, *answer.columns) if column.histogram is not None]
    alarmed = [column for column in everything if column.alarm]
    rest = sorted((column for column in everything if not column.alarm), key=lambda one: -(one.importance or 0.0))
    return (alarmed + rest)[: max(PICTURES, len(alarmed[:24]))]


def _pictures(answer: DriftAnswer) -> list[Block]:
    shown = _shown(answer)
    if not shown:
        return []
    return [
        Heading(text="Before and now"),
        Gallery(pictures=tuple(_picture(column) for column in shown), legend=("reference", "window")),
    ]


def _anchor(column: ColumnResult) -> str:
    return f"column-{column.column}"


def _picture(column: ColumnResult) -> Overlay:
    histogram = column.histogram
    assert histogram is not None  # noqa: S101 - only such columns are shown
    missing = ""
    if column.missing or column.missing_reference:
        missing = f"missing: {share(column.missing_reference)} before, {share(column.missing)} now"
    return Overlay(
        title=title_of(column),
        reference=_shares(histogram.reference),
        current=_shares(histogram.current),
        edges=histogram.edges,
        labels=histogram.labels,
        mark=f"{WORDS[column.status]} {number(column.effect, 2)}" if column.alarm else WORDS[column.status],
        tone=TONES[column.status] if column.alarm else "plain",
        note=missing,
        anchor=_anchor(column),
    )


def _shares(counts: Sequence[int]) -> tuple[float, ...]:
    whole = max(1, sum(counts))
    return tuple(count / whole for count in counts)


def _new_values(answer: DriftAnswer) -> list[Block]:
    lines = [change.text for change in answer.schema]
    for column in (*answer.answers, *answer.columns):
        name = title_of(column)
        if column.new_values:
            values = ", ".join(f"{value} ({count:,})" for value, count in column.new_values)
            lines.append(f"{name} has values the reference never had: {values}")
        for test in column.tests:
            if test.part == "missing" and test.alarm:
                lines.append(f"{name} is {test.detail}")
            if test.part == "tails" and test.alarm:
                lines.append(f"{name}: {test.detail}, where the reference has its outermost 0.1%")
            if test.part == "atom" and test.alarm:
                lines.append(f"{name}: {test.detail}")
    if not lines:
        return []
    return [Heading(text="Missing, new and strange values"), Listing(items=tuple(lines))]


def _method(answer: DriftAnswer) -> list[Block]:
    if not answer.columns:
        return [Listing(items=answer.notes)] if answer.notes else []
    blocks: list[Block] = [Heading(text="How this was decided"), Paragraph(text=_rule(answer.rules))]
    if answer.notes:
        blocks.append(Listing(items=tuple(f"{note[0].upper()}{note[1:]}." for note in answer.notes)))
    tested = [column for column in (*answer.answers, *answer.columns) if column.tests]
    if tested:
        blocks.append(_effects(tested))
    blocks.append(_distances(tested))
    return blocks


def _rule(rules: Rules) -> str:
    return (
        f"A column alarms if a test is significant after Holm's correction over all tests (alpha {rules.alpha:.2g} "
        f"for the whole check) and its effect reaches a floor: {rules.floor:.2g} for distributions, "
        f"{rules.missing:.2g} for missing rows, {rules.unseen:.2g} for unseen values and for tails, {rules.atoms:.2g} "
        "for a single new value. Every test counts the rows that dependent rows are worth: a window stays warm for "
        "days, and its rows with it. “Detectable from” is the smallest change that this window would have shown with "
        "probability 0.8; below it, silence says nothing."
    )


def _effects(columns: Sequence[ColumnResult]) -> Heatmap:
    """What each test saw: effects, shaded by how they compare with their floor."""
    values, texts = [], []
    for column in columns:
        tests = {test.part: test for test in column.tests}
        row = [tests.get(part) for part in PARTS]
        values.append(tuple(None if test is None else _heat(test.effect, test.floor, test.alarm) for test in row))
        texts.append(tuple("" if test is None else number(test.effect, 2) for test in row))
    return Heatmap(
        caption="Effect seen by each test; shaded where it reaches its floor and is significant",
        rows=tuple(title_of(column) for column in columns),
        columns=("distribution", "missing", "unseen", "tails", "single value"),
        values=tuple(values),
        texts=tuple(texts),
    )


def _heat(effect: float, floor: float, alarm: bool) -> float:
    if alarm:
        return 1.0
    return 0.25 if floor and effect >= floor else 0.0


def _distances(columns: Sequence[ColumnResult]) -> Table:
    headers = ("Column", "PSI", "Wasserstein, σ", "Jensen-Shannon", "Rows worth one", "Mean before", "Mean now")
    return Table(
        caption="Reported, never decided on: none of these has a threshold that holds at every number of rows",
        headers=headers,
        rows=tuple(
            (
                Cell(text=title_of(column)),
                *(
                    Cell(text=number(value))
                    for value in (
                        column.psi,
                        column.wasserstein,
                        column.jensen_shannon,
                        column.time,
                        column.mean_reference,
                        column.mean,
                    )
                ),
            )
            for column in columns
        ),
        right=headers[1:],
    )
