"""What `mlo merge` shows."""

from __future__ import annotations

from mlops_cli.cli.output import Output, one_line
from mlops_cli.core.project.lock_merge import Merge
from mlops_cli.core.workflows.merge import MergeResult


def show_merge(result: MergeResult, output: Output) -> None:
    """Each entry that the sides held differently with what became of it, and what to do next."""
    if result.status == "nothing":
        output.line("mlo.lock holds no conflict: nothing to mend.", style="green")
        return
    rows = [(it.kind, it.name, _said(it)) for it in result.merges]
    if rows:
        output.table(("what", "name", "taken"), rows)
        output.line()
    output.line(f"mlo.lock is whole again; {len(rows)} of its entries differed between the two sides.", style="green")
    if not result.had_base:
        output.line("What both sides grew out of is not known, so what only one of them has was kept.")
    if result.gitignore:
        output.line("mlo's lines in .gitignore were in conflict, too, and are mended.")
    output.line("Next:")
    steps = []
    if any(it.kind == "data" for it in result.merges):
        steps.append(("mlo data checkout", "the merged data into the work tree"))
    if any(it.kind == "stage" for it in result.merges):
        steps.append(("mlo run", "restores the results that fit the merged code and data, or makes them"))
    steps.append(("git add mlo.lock" + (" .gitignore" if result.gitignore else ""), "the conflict is resolved"))
    for command, why in steps:
        output.line(f"  {command:<28} {why}")


def _said(it: Merge) -> str:
    if it.how == "both":
        return "the changes of both sides"
    side = "ours" if it.how == "ours" else "theirs"
    if it.removed:
        return f"{side}: removed"
    if it.kind == "stage" and it.changed_by_both:
        return f"{side}, for now: both sides changed it, and mlo run finds out which holds"
    if it.changed_by_both:
        clashes = f" ({', '.join(map(one_line, it.clashes[:3]))}{', …' if len(it.clashes) > 3 else ''})"
        return f"{side}, as asked: both sides changed it{clashes if it.clashes else ''}"
    return f"{side}: the other side did not change it"
