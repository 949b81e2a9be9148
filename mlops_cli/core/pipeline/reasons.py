"""Why a stage runs, is brought back, is left or is passed over: said to people, and as data."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from mlops_cli.core.base.records import Entry
from mlops_cli.core.pipeline.facts import FACT_NAMES
from mlops_cli.core.pipeline.graph import Node
from mlops_cli.core.pipeline.results import stage_key
from mlops_cli.core.project.lock import StageLock

Action = Literal["cached", "restored", "run", "skipped"]


class Change(msgspec.Struct, frozen=True):
    """One path in a folder that two states of it hold differently."""

    path: str
    change: Literal["added", "modified", "deleted", "renamed"]
    old_path: str | None = None


class Reason(msgspec.Struct, frozen=True):
    """One cause. `text` says it to people; `old` and `new` are the values where there are two; `inside` are the files
    of a folder that changed, as far as both states of it can be looked into."""

    kind: Literal[
        "never_run",
        "forced",
        "command",
        "dep",
        "param",
        "outputs",
        "output",
        "environment",
        "upstream",
        "lost",
        "always",
        "frozen",
        "accepted",
        "when",
        "no_cache",
    ]
    text: str
    name: str = ""
    old: Any = None
    new: Any = None
    inside: tuple[Change, ...] = ()


class Decision(msgspec.Struct, frozen=True):
    """What happens to a stage. `key` is None while an upstream stage has yet to run.

    `reasons` say how it differs from its last accepted result; `would_overwrite` are outputs that only --force touches.
    """

    stage: str
    action: Action
    reasons: tuple[Reason, ...] = ()
    key: str | None = None
    would_overwrite: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return "; ".join(reason.text for reason in self.reasons)


class Inputs(msgspec.Struct, frozen=True):
    """All that a stage's result depends on. `facts` are what few stages have: the folder it runs in, the environment,
    the notebook, the launcher."""

    command: str | list[str]
    deps: dict[str, str]
    params: dict[str, Any]
    outs: tuple[str, ...]
    pass_env: dict[str, str | None]
    facts: dict[str, Any] = {}

    @property
    def key(self) -> str:
        return stage_key(
            self.command,
            deps=self.deps,
            params=self.params,
            outs=self.outs,
            pass_env=self.pass_env,
            facts=self.facts,
        )

    @property
    def command_text(self) -> str:
        return self.command if isinstance(self.command, str) else shlex.join(self.command)

    def locked(self, outs: Mapping[str, Entry], key: str) -> StageLock:
        """What mlo.lock says of a result of these."""
        return StageLock(key, self.command_text, dict(self.deps), dict(self.params), dict(outs), facts=dict(self.facts))


NEVER = Reason("never_run", "it never ran")
FORCED = Reason("forced", "forced")
ALWAYS = Reason("always", "it names no deps, params or outputs that could be compared")
LOST = Reason("lost", "its result is no longer in the cache")
NO_CACHE = Reason("no_cache", "nothing is taken from the run cache")
FROZEN = Reason("frozen", "it is frozen")
ACCEPTED = Reason("accepted", "what stands at its outputs is taken as its result")


def differences(node: Node, locked: StageLock | None, inputs: Inputs, key: str) -> list[Reason]:
    """What changed since the last accepted result."""
    if locked is None:
        return [NEVER]
    if locked.key == key:
        return []
    reasons = []
    if locked.cmd != inputs.command_text:
        reasons.append(Reason("command", "the command changed", node.name, locked.cmd, inputs.command_text))
    reasons += _changes("dep", locked.deps, inputs.deps, _dep_text)
    reasons += _changes("param", locked.params, inputs.params, _param_text)
    reasons += _changes("environment", locked.facts, inputs.facts, _fact_text)
    old_outs, new_outs = sorted(locked.outs), sorted(inputs.outs)
    if old_outs != new_outs:
        changed = sorted(set(old_outs) ^ set(new_outs))
        reasons.append(Reason("outputs", f"its outputs changed: {', '.join(changed)}", changed[0], old_outs, new_outs))
    if not reasons:
        names = ", ".join(inputs.pass_env) or "none"
        reasons.append(Reason("environment", f"a variable of pass_env changed ({names})"))
    return reasons


def _changes(
    kind: Literal["dep", "param", "environment"],
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    text: Callable[[str, Any, Any], str],
) -> list[Reason]:
    names = [*new, *(name for name in old if name not in new)]
    return [
        Reason(kind, text(name, old.get(name), new.get(name)), name, old.get(name), new.get(name))
        for name in names
        if name not in old or name not in new or not _same(old[name], new[name])
    ]


def _same(old: Any, new: Any) -> bool:
    # 1 == True == 1.0 in Python, but not in a stage's key.
    return repr(old) == repr(new) if not isinstance(old, Mapping) else old == new


def _dep_text(name: str, old: Any, new: Any) -> str:
    return f"{name} is a new dep" if old is None else f"{name} is no longer a dep" if new is None else f"{name} changed"


def _fact_text(name: str, old: Any, new: Any) -> str:
    return f"{FACT_NAMES.get(name, name)} changed"


def _param_text(name: str, old: Any, new: Any) -> str:
    if old is None or new is None:
        return f"param {name} is {'new' if old is None else 'no longer read'}"
    return f"param {name}: {old} -> {new}"
