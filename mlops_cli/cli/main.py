"""The table of commands, and the one place that turns an error into stderr and an exit code."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Sequence
from typing import Any

import typer

from mlops_cli import __version__
from mlops_cli.cli.context import Session
from mlops_cli.cli.lazy import LazyGroup, Row
from mlops_cli.cli.output import Output
from mlops_cli.core.errors import Exit, MloError, UsageError

START, DATA, PIPELINE, EXPERIMENTS = "Start", "Data", "Pipeline", "Experiments"
MODELS, SERVING, MONITORING = "Models", "Serving", "Monitoring"

COMMANDS = (
    Row("init", "Start a project in this folder.", START),
    Row("demo", "Play the whole loop on real flights, in a new folder.", START),
    Row("status", "Say where things stand: data, pipeline, runs, models.", START),
    Row("doctor", "Say what is broken here, and show every setting with its origin.", START),
    Row("data", "Version data: add, status, diff, checkout, push, pull, fsck.", DATA),
    Row("remote", "Name the places that data is pushed to.", DATA),
    Row("push", "Send data, runs and models to a remote.", DATA, "push"),
    Row("pull", "Bring data, runs and models from a remote.", DATA, "pull"),
    Row("run", "Run the pipeline; stages that are up to date are restored, not run.", PIPELINE),
    Row("dag", "Draw the pipeline.", PIPELINE),
    Row("runs", "List, show and compare runs.", EXPERIMENTS),
    Row("register", "Make a run's model a version that can be promoted.", MODELS),
    Row("promote", "Point an alias at a version, if its gates hold.", MODELS),
    Row("rollback", "Point an alias back at the version before.", MODELS),
    Row("models", "List and show registered models.", MODELS),
    Row("why", "Say where a model came from, or why a stage would run.", MODELS),
    Row("blame", "Say which runs, versions and deployments some data touched.", MODELS),
    Row("audit", "Verify the chain of every registry event.", MODELS),
    Row("serve", "Put a model behind HTTP, and follow its alias.", SERVING),
    Row("predict", "Predict the rows of a file.", SERVING),
    Row("drift", "Compare what the model sees with what it was trained on.", MONITORING),
    Row("retrain", "Retrain when there is cause, and promote what is better.", MONITORING),
)


COMPLETE_VARIABLE = "_MLO_COMPLETE"


class Mlo(LazyGroup):
    rows = COMMANDS


def _version(value: bool) -> None:
    if value:
        typer.echo(f"mlo {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=Mlo, add_completion=False, rich_markup_mode=None, no_args_is_help=True, pretty_exceptions_enable=False
)


@app.callback(epilog="Exit codes and examples: mlo COMMAND --help")
def mlo(
    version: bool = typer.Option(False, "--version", help="Print the version.", is_eager=True, callback=_version),
) -> None:
    """One command line for the whole life of a machine-learning model."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    session = Session(command_line=shlex.join(["mlo", *arguments]))
    session.as_json = "--json" in arguments  # so that an error of usage is an object as well
    session.debug = "--debug" in arguments
    output = Output(as_json=session.as_json)
    try:
        return _run(arguments, session)
    except MloError as error:
        if session.debug:
            raise
        output.error(error)
        return int(error.exit_code)
    except typer.TyperException as error:
        _explain_usage(error, output)
        return int(Exit.USAGE)
    except (KeyboardInterrupt, typer.Abort):
        output.note("interrupted")
        return int(Exit.INTERRUPTED)
    except BrokenPipeError:
        # The reader went away (`mlo runs list | head`). Give the shell what it expects of a pipe's writer.
        sys.stderr.close()
        return 128 + signal.SIGPIPE
    except OSError as error:
        if session.debug:
            raise
        output.error(_machine(error))
        return int(Exit.MACHINE)
    except Exception as error:
        if session.debug:
            raise
        output.error(_bug(error))
        return int(Exit.BUG)


def _run(arguments: list[str], session: Session) -> int:
    if COMPLETE_VARIABLE in session.environ:  # the shell asks what could come next; see completions/
        from typer.completion import completion_init

        completion_init()
    command: Any = typer.main.get_command(app)
    code = command.main(args=arguments, prog_name="mlo", standalone_mode=False, obj=session)
    sys.stdout.flush()
    return code if isinstance(code, int) else int(Exit.DONE)


def _explain_usage(error: typer.TyperException, output: Output) -> None:
    context = getattr(error, "ctx", None)
    message = error.format_message()
    if context is not None and message == context.get_help() and not output.as_json:
        output.note(message)  # `mlo` or `mlo data` alone: the help is the answer
        return
    path = context.command_path if context is not None else "mlo"
    output.error(UsageError(message, hint=f"{path} --help"))


def _machine(error: OSError) -> MloError:
    from mlops_cli.core.base.files import machine_error

    return machine_error(error, "the machine refused")


def _bug(error: Exception) -> MloError:
    return MloError(
        f"a bug in mlo: {type(error).__name__}: {error}",
        hint="run it again with --debug and report what it prints",
    )
