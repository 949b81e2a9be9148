"""How init, status and doctor look."""

from __future__ import annotations

from typing import Any

from mlops_cli.cli.output import Output
from mlops_cli.core.workflows.doctor import Diagnosis
from mlops_cli.core.workflows.init import Initialised

_STYLES = {"ok": "green", "warning": "yellow", "broken": "bold red"}


def show_init(made: Initialised, output: Output) -> None:
    output.line(f"started project {made.name}: wrote {', '.join(made.written)}")
    output.line("next: mlo data add PATH, describe your stages in mlo.yaml, mlo run")


def show_diagnosis(found: Diagnosis, output: Output) -> None:
    width = max(len(finding.subject) for finding in found.findings)
    for finding in found.findings:
        output.line(f"{finding.state:8} {finding.subject.ljust(width)}  {finding.detail}", style=_STYLES[finding.state])
        if finding.hint:
            output.line(f"{'':8} {'':{width}}  hint: {finding.hint}")
    if found.settings:
        output.line()
        output.table(
            ("setting", "value", "origin"),
            [(setting.key, _text(setting.value), setting.origin) for setting in found.settings],
        )


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
