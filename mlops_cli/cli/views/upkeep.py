"""What the commands say that look after caches and remotes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_cli.cli.output import Output, human_bytes, plural
from mlops_cli.core.store.projects import Member

if TYPE_CHECKING:
    from mlops_cli.core.workflows.gc import Garbage

_SHOWN = 20
_WHY = {
    "lock": "mlo.lock",
    "branch": "branches",
    "tag": "tags",
    "stash": "stashes",
    "worktree": "other work trees",
    "commit": "older commits",
    "model": "registered models",
    "run": "runs",
    "result": "results of stages",
    "link": "links in the work tree",
    "clone": "clones of this project",
    "grace": "nothing, but it came lately",
    "packed with what is needed": "nothing, but it shares a pack with what is needed",
}


def show_cleaned(result: Garbage | Member, output: Output) -> None:
    if isinstance(result, Member):
        output.line(f"forgot {result.title}: this cache keeps nothing for it any more")
        return
    if result.kept:
        output.line("kept, and what needs it first:")
        rows = [
            (_WHY.get(group.kind, group.kind), f"{group.objects:,}", human_bytes(group.bytes)) for group in result.kept
        ]
        output.table(["needed by", "objects", "size"], rows, right=["objects", "size"])
    for project in result.projects:
        output.line(f"asked {project}, which shares this cache", style="dim")
    _show_unknown(result, output)
    for name in result.damaged_packs:
        output.line(f"left alone, because it is damaged: pack {name}; see mlo data fsck", style="yellow")
    _show_garbage(result, output)


def _show_unknown(result: Garbage, output: Output) -> None:
    for item in result.unknown[:_SHOWN]:
        more = f" and {len(item.roots) - 2} more" if len(item.roots) > 2 else ""
        output.line(f"not here, so nothing below it is kept: folder {item.digest} of {', '.join(item.roots[:2])}{more}")
    if len(result.unknown) > _SHOWN:
        output.line(f"... and {plural(len(result.unknown) - _SHOWN, 'folder')} more that are not here")


def _show_garbage(result: Garbage, output: Output) -> None:
    done = result.deleted
    verb = "deleted" if done else "would delete"
    parts = [
        f"{plural(group.objects, group.kind.removesuffix('s'))}, {human_bytes(group.bytes)}" for group in result.garbage
    ]
    if result.results:
        parts.append(plural(result.results, "result"))
    if not parts and not result.repacked:
        output.line("nothing to delete")
        return
    for part in parts:
        output.line(f"{verb} {part}")
    moves = [f"{plural(result.packs, 'pack')} of nothing else"] if result.packs else []
    moves += [f"{plural(result.repacked, 'pack')} packed anew"] if result.repacked else []
    if moves:
        output.line(f"  {', '.join(moves)}", style="dim")
    output.line(f"{'freed' if done else 'would free'} {human_bytes(result.freed)}")
    if not done:
        output.line("nothing was changed; mlo data gc --yes does it", style="dim")
