"""What a command stands on: the options every command takes, the output, and the project around it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_cli.cli.output import Output

if TYPE_CHECKING:
    import typer

    from mlops_cli.core.workflows.workspace import Workspace


@dataclass(slots=True)
class Session:
    """The common options of one call of mlo; filled by the options' callbacks."""

    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    command_line: str = "mlo"
    as_json: bool = False
    quiet: bool = False
    debug: bool = False
    environment: str = ""
    folder: str = ""


class Here:
    """A command's view of where it runs. `workspace` reads the project when it is first asked for."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.environ = session.environ
        self.output = Output(as_json=session.as_json, quiet=session.quiet)

    @cached_property
    def folder(self) -> Path:
        return Path(self.session.folder or ".").absolute()

    @property
    def environment(self) -> str | None:
        """The overlay's name: --env, else MLO_ENV."""
        return self.session.environment or self.environ.get("MLO_ENV")

    @cached_property
    def workspace(self) -> Workspace:
        from mlops_cli.core.workflows.workspace import Workspace

        return Workspace.find(
            self.folder,
            self.environ,
            environment=self.environment,
            command_line=self.session.command_line,
            progress=self.output,
        )

    @cached_property
    def workspace_or_folder(self) -> Workspace:
        """The project; outside of any the folder, for commands that can do with files and settings alone."""
        from mlops_cli.core.workflows.anywhere import open_anywhere

        return open_anywhere(
            self.folder,
            self.environ,
            environment=self.environment,
            command_line=self.session.command_line,
            progress=self.output,
        )


def open_context(ctx: typer.Context) -> Here:
    """The `Here` of a running command; the first line of every command's body."""
    return Here(ctx.obj)
