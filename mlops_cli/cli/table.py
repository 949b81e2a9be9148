"""The table of commands. Help is drawn from it, so that `mlo --help` needs neither a parser nor any command."""

from __future__ import annotations

from keyword import iskeyword
from typing import NamedTuple

COMPLETE_VARIABLE = "_MLO_COMPLETE"  # set by a shell that asks what could come next; see completions/

START, DATA, PIPELINE, EXPERIMENTS = "Start", "Data", "Pipeline", "Experiments"
MODELS, SERVING, MONITORING = "Models", "Serving", "Monitoring"


class Row(NamedTuple):
    """Where a command lives and what `mlo --help` says of it."""

    name: str
    summary: str
    panel: str

    @property
    def module(self) -> str:
        return f"mlops_cli.cli.commands.{self.name}{'_' if iskeyword(self.name) else ''}"


COMMANDS = (
    Row("init", "Start a project in this folder.", START),
    Row("demo", "Play the whole loop on real flights, in a new folder.", START),
    Row("status", "Say where things stand: data, pipeline, runs, models.", START),
    Row("doctor", "Say what is broken here, and show every setting with its origin.", START),
    Row("data", "Version data: add, status, diff, checkout, push, pull, fsck, gc.", DATA),
    Row("remote", "Name the places that data is pushed to.", DATA),
    Row("push", "Send data, runs and models to a remote.", DATA),
    Row("pull", "Bring data, runs and models from a remote.", DATA),
    Row("merge", "Mend an mlo.lock that a git merge left in conflict.", DATA),
    Row("import", "Move a project over from DVC or MLflow.", DATA),
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
    Row("feedback", "Record what turned out to be true of logged predictions.", MONITORING),
    Row("drift", "Compare what the model sees with what it was trained on.", MONITORING),
    Row("export", "Write a dashboard and alert rules for what servers measure.", MONITORING),
    Row("retrain", "Retrain when there is cause, and promote what is better.", MONITORING),
)


def help_text() -> str:
    """What `mlo --help` prints: the commands by panel. No line is longer than 80 characters."""
    width = max(len(row.name) for row in COMMANDS)
    lines = [
        "Usage: mlo [OPTIONS] COMMAND [ARGS]...",
        "",
        "  One command line for the whole life of a machine-learning model.",
    ]
    for panel in dict.fromkeys(row.panel for row in COMMANDS):
        lines += ["", f"{panel}:"]
        lines += [f"  {row.name:{width}}  {row.summary}" for row in COMMANDS if row.panel == panel]
    lines += ["", "Options:", "  --version  Print the version.", "  --help     Show this message and exit."]
    lines += ["", "Each command has its own help with examples: mlo COMMAND --help"]
    return "\n".join(lines)
