"""What a drift check answers, as plain records. The words are explained in RULE.md beside this file."""

from __future__ import annotations

from typing import Literal

import msgspec

from mlops_cli.core.drift.performance.records import PerformanceAnswer

Verdict = Literal["drift", "quiet", "too_little"]
Status = Literal["drift", "warning", "quiet", "too_little", "not_tested"]


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What counts as drift: `alpha` is family-wise, the rest are floors of effects, and what must be detectable."""

    alpha: float = 0.01
    floor: float = 0.05  # Kolmogorov-Smirnov distance, or total variation of categories
    detect: float = 0.2  # a column that cannot show a change of this size says too little
    missing: float = 0.02  # change of the share of missing rows
    unseen: float = 0.01  # share of rows with unseen values, beyond the bound of what the reference must have missed
    tails: float = 0.01  # share of rows beyond the reference's outermost 0.1%, beyond what is expected there
    atoms: float = 0.02  # share of rows that one value fills, beyond its share in the reference
    kernel: float = 0.01  # bound of the total variation between vectors, which is small where their dimension is not
    important: float = 0.01  # share of all importances under which a column only warns


class Test(msgspec.Struct, frozen=True, kw_only=True):
    """One test of one column. It alarms if `p_adjusted` <= alpha and `effect` >= `floor`.

    `part` is distribution, missing, unseen, tails or atom; of times hour and weekday; of prose length, words and so on;
    of vectors component and kernel.
    """

    part: str
    method: str
    statistic: float | None
    effect: float
    floor: float
    p_value: float | None
    p_adjusted: float | None = None
    alarm: bool = False
    detail: str = ""


RARE_PARTS = ("missing", "unseen", "tails", "atom")  # tests of rows that stand out; others are of all rows


class Histogram(msgspec.Struct, frozen=True, kw_only=True):
    """Both samples over one set of bins, as rows. `labels` name categories; `edges` (b + 1,) cut numbers, and the
    counts then start with the rows under the first edge and end with those over the last."""

    reference: tuple[int, ...]
    current: tuple[int, ...]
    edges: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()


class ColumnResult(msgspec.Struct, frozen=True, kw_only=True):
    """One column. `effect` is the largest among alarmed tests, else that of the distribution: every effect
    bounds the total variation between reference and window from below, so they compare.

    `n_effective` are the window's rows once dependence is taken off, at `time` rows worth one; `smallest_detectable`
    the distance that would have been found with probability 0.8. `psi`, `wasserstein` (in standard deviations)
    and `jensen_shannon` are reported only; so are, of times, `age_s` and `age_reference_s`: how old the newest value
    is, in seconds before the end of the window and of the reference.
    """

    column: str
    kind: str
    status: Status
    effect: float = 0.0
    p_adjusted: float | None = None
    importance: float | None = None
    n_reference: int = 0
    n: int = 0
    n_effective: float = 0.0
    time: float | None = None
    smallest_detectable: float | None = None
    missing_reference: float = 0.0
    missing: float = 0.0
    tests: tuple[Test, ...] = ()
    mean_reference: float | None = None
    mean: float | None = None
    psi: float | None = None
    wasserstein: float | None = None
    jensen_shannon: float | None = None
    new_values: tuple[tuple[str, int], ...] = ()
    histogram: Histogram | None = None
    pictured: str = ""  # the part that the histogram shows, where it is not the values themselves
    age_s: float | None = None
    age_reference_s: float | None = None
    note: str = ""

    @property
    def alarm(self) -> bool:
        """Whether any of its tests alarms; an unimportant column that does has the status `warning`."""
        return self.status in ("drift", "warning")

    @property
    def leading(self) -> Test | None:
        """The test to name: the alarmed one of largest effect, else that of the distribution, else the first."""
        alarmed = [test for test in self.tests if test.alarm]
        if alarmed:
            return max(alarmed, key=lambda test: test.effect)
        whole = [test for test in self.tests if test.part not in RARE_PARTS]
        return max(whole, key=lambda test: test.effect) if whole else self.tests[0] if self.tests else None


class SchemaChange(msgspec.Struct, frozen=True, kw_only=True):
    """A column that the window lacks (`missing`), the reference lacks (`new`), or that holds another kind of values
    (`retyped`). `before` and `now` are the kinds of values, empty where there is no such column."""

    column: str
    change: Literal["missing", "new", "retyped"]
    before: str = ""
    now: str = ""

    @property
    def text(self) -> str:
        """The change in words."""
        if self.change == "missing":
            return f"{self.column} is missing: the window does not have it"
        if self.change == "new":
            return f"{self.column} is new: the reference does not have it"
        return f"{self.column} holds {self.now}, the reference {self.before}s"


class Multivariate(msgspec.Struct, frozen=True, kw_only=True):
    """Can a classifier tell the window's rows from the reference's? MULTIVARIATE in RULE.md.

    `auc` is of rows it was not fitted on; `bound` what it must exceed, calibrated by permutation at `level`; `effect`
    is 2 auc - 1. `columns` are those it rests on, with their shares of the fall of the auc, the largest first.
    `p_adjusted` is corrected together with all other tests of the answer: an alarm needs it at or under alpha.
    """

    auc: float
    bound: float
    p_value: float
    level: float
    effect: float
    floor: float
    alarm: bool
    n_reference: int
    n: int
    columns: tuple[tuple[str, float], ...] = ()
    p_adjusted: float | None = None
    note: str = ""


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """The check of the rows that hold one value of the segmenting column. Holm runs over the tests of all segments."""

    value: str
    verdict: Verdict
    rows: int
    rows_reference: int
    columns: tuple[ColumnResult, ...]

    @property
    def alarms(self) -> tuple[str, ...]:
        """Names of the alarmed columns, worst first."""
        return tuple(column.column for column in self.columns if column.alarm)


class Segments(msgspec.Struct, frozen=True, kw_only=True):
    """`segments`, alarms first, then by rows; `others` counts the values that were left out, as being rare, and `fresh`
    names values that the reference never had, with their rows. `tests` are those of all segments together, and
    `level` is what one of their p-values must beat first."""

    column: str
    segments: tuple[Segment, ...]
    others: int = 0
    fresh: tuple[tuple[str, int], ...] = ()
    tests: int = 0
    level: float | None = None
    note: str = ""


class DriftResult(msgspec.Struct, frozen=True, kw_only=True):
    """The check of one window. `columns` are the inputs, alarms first, then by importance x effect; `answers` the
    predictions; `schema` the columns that came, went or changed their kind, which have no tests. `level` is
    alpha / `tests`, what a single p-value must beat first."""

    verdict: Verdict
    columns: tuple[ColumnResult, ...]
    answers: tuple[ColumnResult, ...]
    schema: tuple[SchemaChange, ...] = ()
    rows: int
    rows_reference: int
    tests: int
    level: float
    rules: Rules
    notes: tuple[str, ...] = ()

    @property
    def alarms(self) -> tuple[str, ...]:
        """Names of the alarmed columns, unimportant ones included: predictions first, then the inputs, worst first,
        then changes of schema."""
        return (
            *(column.column for column in self.answers if column.alarm),
            *(column.column for column in self.columns if column.alarm),
            *(change.column for change in self.schema),
        )


class Bounds(msgspec.Struct, frozen=True):
    """start <= arrival < end, as text."""

    start: str
    end: str


class DriftAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What `mlo drift check` found. `columns` are the inputs, alarms first, then by importance x effect.

    `model` is empty where rows are compared with a file alone. `window` is None for a file that was checked whole;
    `alarms` names the alarmed columns, predictions first; `level` is the p-value that a single test must beat first.
    `reference` says what the window was compared with: `training`, a file, or other windows of the log. `segments` and
    `multivariate` are there where they were asked for. `report` is the digest of this answer in the store and `event`
    the place of its event; both None where nothing was recorded.
    """

    verdict: Verdict
    exit_code: int
    model: str
    source: str
    window: Bounds | None
    rows: int
    rows_reference: int
    alarms: tuple[str, ...]
    answers: tuple[ColumnResult, ...]
    columns: tuple[ColumnResult, ...]
    tests: int
    level: float
    rules: Rules
    notes: tuple[str, ...]
    profile: str
    schema: tuple[SchemaChange, ...] = ()
    reference: str = "training"
    segments: Segments | None = None
    multivariate: Multivariate | None = None
    performance: PerformanceAnswer | None = None
    report: str | None = None
    event: int | None = None
