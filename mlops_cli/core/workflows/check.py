"""`mlo data check`, and the checks a stage's outputs must pass."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import msgspec

from mlops_cli.core.base.files import safe_join
from mlops_cli.core.errors import NotFound, Refused
from mlops_cli.core.validation.checks import run_checks
from mlops_cli.core.validation.records import CheckReport, CheckResult
from mlops_cli.core.validation.rules import load_suite
from mlops_cli.core.workflows.workspace import Workspace

FOLDER = "checks"


class ChecksFailed(Refused):
    """A check of severity error failed."""

    code = "checks_failed"


class CheckAnswer(msgspec.Struct, frozen=True):
    """The reports of all checks files asked for. `passed` is false if any check of severity error failed."""

    passed: bool
    reports: tuple[CheckReport, ...]


def check_data(workspace: Workspace, files: Sequence[Path] = ()) -> CheckAnswer:
    """Run checks files; without any, those that mlo.yaml names and those in checks/.

    Raises NotFound if there is none, or if their data is not there; ProjectError if one does not read.
    """
    chosen = [file.absolute() for file in files] or suites_of(workspace)
    if not chosen:
        raise NotFound(
            f"there are no checks: mlo.yaml names none, and {FOLDER}/ holds no .yaml",
            hint="write checks/NAME.yaml with data: and checks:, or name a file",
        )
    reports = tuple(_report(workspace.root, file) for file in chosen)
    return CheckAnswer(all(report.passed for report in reports), reports)


def check_stage(root: Path, paths: Sequence[str]) -> tuple[CheckReport, ...]:
    """Run the checks files of one stage, named relative to the project's root. Raises ChecksFailed.

    The error names what failed, with counts but without values: it is stored with the run.
    """
    reports = tuple(_report(root, safe_join(root, path)) for path in paths)
    failed = [result for report in reports for result in report.failures if result.severity == "error"]
    if failed:
        lines = "".join(f"\n  {describe(result)}" for result in failed[:10])
        more = f"\n  and {len(failed) - 10} more" if len(failed) > 10 else ""
        raise ChecksFailed(
            f"{len(failed)} of {sum(len(report.results) for report in reports)} checks failed:{lines}{more}",
            hint=f"mlo data check {shlex.join(paths)} shows rows that failed",
        )
    return reports


def describe(result: CheckResult) -> str:
    """`train.yaml:7:20: late in_set: 3 of 9,000 (0.03%) not among 0, 1`."""
    subject = f"{result.column} {result.check}" if result.column else result.check
    return f"{result.where}: {subject}: {result.detail}"


def _report(root: Path, file: Path) -> CheckReport:
    suite = load_suite(file)
    name = file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)
    report = run_checks(suite, safe_join(root, suite.data))
    return msgspec.structs.replace(report, file=name)


def suites_of(workspace: Workspace) -> list[Path]:
    """The checks files that mlo.yaml names, and those in checks/."""
    named = [
        safe_join(workspace.root, path) for stage in workspace.project.stages.values() for path in stage.checks_files
    ]
    return list(dict.fromkeys([*named, *sorted((workspace.root / FOLDER).glob("*.yaml"))]))
