"""How recorded labels look in a terminal."""

from __future__ import annotations

from mlops_cli.cli.output import Output, plural
from mlops_cli.core.workflows.feedback import FeedbackAnswer


def show_feedback(answer: FeedbackAnswer, output: Output) -> None:
    done = [plural(answer.added, "label") + " added"]
    done += [f"{answer.changed:,} changed"] if answer.changed else []
    done += [f"{answer.unchanged:,} known already"] if answer.unchanged else []
    done += [f"{answer.unlabelled:,} rows without one"] if answer.unlabelled else []
    output.line(f"{', '.join(done)}, in {answer.log}")
    if answer.unknown:
        output.line(
            f"note: {plural(answer.unknown, 'row')} not found among the predictions of the last "
            f"{answer.looked_back_days} days; kept all the same",
            style="yellow",
        )
