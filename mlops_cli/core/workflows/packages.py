"""What was installed where a run's stages ran, as lines that an installer reads."""

from __future__ import annotations

from typing import Any

import msgspec

from mlops_cli.core.base.distributions import requirement_lines
from mlops_cli.core.workflows.workspace import Workspace


class Requirements(msgspec.Struct, frozen=True):
    """One environment of a run. `source` is the file or image that it was made from, empty for the one mlo itself ran
    in; `python` its version, empty where nobody knows; `lines` are `name==version` or `name @ address`."""

    source: str
    python: str
    stages: list[str]
    lines: list[str]


class RunRequirements(msgspec.Struct, frozen=True):
    """The environments in which the stages of a run ran, or, of a run without, the one it was recorded in."""

    run: str
    environments: list[Requirements]


def requirements_of(workspace: Workspace, text: str) -> RunRequirements:
    """Raises RunNotFound, UsageError."""
    run = workspace.runs.get(text)
    stages: dict[str, list[str]] = {}
    for record in sorted(run.stages, key=lambda record: record.name):  # not as they happened to end
        if record.status in ("ran", "failed"):
            stages.setdefault(record.env, []).append(record.name)
    others: dict[str, Any] = run.environment.get("environments", {})
    known = {"": run.environment, **others}
    found = [_requirements(known[key], stages.get(key, [])) for key in known if key in stages or not stages]
    return RunRequirements(run.id, found)


def _requirements(facts: dict[str, Any], stages: list[str]) -> Requirements:
    lines = requirement_lines(facts.get("packages", {}), facts.get("urls", {}))
    return Requirements(facts.get("source") or facts.get("docker") or "", facts.get("python") or "", stages, lines)
