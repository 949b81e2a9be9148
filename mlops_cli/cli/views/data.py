"""What the data and remote commands say."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from mlops_cli.cli.output import Output, human_bytes, plural

if TYPE_CHECKING:  # each command needs one of these workflows, not all of them
    from mlops_cli.core.remotes.check import RemoteCheck
    from mlops_cli.core.store.checkout import Changes
    from mlops_cli.core.store.exchange import Transfer
    from mlops_cli.core.store.fsck import FsckReport
    from mlops_cli.core.workflows.data import AddResult, CheckoutResult, DataDiff, DataStatus, Moved, RemoveResult
    from mlops_cli.core.workflows.remote import RemoteList, RemoteRow
    from mlops_cli.core.workflows.transfer import Brought, Sent

_STYLES = {"added": "green", "modified": "yellow", "deleted": "red", "missing": "red", "not_cached": "yellow"}
_SHOWN = 200  # rows of a list; the rest is counted
_WHAT_NEXT = {
    "added": "mlo data add records new and changed files",
    "modified": "mlo data checkout --force takes changes back",
    "deleted": "mlo data checkout brings deleted files back",
    "missing": "mlo pull brings missing files, if there is a remote that has them",
    "not_cached": "mlo data add puts added files into the cache, mlo run outputs of stages",
}


def show_added(result: AddResult, output: Output) -> None:
    for item in result.added:
        where = f" (in {item.part_of})" if item.part_of else ""
        amount = f"{plural(item.files, 'file')}, {human_bytes(item.size)}"
        output.line(f"{item.change} {item.path}{where}: {amount}, {item.digest}")
    if any(item.change != "unchanged" for item in result.added):
        output.line("commit mlo.lock and .gitignore to keep this version", style="dim")


def show_removed(result: RemoveResult, output: Output) -> None:
    for item in result.removed:
        output.line(f"removed {item.path} from mlo.lock; {'its files too' if item.deleted else 'the files stay'}")


def show_moved(result: Moved, output: Output) -> None:
    output.line(f"moved {result.source} to {result.target}")


def show_status(result: DataStatus, output: Output) -> None:
    if not result.entries:
        output.line("no data is versioned yet; start with: mlo data add PATH")
        return
    amount = f"{plural(result.entries, 'entry')}, {plural(result.files, 'file')}, {human_bytes(result.size)}"
    if result.clean:
        output.line(f"data is as mlo.lock says: {amount}")
        return
    for row in result.changes[:_SHOWN]:
        output.line(
            f"{row.state.replace('_', ' '):10}  {row.path}  ({human_bytes(row.size)})", style=_STYLES[row.state]
        )
    _rest(len(result.changes), output)
    counts = Counter(row.state for row in result.changes)
    output.line(", ".join(f"{count} {state.replace('_', ' ')}" for state, count in counts.items()) + f"; of {amount}")
    for state in counts:
        output.line(_WHAT_NEXT[state], style="dim")


def show_diff(result: DataDiff, output: Output) -> None:
    if not result.changes:
        output.line(f"no data differs between {result.before} and {result.after}")
    for row in result.changes[:_SHOWN]:
        old, new = (human_bytes(size) if size is not None else "" for size in (row.before, row.after))
        sizes = f"{old} -> {new}" if row.change == "modified" else old or new
        name = f"{row.old_path} -> {row.path}" if row.old_path else row.path
        output.line(f"{row.change:8}  {name}  ({sizes})")
    _rest(len(result.changes), output)
    counts = Counter(row.change for row in result.changes)
    if counts:
        output.line(", ".join(f"{count} {change}" for change, count in counts.items()))
    for path in result.unread:
        output.note(f"{path} is not compared: its tree is not in the cache; mlo pull brings it from a remote")


def show_checkout(result: CheckoutResult, output: Output) -> None:
    if not result.restored:
        output.line("nothing to check out")
    for item in result.restored:
        output.line(f"{item.path}: {_changed(item.changes)}")
        for path in item.changes.kept[:_SHOWN]:
            output.line(f"  kept {path}, which is yours", style="dim")


def show_sent(result: Sent, output: Output) -> None:
    output.line(f"pushed to {result.remote} ({result.url}): {_moved(result.transfer)}")
    _show_belongings(result, output)


def show_brought(result: Brought, output: Output) -> None:
    output.line(f"pulled from {result.remote} ({result.url}): {_moved(result.transfer)}")
    _show_belongings(result, output)
    show_checkout(result.checkout, output)


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


def show_fsck(result: FsckReport, output: Output) -> None:
    for bad in result.bad:
        needed = f", needed by {', '.join(bad.paths[:3])}{' ...' if len(bad.paths) > 3 else ''}" if bad.paths else ""
        output.line(f"{bad.problem}: {bad.digest}{needed}", style="red")
        if bad.aside:
            output.line(f"  set aside as {bad.aside}")
    read = f"{plural(result.objects, 'object')}, {human_bytes(result.bytes)}"
    if result.leftovers:
        output.line(f"removed {plural(result.leftovers, 'temp file')} of commands that were killed")
    output.line(f"verified {read}: {'all good' if result.ok else plural(len(result.bad), 'problem')}")
    if not result.ok:
        output.line(
            "mlo pull brings good copies from a remote; mlo data add and mlo run keep what stands here",
            style="dim",
        )


def show_remote(result: RemoteRow, output: Output) -> None:
    default = ", used by default" if result.default else ""
    output.line(f"remote {result.name} is {result.url}{default}; try it with: mlo remote check {result.name}")


def show_remotes(result: RemoteList, output: Output) -> None:
    if not result.remotes:
        output.line("no remotes yet; name one with: mlo remote add origin FOLDER_OR_URL")
        return
    rows = [(row.name, row.url, row.trust, "*" if row.default else "") for row in result.remotes]
    output.table(["name", "url", "trust", "default"], rows)


def show_check(result: RemoteCheck, output: Output) -> None:
    output.line(f"{result.name} ({result.url})")
    words = {True: "ok", False: "failed", None: "no"}
    for step in result.steps:
        word = "not tried" if step.detail == "not tried" else words[step.ok]
        detail = f"  {step.detail}" if step.detail and step.detail != "not tried" else ""
        output.line(f"  {step.name:16}  {word}{detail}", style="red" if step.ok is False else None)


def _changed(changes: Changes) -> str:
    counts = {
        "added": changes.added,
        "updated": changes.updated,
        "removed": changes.removed,
        "not restored, as the cache lacks it": changes.missing,
        "not restored, as its cached object is damaged": changes.corrupt,
    }
    words = [f"{len(paths)} {word}" for word, paths in counts.items() if paths]
    return ", ".join(words) or "as it should be"


def _moved(transfer: Transfer) -> str:
    if not transfer.objects:
        return f"nothing new, {plural(transfer.present, 'object')} there already"
    return f"{plural(transfer.objects, 'object')}, {human_bytes(transfer.bytes)}"


def _rest(count: int, output: Output) -> None:
    if count > _SHOWN:
        output.line(f"... and {count - _SHOWN:,} more; --json lists all")
