"""What a check answers, as plain data."""

from __future__ import annotations

from typing import Any

import msgspec

from mlops_cli.core.validation.rules import Severity

MAX_EXAMPLES = 10


class Example(msgspec.Struct, frozen=True):
    """One row that failed, for the report only: examples are never written anywhere. `row` counts from 0."""

    row: int
    value: Any


class Finding(msgspec.Struct, frozen=True):
    """What one assertion found in one table, before anybody asks how bad that is.

    `checked` and `failed` count rows (for an assertion about the whole table 1 row is asked); `observed` is
    the number that was compared, where there is one.
    """

    passed: bool
    detail: str
    checked: int = 1
    failed: int = 0
    observed: Any = None
    examples: tuple[Example, ...] = ()


class CheckResult(msgspec.Struct, frozen=True):
    """One assertion and its finding. `where` is `checks/train.yaml:7:5`."""

    check: str
    column: str | None
    severity: Severity
    passed: bool
    detail: str
    where: str
    checked: int
    failed: int
    observed: Any = None
    examples: tuple[Example, ...] = ()


class CheckReport(msgspec.Struct, frozen=True):
    """All results of one checks file. `passed` is false if any check of severity error failed."""

    file: str
    data: str
    rows: int
    passed: bool
    results: tuple[CheckResult, ...]

    @property
    def failures(self) -> list[CheckResult]:
        """Failed results, errors before warnings."""
        failed = [result for result in self.results if not result.passed]
        return sorted(failed, key=lambda result: result.severity != "error")
