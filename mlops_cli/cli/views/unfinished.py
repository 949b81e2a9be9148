"""What is shown of a run that failed or was interrupted, before its error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mlops_cli.cli.output import Output
from mlops_cli.cli.views.pipeline import show_run
from mlops_cli.core.errors import MloError
from mlops_cli.core.workflows.marking import DONE
from mlops_cli.core.workflows.run import RunInterrupted, RunResult


@contextmanager
def telling(output: Output) -> Iterator[None]:
    """Around a run: the table of one that failed, and what is kept of one that was interrupted. The error goes on."""
    try:
        yield
    except MloError as error:
        if isinstance(error.outcome, RunResult) and error.outcome.stages and output.is_heard:
            show_run(error.outcome, output)
        raise
    except RunInterrupted as interrupt:
        output.note(_kept(interrupt.outcome))
        raise


def _kept(result: RunResult) -> str:
    done = sum(record.status in (*DONE, "skipped") for record in result.stages)
    count = len(result.stages) + len(result.not_run)
    again = "the same command" if result.overrides else "mlo run"
    return (
        f"run {result.run[:8]} interrupted: {done} of {count} stage{'s' if count != 1 else ''} "
        f"{'is' if done == 1 else 'are'} done and kept; {again} goes on from there"
    )
