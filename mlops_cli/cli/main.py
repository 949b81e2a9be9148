"""`mlo`: the one place that turns an error into stderr and an exit code."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from mlops_cli.cli.output import Output
from mlops_cli.cli.table import COMPLETE_VARIABLE, help_text
from mlops_cli.core.errors import Exit, MloError

SIGPIPE = 13


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal or pipe has no code for is spelled out; it must not turn an answer into a bug.
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    output = Output(as_json="--json" in arguments)  # so that an error of usage is an object as well
    try:
        return _run(arguments)
    except MloError as error:
        failure = error
    except KeyboardInterrupt:
        output.note("interrupted")
        return int(Exit.INTERRUPTED)
    except BrokenPipeError:
        # The reader went away (`mlo runs list | head`). Give the shell what it expects of a pipe's writer.
        sys.stderr.close()
        return 128 + SIGPIPE
    except OSError as error:
        failure = _machine(error)
    except Exception as error:  # noqa: BLE001 - the last stop: a bug must not look like an answer
        failure = _bug(error)
    if "--debug" in arguments:
        raise failure
    output.error(failure)
    return int(failure.exit_code)


def _run(arguments: list[str]) -> int:
    if arguments in ([], ["--help"]) and COMPLETE_VARIABLE not in os.environ:  # the table answers, without a parser
        print(help_text(), file=sys.stdout if arguments else sys.stderr)
        return int(Exit.DONE if arguments else Exit.USAGE)
    import shlex

    from mlops_cli.cli.app import run
    from mlops_cli.cli.context import Session

    # What runs and locks note of it is UTF-8, whatever the names of files are.
    command_line = shlex.join(["mlo", *arguments]).encode("utf-8", "backslashreplace").decode("utf-8")
    return run(arguments, Session(command_line=command_line))


def _machine(error: OSError) -> MloError:
    from mlops_cli.core.base.files import machine_error

    failure = machine_error(error, "the machine refused")
    failure.__cause__ = error
    return failure


def _bug(error: Exception) -> MloError:
    failure = MloError(
        f"a bug in mlo: {type(error).__name__}: {error}",
        hint="run it again with --debug and report what it prints",
    )
    failure.__cause__ = error
    return failure
