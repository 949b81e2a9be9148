"""`mlo merge`: an mlo.lock that git left with conflict markers, as one lock again."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from mlops_cli.core.base import git
from mlops_cli.core.base.files import machine_errors, write_atomic
from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import IntegrityError, MloError, ProjectError, UsageError
from mlops_cli.core.pipeline.results import Result, ResultCache
from mlops_cli.core.project.lock import Lock, lock_bytes, parse_lock
from mlops_cli.core.project.lock_merge import Merge, Merged, Side, has_markers, merge_locks, split_sides
from mlops_cli.core.store.tree_merge import merge_folders
from mlops_cli.core.workflows.workspace import Workspace

_DRIVEN = 3
_HUNK = re.compile(r"^<{7}[^\n]*\n(.*?)^>{7}[^\n]*\n", re.MULTILINE | re.DOTALL)
_BASE = re.compile(r"^\|{7}[^\n]*\n.*?(?=^={7})", re.MULTILINE | re.DOTALL)


class MergeConflict(ProjectError):
    """Both sides changed the same bytes: somebody has to choose."""

    code = "merge_conflict"


class MergeResult(msgspec.Struct, frozen=True, kw_only=True):
    """`merges` are the entries that the two sides held differently. `had_base`: whether what both grew out of is
    known, so that a removal can be told from what the other side added. `gitignore`: mlo's lines there were mended."""

    status: Literal["merged", "nothing"]
    merges: tuple[Merge, ...] = ()
    had_base: bool = True
    gitignore: bool = False


def merge_lock(workspace: Workspace, *, prefer: Side | None = None, pull: bool = False) -> MergeResult:
    """Mend the project's mlo.lock, from git's index while a merge goes on, else from the markers in it.

    With `pull` folders that both changed are fetched first, so that they can be put together. Raises MergeConflict
    for data that both changed unless one side is to be preferred; ProjectError where a side does not read.
    """
    path = workspace.paths.lock
    with workspace.exclusive():
        text = _text_of(path)
        if not has_markers(text):
            return MergeResult(status="nothing")
        base: str | None
        ours: str | None
        theirs: str | None
        sides = git.unmerged(workspace.root, path.name)
        if sides is None:
            base, ours, theirs = split_sides(text, path.name)
        else:
            base, ours, theirs = (None if side is None else _decoded(side, path) for side in sides)
        merged = _merged(workspace, path, (base, ours, theirs), prefer, pull=pull)
        if merged.undecided:
            raise _conflict(merged.undecided)
        _keep_passed_over(workspace, merged)
        workspace.write_lock(merged.lock)
        return MergeResult(
            status="merged",
            merges=merged.merges,
            had_base=base is not None,
            gitignore=_mend_gitignore(workspace.root / ".gitignore"),
        )


def drive_merge(open_project: Callable[[], Workspace], files: Sequence[Path]) -> MergeResult:
    """As git's merge driver: base, ours and theirs as files; the answer goes into `ours`.

    Whatever it raises, `ours` holds both sides between markers then, as git leaves a conflict for people.
    """
    if len(files) < _DRIVEN:
        raise UsageError("--driver takes three files, as git names them", hint="mlo merge --driver %O %A %B %P")
    base, ours, theirs = files[:_DRIVEN]
    try:
        workspace = open_project()
        texts = (_text_of(base), _text_of(ours), _text_of(theirs))
        merged = _merged(workspace, workspace.paths.lock, texts, None, pull=False)
        if merged.undecided:
            raise _conflict(merged.undecided)
        _keep_passed_over(workspace, merged)
    except MloError:
        git.mark_conflict(ours, base, theirs)
        raise
    with machine_errors(f"cannot write {ours}"):
        ours.write_bytes(lock_bytes(merged.lock))
    return MergeResult(status="merged", merges=merged.merges)


def _merged(
    workspace: Workspace,
    path: Path,
    texts: tuple[str | None, str | None, str | None],
    prefer: Side | None,
    *,
    pull: bool,
) -> Merged:
    base, ours, theirs = (_side(text, path, name) for text, name in zip(texts, ("base", "ours", "theirs"), strict=True))
    if pull:
        _fetch(workspace, base, ours, theirs)
    store = workspace.store

    def both(before: Entry | None, here: Entry, there: Entry) -> tuple[Entry, list[str]]:
        return merge_folders(store, before, here, there)

    with store.batch():
        return merge_locks(base, ours, theirs, both, prefer)


def _side(text: str | None, path: Path, name: str) -> Lock:
    """One side's lock; a side without the file has an empty one."""
    if not text or not text.strip():
        return Lock()
    try:
        return parse_lock(text, path)
    except (ProjectError, IntegrityError) as error:
        hint = "take one side whole: git checkout --ours mlo.lock (or --theirs), then mlo run and mlo data status"
        raise MergeConflict(f"the side {name} of mlo.lock does not read: {error.message}", hint=hint) from None


def _fetch(workspace: Workspace, base: Lock, ours: Lock, theirs: Lock) -> None:
    """Bring the folders that both sides changed into the cache, and what they grew out of."""
    from mlops_cli.core.workflows.elsewhere import RemoteResults

    remote = RemoteResults(workspace)
    both = [name for name in ours.data.keys() & theirs.data.keys() if ours.data[name] != theirs.data[name]]
    for side in (base, ours, theirs):
        remote.bring({name: side.data[name] for name in both if name in side.data and side.data[name].kind == "dir"})


def _conflict(undecided: dict[str, str]) -> MergeConflict:
    said = "\n".join(f"  {name}: {why}" for name, why in undecided.items())
    absent = any("cannot be put together" in why for why in undecided.values())
    return MergeConflict(
        f"mlo.lock is as it was, because somebody has to choose for\n{said}",
        hint="mlo merge --ours, or mlo merge --theirs"
        + ("; mlo merge --pull fetches the folders first, and puts them together" if absent else ""),
    )


def _keep_passed_over(workspace: Workspace, merged: Merged) -> None:
    """Put the stage results that the lock will not name into the run cache: which of the two is right only the next
    run can say, from the merged code and data, and it restores either."""
    results = ResultCache(workspace.paths.cache)
    for name, stage in merged.passed_over.items():
        if results.get(stage.key) is None:
            results.put(Result(name, stage.key, "", dict(stage.outs)))


def _mend_gitignore(path: Path) -> bool:
    """Take the markers of conflicts away that lie between mlo's own lines alone; whether there were any."""
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return False
    block = text.partition("# >>> mlo")[2].partition("# <<< mlo")[0]
    mended = _HUNK.sub(lambda hunk: _BASE.sub("", hunk[1]).replace("=======\n", ""), block)
    if mended == block:
        return False
    write_atomic(path, text.replace(block, mended).encode("utf-8", "surrogateescape"))
    return True


def _text_of(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return ""
    return _decoded(data, path)


def _decoded(data: bytes, path: Path) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise IntegrityError(f"{path.name} is not UTF-8: {error}", hint=f"git checkout --ours -- {path.name}") from None


def preferred(*, ours: bool, theirs: bool) -> Side | None:
    """Raises UsageError if both are asked for."""
    if ours and theirs:
        raise UsageError("--ours and --theirs contradict each other", hint="say one of them")
    return "ours" if ours else "theirs" if theirs else None
