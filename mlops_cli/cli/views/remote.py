"""What the remote commands say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_cli.cli.output import Output

if TYPE_CHECKING:  # each command needs one of these, not all of them
    from mlops_cli.core.remotes.check import RemoteCheck
    from mlops_cli.core.workflows.remote import RemoteGone, RemoteList, RemoteRow

_WORDS = {True: "ok", False: "failed", None: "no"}


def show_remote(result: RemoteRow, output: Output) -> None:
    default = ", used by default" if result.default else ""
    output.line(f"remote {result.name} is {result.url}{default}; try it with: mlo remote check {result.name}")
    output.line("commit mlo.yaml, so that clones know it too", style="dim")


def show_remotes(result: RemoteList, output: Output) -> None:
    if not result.remotes:
        output.line("no remotes yet; name one with: mlo remote add origin FOLDER_OR_URL")
        return
    rows = [(row.name, row.url, row.trust, "*" if row.default else "") for row in result.remotes]
    output.table(["name", "url", "trust", "default"], rows)


def show_gone(result: RemoteGone, output: Output) -> None:
    output.line(f"{result.name} is no remote of this project any more; what lies at {result.url} stays")


def show_check(result: RemoteCheck, output: Output) -> None:
    output.line(f"{result.name} ({result.url})")
    known = {step.name for step in result.steps}
    for fact in result.facts:
        if fact.name in known:  # its step says it
            continue
        output.line(f"  {fact.name:16}  {fact.value}", style="dim")
    for step in result.steps:
        is_tried = step.detail != "not tried"
        detail = f"  {step.detail}" if step.ok is not False and step.detail and is_tried else ""
        word = _WORDS[step.ok] if is_tried else "not tried"
        output.line(f"  {step.name:16}  {word}{detail}", style="red" if step.ok is False else None)
    for step in result.steps:
        if step.ok is False:
            output.line(f"{result.problem}: {step.detail}", style="red")
            output.line(f"hint: {step.hint}" if step.hint else "")
