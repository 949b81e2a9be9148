"""What a person typed after `mlo run`, as a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlops_cli.core.errors import UsageError
from mlops_cli.core.pipeline.params import assignments
from mlops_cli.core.workflows.plan import RunRequest


def request_from(typed: Mapping[str, Any]) -> RunRequest:
    """From the options by their names, absent ones None. Raises UsageError for those that contradict each other."""
    stages, since = tuple(typed.get("stages") or ()), tuple(typed.get("since") or ())
    if typed.get("single") and not stages:
        raise UsageError("--single runs the stages that are named, and none is", hint="mlo run --single train")
    if typed.get("single") and since:
        raise UsageError("--single and --from contradict each other", hint="name the stages, or say where to begin")
    return RunRequest(
        stages=stages,
        since=since,
        until=tuple(typed.get("until") or ()),
        alone=bool(typed.get("single")),
        overrides=assignments(typed.get("params") or ()),
        force=bool(typed.get("force")),
        accept=tuple(typed.get("accept") or ()),
        from_cache=not typed.get("no_cache"),
        pull=bool(typed.get("pull")),
        jobs=int(typed.get("jobs") or 1),
        keep_going=bool(typed.get("keep_going")),
        wait=not typed.get("no_wait"),
    )
