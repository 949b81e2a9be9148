"""How the answers of `mlo data check` look."""

from __future__ import annotations

from mlops_cli.cli.output import Output, plural
from mlops_cli.core.validation.records import CheckReport, CheckResult
from mlops_cli.core.workflows.check import CheckAnswer, describe


def show_checks(answer: CheckAnswer, output: Output) -> None:
    for report in answer.reports:
        _show_report(report, output)


def _show_report(report: CheckReport, output: Output) -> None:
    failed = report.failures
    errors = sum(result.severity == "error" for result in failed)
    asked = f"{plural(len(report.results), 'check')} of {report.data} ({report.rows:,} rows)"
    verdict = f"{plural(errors, 'failure')}, {plural(len(failed) - errors, 'warning')}" if failed else "all passed"
    output.line(f"{report.file}: {asked}: {verdict}", style="red" if errors else "yellow" if failed else "green")
    for result in failed:
        _show_result(result, output)


def _show_result(result: CheckResult, output: Output) -> None:
    output.line(f"  {'failed' if result.severity == 'error' else 'warning'}  {describe(result)}")
    for example in result.examples:
        output.line(f"           row {example.row}: {example.value!r}")
