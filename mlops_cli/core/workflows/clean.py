"""`mlo data gc`: which place is cleaned, by which rules."""

from __future__ import annotations

import msgspec

from mlops_cli.core.base.clock import parse_duration
from mlops_cli.core.errors import UsageError
from mlops_cli.core.store.projects import Member
from mlops_cli.core.workflows.gc import Garbage, collect_garbage
from mlops_cli.core.workflows.gc import forget_project as forget
from mlops_cli.core.workflows.gc_remote import collect_remote_garbage, unlock_remote
from mlops_cli.core.workflows.workspace import Workspace

ALL = "all"


class Rules(msgspec.Struct, frozen=True):
    """What to spare. Durations in seconds; `keep_runs` None means all of them."""

    delete: bool = False
    keep_runs: int | None = None
    history: bool = False
    grace_s: float = 86_400.0
    expire_s: float = 90 * 86_400.0
    force: bool = False

    @classmethod
    def parse(cls, *, yes: bool, keep_runs: str, all_commits: bool, grace: str, expire: str, force: bool) -> Rules:
        """From what a person typed. Raises UsageError."""
        if keep_runs != ALL and not (keep_runs.isascii() and keep_runs.isdigit() and len(keep_runs) < 10):
            raise UsageError(f"--keep-runs {keep_runs}: that is no number", hint="write a number, or all")
        kept = None if keep_runs == ALL else int(keep_runs)
        spared_s = 0.0 if grace.strip() in ("0", "0s") else parse_duration(grace)
        return cls(yes, kept, all_commits, spared_s, parse_duration(expire), force)


def clean(
    workspace: Workspace,
    rules: Rules,
    *,
    remote: bool = False,
    name: str | None = None,
    unlock: bool = False,
    forget_project: str | None = None,
) -> Garbage | Member:
    """Clean the cache, or forget a project of it. Raises as `collect_garbage`, and UsageError."""
    if name is not None and not remote:
        raise UsageError(f"{name}: a name is that of a remote", hint=f"mlo data gc --remote {name}")
    if forget_project is not None:
        return forget(workspace, forget_project)
    if remote and unlock:
        return unlock_remote(workspace, name)
    if remote:
        return collect_remote_garbage(
            workspace,
            name,
            delete=rules.delete,
            grace_s=rules.grace_s,
            expire_s=rules.expire_s,
            force=rules.force,
        )
    if unlock or rules.force:
        raise UsageError("--unlock and --force are about a remote", hint="mlo data gc --remote")
    return collect_garbage(
        workspace, delete=rules.delete, keep_runs=rules.keep_runs, history=rules.history, grace_s=rules.grace_s
    )
