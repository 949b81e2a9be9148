"""Gates: what a version must show before an alias may point at it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from mlops_cli.core.base.expression import Comparison, Expression, parse
from mlops_cli.core.errors import MloError, ProjectError, RemoteError
from mlops_cli.core.models.score import SCORES
from mlops_cli.core.registry.records import Version
from mlops_cli.core.workflows.resolve import load_resolved, resolved_version
from mlops_cli.core.workflows.rows import read_rows, score_each
from mlops_cli.core.workflows.workspace import Workspace

CHAMPION = "champion."


class GateResult(msgspec.Struct, frozen=True):
    """One gate with the numbers it saw. `reason` says why it was refused, or passed without a comparison."""

    gate: str
    holds: bool
    reason: str | None
    comparisons: list[Comparison]


class GateReport(msgspec.Struct, frozen=True):
    """All gates of one alias for one candidate. `values` maps each name to what it stood for, None if unknown."""

    alias: str
    candidate: str
    champion: str | None
    gates: list[GateResult]
    values: dict[str, Any]

    @property
    def holds(self) -> bool:
        return all(gate.holds for gate in self.gates)


def check_gates(workspace: Workspace, candidate: Version, alias: str, champion: Version | None) -> GateReport:
    """Judge the gates that mlo.yaml sets for `alias`; `champion` is the version it points at now, if any.

    A name that mlo can score is scored by mlo on the candidate's evaluation rows, for the candidate and for
    `champion.` alike; every other name is a metric of the candidate's run. A `champion.` that cannot be scored refuses
    its gate, and where there is no champion yet, comparisons with one are passed. Raises ProjectError for a name that
    is neither, RemoteError if objects needed are out of reach.
    """
    model = workspace.project.model
    texts = model.gates.get(alias, []) if model is not None else []
    expressions = [parse(text) for text in texts]
    names = sorted(set().union(*(expression.names for expression in expressions)))
    _check_names(candidate, expressions, alias)
    values: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    own = [name for name in names if not name.startswith(CHAMPION)]
    _value_candidate(workspace, candidate, own, values, reasons)
    free: set[str] = set()
    theirs = [name for name in names if name.startswith(CHAMPION)]
    if champion is None:
        free = set(theirs)
    else:
        _value_champion(workspace, candidate, champion, theirs, values, reasons)
    gates = [_judge(expression, values, reasons, free, alias) for expression in expressions]
    return GateReport(alias, candidate.title, champion.title if champion else None, gates, values)


def _judge(
    expression: Expression, values: dict[str, Any], reasons: dict[str, str], free: set[str], alias: str
) -> GateResult:
    holds = expression.judge(values, free=free) is True
    reason = None
    if holds and expression.names & free:
        reason = f"there is no champion in {alias} yet, so comparisons with it are passed"
    elif not holds:
        said = [reasons[name] for name in sorted(expression.names) if name in reasons]
        missing = [name for name in sorted(expression.names - free) if values.get(name) is None and name not in reasons]
        said += [f"{name} is NaN or was never logged" for name in missing]
        reason = "; ".join(dict.fromkeys(said)) or None
    return GateResult(expression.text, holds, reason, expression.explain(values))


# -- names ---------------------------------------------------------------------------------------------------


def _check_names(candidate: Version, expressions: Iterable[Expression], alias: str) -> None:
    scorable = _scorable(candidate)
    known = {*scorable, *candidate.metrics}
    for expression in expressions:
        for name in sorted(expression.names):
            plain = name.removeprefix(CHAMPION)
            if plain not in known and plain not in SCORES:
                raise ProjectError(
                    f"the gate `{expression.text}` of {alias} uses {name}, "
                    f"which is no score and no metric of the run of {candidate.title}",
                    hint=_known_hint(expression.text, scorable, candidate),
                )


def _known_hint(gate: str, scorable: list[str], candidate: Version) -> str:
    for metric in candidate.metrics:
        if f"`{metric}`" not in gate and not metric.replace("_", "").replace(".", "").isalnum() and metric in gate:
            return f"write `{metric}` in backquotes: / and - calculate"
    metrics = ", ".join(sorted(set(candidate.metrics) - set(scorable))) or "none besides"
    return f"mlo scores {', '.join(scorable) or 'nothing without model.evaluate'}; metrics of the run: {metrics}"


def _scorable(candidate: Version) -> list[str]:
    """What mlo can score of the candidate; its recorded scores say which fit its task."""
    if candidate.evaluate is None:
        return []
    if candidate.scores:
        return list(candidate.scores)
    task = candidate.signature.task
    return [name for name in SCORES if (name in ("rmse", "mae", "r2")) == (task == "regression")]


# -- values --------------------------------------------------------------------------------------------------


def _value_candidate(
    workspace: Workspace, candidate: Version, names: list[str], values: dict[str, Any], reasons: dict[str, str]
) -> None:
    """Scores were taken when the version was registered, on the very rows it names; those that lack are taken now."""
    absent = []
    for name in names:
        if candidate.evaluate is not None and name in SCORES:
            values[name] = candidate.scores.get(name)
            if values[name] is None:
                absent.append(name)
        else:
            values[name] = candidate.metrics.get(name)
            if name in SCORES and name not in candidate.metrics:
                reasons[name] = f"{name} cannot be scored: {candidate.title} has no evaluation rows (model.evaluate)"
    _score(workspace, candidate, candidate, absent, "", values, reasons)


def _value_champion(
    workspace: Workspace,
    candidate: Version,
    champion: Version,
    names: list[str],
    values: dict[str, Any],
    reasons: dict[str, str],
) -> None:
    plain = []
    for name in names:
        score_name = name.removeprefix(CHAMPION)
        values[name] = None
        if candidate.evaluate is None:
            reasons[name] = (
                f"{name} cannot be scored: {candidate.title} was registered without evaluation rows (model.evaluate)"
            )
        elif score_name not in SCORES:
            reasons[name] = (
                f"{name} cannot be scored: {score_name} is a metric of the run, and mlo scores {', '.join(SCORES)}"
            )
        else:
            plain.append(score_name)
    _score(workspace, candidate, champion, plain, CHAMPION, values, reasons)


def _score(
    workspace: Workspace,
    candidate: Version,
    scored: Version,
    names: list[str],
    prefix: str,
    values: dict[str, Any],
    reasons: dict[str, str],
) -> None:
    """Score a version on the candidate's evaluation rows. Whatever keeps it from being scored becomes the reason."""
    evaluate = candidate.evaluate
    if not names or evaluate is None:
        return
    try:
        loaded = load_resolved(workspace, resolved_version(scored))
        rows = read_rows(workspace, evaluate.data, evaluate.path)
    except RemoteError:
        raise
    except MloError as error:
        reasons.update({prefix + name: f"{scored.title} cannot be scored: {error.message}" for name in names})
        return
    scores, failed = score_each(loaded, rows, evaluate.target, names)
    values.update({prefix + name: value for name, value in scores.items()})
    reasons.update({prefix + name: f"{scored.title} cannot be scored: {why}" for name, why in failed.items()})
