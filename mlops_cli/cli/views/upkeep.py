"""What the commands say that look after caches and remotes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_cli.cli.output import Output, human_bytes, plural
from mlops_cli.core.store.projects import Member

if TYPE_CHECKING:
    from mlops_cli.core.store.fsck import Bad, FsckReport
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
    "stage": "stages that run now",
    "result": "results of stages",
    "link": "links in the work tree",
    "clone": "clones of this project",
    "grace": "nothing, but it came lately",
    "packed with what is needed": "nothing, but it shares a pack with what is needed",
}


def show_fsck(result: FsckReport, output: Output) -> None:
    for pack in result.bad_packs:
        output.line(f"damaged pack {pack.name}: {pack.problem}", style="red")
        if pack.mended:
            where = f", the rest set aside as {pack.aside}" if pack.aside else ""
            output.line(f"  saved {plural(pack.saved, 'object')}{where}")
    for bad in result.bad:
        _show_bad(bad, result, output)
    for note in result.notes:
        output.note(note)
    if result.leftovers:
        output.line(f"removed {plural(result.leftovers, 'temp file')} of commands that were killed")
    wrong = len(result.still_bad) + sum(not pack.mended for pack in result.bad_packs)
    good = "all good" if not result.bad and not result.bad_packs else "all good now"
    verdict = good if result.ok else f"{plural(wrong, 'problem')}{' left' if result.repair else ''}"
    output.line(f"verified {plural(result.objects, 'object')}, {human_bytes(result.bytes)}: {verdict}")
    if not result.ok and not result.repair:
        output.line("mlo data fsck --repair sets damage aside and brings back what is needed", style="dim")
    elif not result.ok:
        output.line(
            "mlo data add and mlo run keep what stands here; mlo push where the rest is, then --repair", style="dim"
        )


def _show_bad(bad: Bad, result: FsckReport, output: Output) -> None:
    paths = ", ".join(bad.paths[:3]) + (f" and {len(bad.paths) - 3:,} more" if len(bad.paths) > 3 else "")
    needed = f", needed by {paths}" if paths else ""
    if bad.mended:
        output.line(f"{bad.problem}: {bad.digest}{needed}; mended from {bad.mended}", style="green")
        return
    still = "; nothing in mlo.lock needs it" if result.repair and not bad.paths else ""
    output.line(f"{bad.problem}: {bad.digest}{needed}{still}", style="red" if not still else None)
    if bad.aside:
        output.line(f"  set aside as {bad.aside}")


def show_cleaned(result: Garbage | Member, output: Output) -> None:
    if isinstance(result, Member):
        output.line(f"forgot {result.title}: this cache keeps nothing for it any more")
        return
    if result.unlocked:
        output.line(f"remote {result.remote} is not being cleaned any more")
        return
    if result.kept:
        output.line("kept, and what needs it first:")
        rows = [
            (_WHY.get(group.kind, group.kind), f"{group.objects:,}", human_bytes(group.bytes)) for group in result.kept
        ]
        output.table(["needed by", "objects", "size"], rows, right=["objects", "size"])
    for project in result.projects:
        output.line(f"asked {project}, which shares this cache", style="dim")
    for clone in result.clones:
        output.line(f"asked {clone}", style="dim")
    for clone in result.expired:
        output.line(f"silent for too long, so nothing is kept for it: {clone}", style="yellow")
    if result.without_time:
        output.line(f"the remote does not say how old {plural(result.without_time, 'object')} may be: kept")
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
    if result.environments:
        size = human_bytes(result.environment_bytes)
        parts.append(f"{plural(result.environments, 'environment')} of stages that nobody used for 30 days, {size}")
    if result.stray:
        parts.append(f"{plural(result.stray, 'half')} of packs that a killed command left".replace("halfs", "halves"))
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
        where = f" --remote {result.remote}" if result.remote else ""
        output.line(f"nothing was changed; mlo data gc{where} --yes does it", style="dim")
