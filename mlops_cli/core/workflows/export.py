"""`mlo export`: what other tools need to watch a server, as text or as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from mlops_cli.core.base.files import write_atomic
from mlops_cli.core.errors import UsageError, WouldOverwrite
from mlops_cli.core.serving.exports.grafana import grafana_json
from mlops_cli.core.serving.exports.rules import prometheus_rules
from mlops_cli.core.workflows.drift_asked import shown
from mlops_cli.core.workflows.workspace import Workspace

What = Literal["grafana", "prometheus-rules"]


class Exported(msgspec.Struct, frozen=True):
    """`text` is what was made; `path` where it was written, None where it is only shown."""

    what: What
    text: str
    path: str | None = None


def export(workspace: Workspace, what: What, out: Path | None = None, *, force: bool = False) -> Exported:
    """Make a Grafana dashboard, or alert rules with the project's own `serve.sla_ms`; write it if `out` is given.

    Raises WouldOverwrite, UsageError for a folder, MachineError.
    """
    sla_ms = workspace.project.serve.sla_ms
    text = grafana_json() if what == "grafana" else prometheus_rules(sla_ms / 1000 if sla_ms is not None else None)
    if out is None:
        return Exported(what, text)
    name = shown(workspace, out)
    if out.is_dir():
        raise UsageError(f"{name} is a folder", hint="name a file in it")
    if out.exists() and not force:
        raise WouldOverwrite(f"{name} exists", hint="name another file, or replace it with --force")
    write_atomic(out, text.encode())
    return Exported(what, text, name)
