"""Parse one command line with Typer and run it."""

from __future__ import annotations

import sys
from typing import Any

import typer

from mlops_cli import __version__
from mlops_cli.cli.context import Session
from mlops_cli.cli.lazy import Mlo
from mlops_cli.cli.table import COMPLETE_VARIABLE
from mlops_cli.core.errors import Exit, UsageError


def _version(value: bool) -> None:
    if value:
        typer.echo(f"mlo {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=Mlo,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def mlo(version: bool = typer.Option(False, "--version", is_eager=True, callback=_version)) -> None:
    """One command line for the whole life of a machine-learning model."""


def run(arguments: list[str], session: Session) -> int:
    """Run one command line and return its exit code. Raises UsageError for what Typer cannot parse."""
    if COMPLETE_VARIABLE in session.environ:  # the shell asks what could come next; see completions/
        from typer.completion import completion_init  # type: ignore[attr-defined]

        completion_init()
    command: Any = typer.main.get_command(app)
    try:
        code = command.main(args=arguments, prog_name="mlo", standalone_mode=False, obj=session)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except typer.TyperException as error:
        return _explain(error)
    except SystemExit as error:  # what Typer makes of a reader that went away; main() answers as a shell expects
        if isinstance(error.__context__, BrokenPipeError):
            raise error.__context__ from None
        raise
    if code == Exit.INTERRUPTED:  # what Typer makes of a KeyboardInterrupt; main() says so
        raise KeyboardInterrupt
    sys.stdout.flush()
    return code if isinstance(code, int) else int(Exit.DONE)


def _explain(error: typer.TyperException) -> int:
    """A group alone (`mlo data`) is answered with its help; anything else raises UsageError."""
    context = getattr(error, "ctx", None)
    message = error.format_message()
    if context is not None and message == context.get_help():
        typer.echo(message, err=True)
        return int(Exit.USAGE)
    path = context.command_path if context is not None else "mlo"
    raise UsageError(message, hint=f"{path} --help")
