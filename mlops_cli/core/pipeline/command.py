"""How a stage's command is started: in which folder, environment and container, by which launcher."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from mlops_cli.core.base.files import safe_join
from mlops_cli.core.errors import ProjectError
from mlops_cli.core.pipeline.graph import Node

Command = str | list[str]  # a string is the shell's
_UNFILLED = re.compile(r"\$\{\s*params\.([\w.-]+)\s*\}")


class Opened(Protocol):
    """An environment that is ready, and stays so until it is closed.

    `python` is what stands for mlo's own Python in it; None if nobody knows. `key` names the environment.
    """

    python: Path | None
    key: str

    def describe(self) -> dict[str, Any]:
        """What a run's record says of it: its packages, or the image."""

    def variables(self, environ: Mapping[str, str]) -> dict[str, str]:
        """All that a process in it sees, which else would see `environ`."""

    def wrap(self, command: Command, *, root: Path, folder: Path, told: Mapping[str, str], title: str) -> Command:
        """The command that runs `command` in it; `told` are the variables that have to get in from outside."""

    def explain(self, lines: str) -> str | None:
        """What to do about a failure that comes of the environment, told by the last lines of it."""

    def end(self, title: str) -> None:
        """End what `wrap` started and no signal to its processes would reach."""

    def close(self) -> None:
        """Let others remove it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A command ready to start. `end` reaches what its process group does not hold; `explain` finds, in the last lines
    of a failure, what to do about it."""

    arguments: Command
    folder: Path
    environ: Mapping[str, str]
    end: Callable[[], None] = field(default=lambda: None)
    explain: Callable[[str], str | None] = field(default=lambda lines: None)


def prepare(
    node: Node,
    environ: Mapping[str, str],
    *,
    opened: Opened | None,
    own: frozenset[str],
    root: Path,
    title: str,
    report: Callable[[str], Path],
) -> Prepared:
    """`own` names the variables of `environ` that are mlo's own; `report` names the files of a notebook's report.

    Raises ProjectError if the folder it shall run in does not exist, or what runs it is not installed.
    """
    stage = node.stage
    _refuse_unfilled(node)
    folder = _folder(node, root)
    environ = {name: value for name, value in environ.items() if name != "MLO_LAUNCH"}  # of an mlo around this one
    if opened is not None:
        environ = opened.variables(environ)
    command: Command = node.command
    explain: Callable[[str], str | None] = lambda lines: None  # noqa: E731
    if stage.notebook is not None:
        command = _notebook(node, environ, opened, root, report)
    elif stage.launch is not None:
        from mlops_cli.core.pipeline.torchrun import (
            LAUNCH,
            divided,
            explain_torch,
            refuse_without_torch,
            torchrun_command,
        )

        command, explain = torchrun_command(stage, node.name), explain_torch
        environ |= LAUNCH | divided(environ, own, stage.launch.torchrun.processes)
        if opened is None or (opened.python is not None and opened.python.is_absolute()):  # else it lies in a container
            refuse_without_torch(command, environ, folder, node.name)
    end: Callable[[], None] = lambda: None  # noqa: E731
    if opened is not None:
        wanted = {*own, *stage.pass_env, *stage.secrets}
        told = {name: value for name, value in environ.items() if name in wanted or name.startswith("MLO_")}
        command = opened.wrap(command, root=root, folder=folder, told=told, title=title)
        end = lambda: opened.end(title)  # noqa: E731
        of_launch, of_environment = explain, opened.explain
        explain = lambda lines: of_launch(lines) or of_environment(lines)  # noqa: E731
    return Prepared(arguments=command, folder=folder, environ=environ, end=end, explain=explain)


def _notebook(
    node: Node, environ: Mapping[str, str], opened: Opened | None, root: Path, report: Callable[[str], Path]
) -> Command:
    from mlops_cli.core.pipeline.notebook import notebook_command, notebook_python

    notebook = node.stage.notebook or ""
    return notebook_command(
        root / notebook,
        report,
        notebook_python(environ) if opened is None else opened.python or Path("python"),
        own_python=opened is None,
        name=notebook,
        parameters=json.loads(environ.get("MLO_PARAMS") or "{}"),
        secrets=node.stage.secrets,
    )


def _refuse_unfilled(node: Node) -> None:
    """A parameter without a value leaves its place in the command as it is."""
    found = _UNFILLED.search(node.command_text)
    if found is not None:
        raise ProjectError(
            f"stage {node.name} needs the parameter {found[1]}, which has no value",
            hint=f"mlo run -P {found[1]}=..., or give it one under params in mlo.yaml",
        )


def _folder(node: Node, root: Path) -> Path:
    if node.stage.cwd is None:
        return root
    folder = safe_join(root, node.stage.cwd)
    if not folder.is_dir():
        raise ProjectError(
            f"stage {node.name} runs in {node.stage.cwd}, which is no folder", hint="create it, or correct cwd"
        )
    return folder
