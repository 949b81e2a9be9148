"""What the data and remote commands say."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from mlops_cli.cli.output import Output, human_bytes, one_line, plural

if TYPE_CHECKING:  # each command needs one of these workflows, not all of them
    from mlops_cli.core.data.compare import FileState
    from mlops_cli.core.data.differ import Difference, Total
    from mlops_cli.core.data.linking import Linked
    from mlops_cli.core.store.checkout import Changes
    from mlops_cli.core.store.exchange import Transfer
    from mlops_cli.core.workflows.data import AddResult, Moved, RemoveResult
    from mlops_cli.core.workflows.data_checkout import CheckoutResult
    from mlops_cli.core.workflows.data_links import UnprotectResult
    from mlops_cli.core.workflows.data_status import DataDiff, DataStatus, OnRemote
    from mlops_cli.core.workflows.transfer import Brought, Sent

Row = TypeVar("Row", "FileState", "Difference")

_STYLES = {
    "added": "green",
    "modified": "yellow",
    "renamed": "cyan",
    "deleted": "red",
    "missing": "red",
    "not_cached": "yellow",
    "ignored": "dim",
}
_MANY = 4  # from as many on, what came or went with a folder is told in one line
_SHOWN = 200  # rows of a list; the rest is counted
_WHAT_NEXT = {
    "missing": "mlo pull brings missing files, if there is a remote that has them",
    "ignored": "mlo data add takes ignored files out of mlo.lock; a line !PATH in .mloignore keeps them",
    "not_cached": "mlo data add puts added files into the cache, mlo run outputs of stages",
}


def show_added(result: AddResult, output: Output) -> None:
    for item in result.added:
        where = f" (in {item.part_of})" if item.part_of else ""
        amount = f"{plural(item.files, 'file')}, {human_bytes(item.size)}"
        output.line(f"{item.change} {one_line(item.path)}{where}: {amount}, {item.digest}")
    _show_links(result.links, output)
    if any(item.change != "unchanged" for item in result.added):
        output.line("commit mlo.lock and .gitignore to keep this version", style="dim")


def show_unprotected(result: UnprotectResult, output: Output) -> None:
    for item in result.unprotected:
        if item.files:
            output.line(f"{item.path}: {plural(item.files, 'file')} can be written now, without harm to the cache")
        else:
            output.line(f"{item.path}: nothing was linked or read-only")


def _show_links(links: list[Linked], output: Output) -> None:
    for item in links:
        if item.way == "copy":
            copies = "a copy" if item.linked == 1 else "copies"
            output.line(f"{item.path}: {plural(item.linked, 'link')} made {copies}")
            continue
        small = f"; {plural(item.small, 'small or executable file')} stay copies" if item.small else ""
        output.line(f"{item.path}: {plural(item.linked, item.way)}{small}")
        if item.refused:
            output.note(f"{plural(item.refused, 'file')} stay copies: this file system makes no such {item.way}")
        for path in item.changed[:_SHOWN]:
            output.note(f"{path} was changed meanwhile and is no link")


def show_removed(result: RemoveResult, output: Output) -> None:
    for item in result.removed:
        output.line(
            f"removed {one_line(item.path)} from mlo.lock; {'its files too' if item.deleted else 'the files stay'}"
        )


def show_moved(result: Moved, output: Output) -> None:
    output.line(f"moved {result.source} to {result.target}")


def show_status(result: DataStatus, output: Output) -> None:
    if not result.entries:
        output.line("no data is versioned yet; start with: mlo data add PATH")
        return
    amount = f"{plural(result.entries, 'entry')}, {plural(result.files, 'file')}, {human_bytes(result.size)}"
    if result.changes:
        _show_changes(result, amount, output)
    else:
        output.line(f"data is as mlo.lock says: {amount}")
    if result.remote is not None:
        _show_absent(result.remote, output)


def _show_absent(remote: OnRemote, output: Output) -> None:
    where = f"{remote.name} ({remote.url})"
    for row in remote.absent:
        amount = f"{plural(row.files, 'file')}, {human_bytes(row.size)}" if row.files else "its folders' trees"
        output.line(f"not on {remote.name}  {row.path}  ({amount})", style="yellow")
    if remote.absent:
        output.line("mlo push sends what a remote lacks", style="dim")
    else:
        output.line(f"{where} has all of it")


def _show_changes(result: DataStatus, amount: str, output: Output) -> None:
    lines = _folded(result.changes, lambda row: row.state)
    for rows in lines[:_SHOWN]:
        state, size = rows[0].state, human_bytes(sum(row.size for row in rows))
        name, count = (f"{rows[0].folder}/", f"{len(rows):,} files, ") if len(rows) > 1 else (rows[0].path, "")
        output.line(f"{_word(state):10}  {one_line(name)}  ({count}{size})", style=_STYLES[state])
    _rest(sum(len(rows) for rows in lines[_SHOWN:]), output)
    counts = (f"{total.files:,} {_word(state)} ({human_bytes(total.size)})" for state, total in result.totals.items())
    output.line(f"{', '.join(counts)}; of {amount}")
    for hint in _hints(result.totals.keys()):
        output.line(hint, style="dim")


def _hints(states: Collection[str]) -> Iterator[str]:
    """What may be done about files of these states."""
    if "added" in states or "modified" in states:
        yield "mlo data add records new and changed files"
        yield "mlo data checkout goes back to mlo.lock, as after git switch; with --force it replaces your changes"
    elif "deleted" in states:
        yield "mlo data checkout brings deleted files back"
    yield from (_WHAT_NEXT[state] for state in states if state in _WHAT_NEXT)


def show_diff(result: DataDiff, output: Output) -> None:
    if not result.changes:
        output.line(f"no data differs between {result.before} and {result.after}")
    lines = _folded(result.changes, lambda row: (row.change, _old_folder(row)))
    for rows in lines[:_SHOWN]:
        row = rows[0]
        before, after = (sum(side(row) or 0 for row in rows) for side in (_before, _after))
        size = (
            f"{human_bytes(before)} -> {human_bytes(after)}"
            if row.change == "modified"
            else human_bytes(before or after)
        )
        if len(rows) == 1:
            name = f"{row.old_path} -> {row.path}" if row.old_path else row.path
            output.line(f"{row.change:8}  {one_line(name)}  ({size})", style=_STYLES[row.change])
        else:
            name = f"{_old_folder(row)}/ -> {row.folder}/" if row.old_path else f"{row.folder}/"
            output.line(f"{row.change:8}  {one_line(name)}  ({len(rows):,} files, {size})", style=_STYLES[row.change])
    _rest(sum(len(rows) for rows in lines[_SHOWN:]), output)
    if result.totals:
        output.line(", ".join(_total(change, total) for change, total in result.totals.items()))
    for path in result.unread:
        output.note(f"{path} is not compared: its tree is not in the cache; mlo pull brings it from a remote")


def _total(change: str, total: Total) -> str:
    if change == "modified":
        return f"{total.files:,} modified ({human_bytes(total.before)} -> {human_bytes(total.after)})"
    return f"{total.files:,} {change} ({human_bytes(max(total.before, total.after))})"


def _folded(rows: Sequence[Row], kind: Callable[[Row], object]) -> list[list[Row]]:
    """The rows, those together in one line that are of one kind and came or went with one folder, if they are many."""
    groups: dict[object, list[Row]] = {}
    for row in rows:
        groups.setdefault((row.folder, kind(row)) if row.folder else row.path, []).append(row)
    return [
        line for group in groups.values() for line in ([group] if len(group) >= _MANY else [[row] for row in group])
    ]


def _old_folder(row: Difference) -> str | None:
    """The folder that is called `row.folder` now."""
    if row.old_path is None or row.folder is None:
        return None
    return row.old_path[: len(row.old_path) - (len(row.path) - len(row.folder))]


def _before(row: Difference) -> int | None:
    return row.before


def _after(row: Difference) -> int | None:
    return row.after


def _word(state: str) -> str:
    return state.replace("_", " ")


def show_checkout(result: CheckoutResult, output: Output) -> None:
    if not result.restored:
        output.line("nothing to check out")
    for item in result.restored:
        output.line(f"{item.path}: {_changed(item.changes, 'would be ' if result.dry else '')}")
        if result.dry:
            _show_foreseen(item.path, item.changes, output)
        for path in item.changes.kept[:_SHOWN]:
            output.line(f"  kept {one_line(_below(item.path, path))}, which is yours", style="dim")
    _show_links(result.links, output)
    if result.dry and result.restored:
        output.line("a dry run: nothing was changed", style="dim")
    elif result.revision and result.restored:
        output.line(
            f"mlo.lock is as it was: mlo data checkout goes back, git checkout {result.revision} -- mlo.lock stays",
            style="dim",
        )


def _show_foreseen(entry: str, changes: Changes, output: Output) -> None:
    """Every path that a checkout would touch."""
    words = {"add": changes.added, "update": changes.updated, "remove": changes.removed}
    rows = [(word, path) for word, paths in words.items() for path in sorted(paths)]
    for word, path in rows[:_SHOWN]:
        output.line(f"  would {word} {one_line(_below(entry, path))}")
    _rest(len(rows[_SHOWN:]), output)


def _below(entry: str, path: str) -> str:
    return entry if path == "." else f"{entry}/{path}"


def show_sent(result: Sent, output: Output) -> None:
    pushed = "would push" if result.dry else "pushed"
    output.line(f"{pushed} to {result.remote} ({result.url}): {_moved(result.transfer)}")
    _show_belongings(result, output)


def show_brought(result: Brought, output: Output) -> None:
    pulled = "would pull" if result.dry else "pulled"
    output.line(f"{pulled} from {result.remote} ({result.url}): {_moved(result.transfer, 'here')}")
    if not result.dry:
        _show_belongings(result, output)
        show_checkout(result.checkout, output)


def show_fetched(result: Brought, output: Output) -> None:
    fetched = "would fetch" if result.dry else "fetched"
    output.line(f"{fetched} from {result.remote} ({result.url}): {_moved(result.transfer, 'here')}")


def _show_belongings(result: Sent | Brought, output: Output) -> None:
    """Runs travel by themselves; what a version names does too, but its number and aliases only with the registry."""
    if not result.registry_stays:
        if result.runs or result.models:
            output.line(f"with {plural(result.runs, 'new run')} and {plural(result.models, 'model version')}")
        return
    if result.runs or result.models:
        files = f" and the files of {plural(result.models, 'model version')}" if result.models else ""
        output.line(f"with {plural(result.runs, 'new run')}{files}")
        output.line(
            f"versions and aliases stay on each machine (registry: local); `registry: {result.remote}` in mlo.yaml "
            "shares what is registered from then on",
            style="dim",
        )


def _changed(changes: Changes, would_be: str = "") -> str:
    counts = {
        f"{would_be}added": changes.added,
        f"{would_be}updated": changes.updated,
        f"{would_be}removed": changes.removed,
        "not restored: not in the cache": changes.missing,
        "not restored: damaged in the cache": changes.corrupt,
    }
    words = [f"{len(paths):,} {word}" for word, paths in counts.items() if paths]
    return ", ".join(words) or "as it should be"


def _moved(transfer: Transfer, where: str = "there") -> str:
    if not transfer.objects:
        new = "nothing moved" if transfer.missing or transfer.corrupt else "nothing new"
        return f"{new}, {plural(transfer.present, 'object')} {where} already"
    return f"{plural(transfer.objects, 'object')}, {human_bytes(transfer.bytes)}"


def _rest(hidden: int, output: Output) -> None:
    if hidden:
        output.line(f"... and {hidden:,} more; --json lists all")
