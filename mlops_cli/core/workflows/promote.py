"""Point an alias at a version, forward through its gates or back to the version before."""

from __future__ import annotations

from typing import Any

import msgspec

from mlops_cli.core.base.records import MODEL_NAME, ModelRef
from mlops_cli.core.errors import NotFound, RemoteError, UsageError
from mlops_cli.core.events.protocol import sayable
from mlops_cli.core.registry.records import Version
from mlops_cli.core.registry.registry import LATEST, Draft
from mlops_cli.core.workflows.gates import GateReport, GateResult, check_gates
from mlops_cli.core.workflows.resolve import model_folder, resolved_version
from mlops_cli.core.workflows.workspace import Workspace

PRODUCTION = "production"
_ATTEMPTS = 10


class Promotion(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an alias. `before` is the version it pointed at; `changed` whether it points elsewhere now."""

    action: str  # promote or rollback
    name: str
    version: int
    alias: str
    before: int | None
    changed: bool
    refused: bool = False
    dry: bool = False
    champion: str | None = None
    gates: list[GateResult] = []
    event: int | None = None

    @property
    def title(self) -> str:
        return f"{self.name}@{self.version}"


class _Moved(Exception):
    """Another writer moved the alias while the gates were judged against its old champion."""


def promote_model(workspace: Workspace, ref: str, alias: str = PRODUCTION, *, dry: bool = False) -> Promotion:
    """Point `alias` at the version that `ref` means, if the gates of mlo.yaml for that alias hold.

    A refused gate leaves the alias and records a `refuse` event; `dry` judges and records nothing. Pointing it where
    it points already changes nothing. Raises UsageError for an alias that could not be told from a version, NotFound,
    IntegrityError if the model is not what was registered, ProjectError for a gate that names what is not known.
    """
    _check_alias(alias)
    parsed = ModelRef.parse(ref)
    if parsed.run is not None:
        raise UsageError(
            f"{ref} is a run; only a registered version can be promoted", hint=f"mlo register {parsed.run}"
        )
    registry = workspace.registry
    for _ in range(_ATTEMPTS):
        registry.refresh()
        version = registry.resolve(parsed)
        before = registry.alias(version.name, alias)
        outcome = _outcome(version, alias, before)
        if before == version.version:
            return outcome
        model_folder(workspace, resolved_version(version))  # what cannot be loaded must not be pointed at
        champion = registry.version(version.name, before) if before is not None else None
        report = check_gates(workspace, version, alias, champion)
        outcome = msgspec.structs.replace(
            outcome, champion=report.champion, gates=report.gates, refused=not report.holds, dry=dry
        )
        if dry:
            return outcome
        try:
            return _record(workspace, outcome, version, report)
        except _Moved:
            continue
    raise RemoteError(
        f"{version.name}@{alias} moved {_ATTEMPTS} times while its gates were judged",
        hint="see who moves it: mlo audit",
    )


def _outcome(version: Version, alias: str, before: int | None) -> Promotion:
    return Promotion(
        action="promote", name=version.name, version=version.version, alias=alias, before=before, changed=False
    )


def _record(workspace: Workspace, outcome: Promotion, version: Version, report: GateReport) -> Promotion:
    gates = sayable(msgspec.to_builtins(report.gates))

    def compose() -> Draft:
        # The gates were judged against this champion, and hold against no other.
        if workspace.registry.alias(version.name, outcome.alias) != outcome.before:
            raise _Moved
        if outcome.refused:
            return Draft("refuse", version.title, {"alias": outcome.alias, "champion": report.champion, "gates": gates})
        return Draft("promote", version.title, {**_pointing(version, outcome.alias, outcome.before), "gates": gates})

    event = workspace.registry.append(compose)
    return msgspec.structs.replace(outcome, changed=not outcome.refused, event=event.seq if event else None)


def rollback_model(workspace: Workspace, name: str, alias: str = PRODUCTION) -> Promotion:
    """Point `alias` back at the version promoted before its present one. Gates are not asked: it has passed them.

    Raises NotFound if the alias points nowhere or nothing was promoted before, IntegrityError if that version's files
    are no longer what was registered.
    """
    _check_alias(alias)
    registry = workspace.registry
    for _ in range(_ATTEMPTS):
        registry.refresh()
        present = registry.resolve(ModelRef(name, alias=alias))
        number = registry.previous(name, alias)
        if number is None:
            raise NotFound(
                f"{name}@{alias} points at version {present.version}, and nothing was promoted there before it",
                hint=f"mlo promote {name}@VERSION {alias}",
            )
        target = registry.version(name, number)
        model_folder(workspace, resolved_version(target))

        def compose(target: Version = target, present: Version = present) -> Draft:
            if registry.alias(name, alias) != present.version or registry.previous(name, alias) != target.version:
                raise _Moved
            return Draft("rollback", target.title, _pointing(target, alias, present.version))

        try:
            event = registry.append(compose)
        except _Moved:
            continue
        return Promotion(
            action="rollback",
            name=name,
            version=target.version,
            alias=alias,
            before=present.version,
            changed=True,
            event=event.seq if event else None,
        )
    raise RemoteError(f"{name}@{alias} moved {_ATTEMPTS} times meanwhile", hint="see who moves it: mlo audit")


def _pointing(version: Version, alias: str, before: int | None) -> dict[str, Any]:
    return {"alias": alias, "before": before, "model": version.model.digest, "run": version.run}


def _check_alias(alias: str) -> None:
    if alias.isdigit() or alias == LATEST or not MODEL_NAME.fullmatch(alias):
        what = "always the newest version" if alias == LATEST else "no name for an alias"
        raise UsageError(f"{alias} is {what}", hint="use a word such as production, staging or canary")
