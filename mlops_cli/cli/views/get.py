"""What `mlo data get` and `mlo data update` say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_cli.cli.output import Output, human_bytes, plural

if TYPE_CHECKING:
    from mlops_cli.core.project.lock import SourceLock
    from mlops_cli.core.workflows.artifacts import GotArtifact
    from mlops_cli.core.workflows.follow import Followed, Updates
    from mlops_cli.core.workflows.get import Got

_SHORT = 12


def show_got(result: Got, output: Output) -> None:
    amount = f"{plural(result.files, 'file')}, {human_bytes(result.size)}, {result.digest}"
    at = f" at {result.commit[:_SHORT]}" if result.commit else ""
    inner = f" {result.inner}" if result.inner else ""
    output.line(f"got {result.path} from {result.url}{inner}{at}: {amount}")
    if result.recorded:
        output.line("commit mlo.lock and .gitignore to keep it; mlo data update follows its source", style="dim")


def show_artifact(result: GotArtifact, output: Output) -> None:
    amount = f"{plural(result.files, 'file')}, " if result.kind == "dir" else ""
    output.line(f"got {result.path} of run {result.run[:8]}: {amount}{human_bytes(result.size)}, {result.digest}")


def show_updates(result: Updates, output: Output) -> None:
    if not result.followed:
        output.line("nothing here was brought from elsewhere; mlo data get does that")
    for done in result.followed:
        output.line(f"{done.path}: {_said(done, result.dry_run)}")
    if any(done.before != done.after for done in result.followed):
        output.line("commit mlo.lock to keep this version", style="dim")


def _said(done: Followed, dry_run: bool) -> str:
    if done.change == "current":
        return f"up to date with {done.url}"
    if done.change == "unknown":
        return f"{done.url} does not say whether it changed; an update would fetch it and see"
    if dry_run:
        return f"{done.url} has news" if done.change == "updated" else f"up to date, at a newer state of {done.url}"
    states = (done.before, done.after)
    tell = _commit if all(state.commit for state in states) else _digest
    moved = " -> ".join(dict.fromkeys(tell(state) for state in states))
    if done.change == "same":
        return f"up to date; {done.url} moved: {moved}"
    return f"updated from {done.url}: {moved}, {human_bytes(done.after.size)}"


def _commit(source: SourceLock) -> str:
    return (source.commit or "")[:_SHORT]


def _digest(source: SourceLock) -> str:
    return source.digest.partition(":")[2][:_SHORT]
