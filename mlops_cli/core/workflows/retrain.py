"""`mlo retrain`: look, decide, run the pipeline, compare on the newest labelled rows, and promote what is better.

What is due when, and what it takes to replace a model, stands in core/retraining/RULE.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from mlops_cli.core.base.clock import parse_time
from mlops_cli.core.base.files import FileLock
from mlops_cli.core.base.records import ModelRef
from mlops_cli.core.errors import Exit, IntegrityError, ProjectError
from mlops_cli.core.events.protocol import Event, sayable
from mlops_cli.core.project.schema import Model
from mlops_cli.core.registry.records import Version
from mlops_cli.core.retraining.comparison import Gain, Judged, check_value, compare
from mlops_cli.core.retraining.policy import (
    Decision,
    Facts,
    LabelledWindow,
    Performance,
    Reason,
    Rules,
    WindowFinding,
    decide,
    decided_labels,
)
from mlops_cli.core.workflows.findings import failed_checks, labelled_windows, material, measure, windows_of
from mlops_cli.core.workflows.holdout import Holdout, judge, read_holdout, shown_path, training_rows
from mlops_cli.core.workflows.promote import PRODUCTION, Promotion, promote_model
from mlops_cli.core.workflows.register import known_version, register_model
from mlops_cli.core.workflows.run import plan_run, run_pipeline
from mlops_cli.core.workflows.workspace import Workspace

Outcome = Literal["nothing_due", "held", "would_retrain", "too_few_labels", "promoted", "registered", "rejected"]
_RAN = ("promoted", "registered", "rejected")  # what starts a cooldown
_EXITS = {"held": Exit.DONE, "rejected": Exit.WARNED, "too_few_labels": Exit.TOO_LITTLE}


class RetrainAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What `mlo retrain` did, or under `--dry-run` would do, and why.

    `key` names the situation; `replayed` says that this is the recorded answer of an earlier call with the same key.
    `held_by` is what held a fired trigger back. `looks` counts the comparisons that this holdout served, this one
    included. `event` is the place of the retrain event, None where none was recorded.
    """

    outcome: Outcome
    exit_code: int
    champion: str
    key: str
    reasons: tuple[Reason, ...] = ()
    notes: tuple[str, ...] = ()
    windows: tuple[WindowFinding, ...] = ()
    feedback: tuple[LabelledWindow, ...] = ()
    performance: Performance | None = None
    held_by: str | None = None
    until: str | None = None
    failed_checks: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()  # under --dry-run: what would be done, in order
    run: str | None = None
    challenger: str | None = None
    holdout: dict[str, str] | None = None
    labels: int | None = None
    looks: int | None = None
    comparison: Gain | None = None
    promotion: Promotion | None = None
    why: str = ""
    dry: bool = False
    replayed: bool = False
    event: int | None = None


def retrain(
    workspace: Workspace, *, holdout: Path | None = None, dry: bool = False, force: bool = False, wait: bool = True
) -> RetrainAnswer:
    """Retrain `model.name` if there is cause. `dry` says what would be done and changes nothing.

    Raises NotFound (no champion, no holdout file), ProjectError (settings, a holdout that overlaps with training
    rows), TooLittleData where the holdout gives the metric no value, StageFailed, ChecksFailed, and Locked where
    another retrain runs and `wait` is false.
    """
    model = workspace.project.model
    if model is None:
        raise ProjectError(
            "mlo.yaml has no model section, so there is nothing to retrain", hint="add model: {name: ...}"
        )
    rules = Rules.of(workspace.project.retrain, workspace.project.drift)
    if dry:
        return _Retraining(workspace, model, rules, holdout, force=force).dry()
    lock = FileLock(workspace.paths.locks / "retrain", command=workspace.command_line)
    with lock.held(wait=wait, waiting=lambda holder: workspace.progress.note(f"waiting for {holder}")):
        return _Retraining(workspace, model, rules, holdout, force=force).run()


class _Retraining:
    """One call of retrain: its settings, and the champion as it stood when the call began."""

    def __init__(self, workspace: Workspace, model: Model, rules: Rules, holdout: Path | None, *, force: bool) -> None:
        self.workspace = workspace
        self.model = model
        self.rules = rules
        self.force = force
        self.path = _holdout_path(workspace, holdout)
        workspace.registry.refresh()
        self.champion = workspace.registry.resolve(ModelRef(model.name, alias=PRODUCTION))
        self.past = [event for event in workspace.registry.history(model.name) if event.kind == "retrain"]

    # -- deciding ------------------------------------------------------------------------------------------

    def decide(self, *, dry: bool) -> tuple[RetrainAnswer, Decision]:
        """The answer so far: what was found and decided, nothing done yet."""
        feedback = self._feedback(record=not dry)
        facts = Facts(
            champion=self.champion.title,
            registered=parse_time(self.champion.time),
            last=self._last(),
            windows=windows_of(self.workspace, self.champion, self.rules, record=not dry),
            feedback=feedback,
            performance=None if decided_labels(feedback) else self._performance(),
            failed_checks=failed_checks(self.workspace),
            material=material(self.workspace, self.champion, self.path),
        )
        decision = decide(self.workspace.clock.now(), facts, self.rules, force=self.force)
        answer = RetrainAnswer(
            outcome="nothing_due" if not decision.reasons else "held",
            exit_code=int(Exit.WARNED if decision.held_by == "checks" else Exit.DONE),
            champion=self.champion.title,
            key=decision.key,
            reasons=decision.reasons,
            notes=(*decision.notes, *self._lacking()),
            windows=facts.windows,
            feedback=facts.feedback,
            performance=facts.performance,
            held_by=decision.held_by,
            until=decision.until,
            failed_checks=facts.failed_checks,
            dry=dry,
        )
        return answer, decision

    def _lacking(self) -> tuple[str, ...]:
        """What a retraining will need and does not find, said before one is due."""
        if self.path is None:
            return ("holdout: none is named; set retrain.holdout in mlo.yaml, or say --holdout FILE",)
        if not self.path.is_file():
            return (f"holdout: there is no file {shown_path(self.workspace, self.path)}; a retraining needs it",)
        return ()

    def _last(self) -> Any:
        ran = [event for event in self.past if event.data.get("decision") in _RAN]
        return parse_time(ran[-1].time) if ran else None

    def _feedback(self, *, record: bool) -> tuple[LabelledWindow, ...]:
        if "performance" not in self.rules.triggers:
            return ()
        return labelled_windows(self.workspace, self.champion, self.rules, record=record)

    def _performance(self) -> Performance | None:
        if "performance" not in self.rules.triggers or self.path is None or not self.path.is_file():
            return None
        holdout = self._holdout_for(self.champion)
        enough = holdout.rows.num_rows >= self.workspace.project.retrain.min_labels
        return measure(self.workspace, self.champion, holdout) if enough else None

    # -- doing ---------------------------------------------------------------------------------------------

    def dry(self) -> RetrainAnswer:
        answer, decision = self.decide(dry=True)
        recorded = self._recorded(decision)
        if recorded is not None:
            return msgspec.structs.replace(recorded, dry=True)
        if not decision.due:
            return answer
        holdout = self._holdout_for(self.champion)
        answer = self._with_holdout(answer, holdout)
        if answer.outcome == "too_few_labels":
            return answer
        plan = plan_run(self.workspace)
        stages = ", ".join(f"{decision.stage} ({decision.action})" for decision in plan.plan)
        steps = (
            f"run the pipeline: {stages}",
            f"register the new model as {self._next()}",
            f"compare it with {self.champion.title} by {self._metric} on {answer.labels:,} rows of {holdout.shown}",
            f"promote it to {PRODUCTION} if it is better and its gates hold"
            if self._promotes
            else "leave the alias alone",
        )
        return msgspec.structs.replace(answer, outcome="would_retrain", steps=steps)

    def run(self) -> RetrainAnswer:
        answer, decision = self.decide(dry=False)
        recorded = self._recorded(decision)
        if recorded is not None:
            return recorded
        if not decision.due:
            return answer
        # What is wrong with the labelled rows is found before anything is spent on training.
        answer = self._with_holdout(answer, self._holdout_for(self.champion))
        if answer.outcome == "too_few_labels":
            return answer
        ran = run_pipeline(self.workspace)
        answer = msgspec.structs.replace(answer, run=ran.run)
        challenger = known_version(self.workspace, ran.run) or register_model(self.workspace, ran.run)
        if challenger.title != self.champion.title:
            answer = msgspec.structs.replace(answer, challenger=challenger.title)
        if challenger.model.digest == self.champion.model.digest:
            why = f"the pipeline made the very model that serves as {self.champion.title}: nothing it reads has changed"
            return self._record(self._ending(answer, "rejected", why))
        holdout = self._holdout_for(challenger)
        answer = self._with_holdout(answer, holdout)
        if answer.outcome == "too_few_labels":
            return self._record(answer)
        return self._record(self._meet(answer, challenger, holdout))

    def _meet(self, answer: RetrainAnswer, challenger: Version, holdout: Holdout) -> RetrainAnswer:
        """Champion and challenger on the same rows; the better one gets the alias."""
        first, second = (self._judge(version, holdout) for version in (self.champion, challenger))
        if first.classes != second.classes:
            raise ProjectError(
                f"{self.champion.title} knows the classes {_listed(first.classes)} and {challenger.title} "
                f"{_listed(second.classes)}: they cannot be compared",
                hint=f"look at it, then mlo promote {challenger.title} {PRODUCTION}",
            )
        gain = compare(self._metric, first, second)
        answer = msgspec.structs.replace(answer, comparison=gain)
        if not gain.is_better:
            why = f"the gain in {gain.metric} may be chance: {gain.gain:+.4f}, at least {gain.lower:+.4f}"
            return self._ending(answer, "rejected", why)
        if not self._promotes:
            why = f"it is better; retrain.promote is off: mlo promote {challenger.title} {PRODUCTION}"
            return self._ending(answer, "registered", why)
        promotion = promote_model(self.workspace, challenger.title, PRODUCTION)
        answer = msgspec.structs.replace(answer, promotion=promotion)
        if promotion.refused:
            refused = ", ".join(gate.gate for gate in promotion.gates if not gate.holds)
            return self._ending(answer, "rejected", f"it is better, but a gate of {PRODUCTION} refused it: {refused}")
        return self._ending(answer, "promoted", f"the gain in {gain.metric} is at least {gain.lower:+.4f}")

    # -- parts ---------------------------------------------------------------------------------------------

    def _judge(self, version: Version, holdout: Holdout) -> Judged:
        return judge(self.workspace, version, holdout.rows, holdout.target, holdout.time)

    @property
    def _metric(self) -> str:
        return self.workspace.project.retrain.metric

    @property
    def _promotes(self) -> bool:
        return self.workspace.project.retrain.promote

    def _next(self) -> str:
        return f"{self.model.name}@{len(self.workspace.registry.versions(self.model.name)) + 1}"

    def _holdout_for(self, version: Version) -> Holdout:
        """The labelled rows that `version` and the champion can be judged by."""
        if self.path is None:
            raise ProjectError(
                "a retraining needs newer labelled rows to judge the models by, and none are named",
                hint="set retrain.holdout in mlo.yaml, or say --holdout FILE",
            )
        holdout = read_holdout(self.workspace, self.path, self.model)
        for trained in dict.fromkeys((self.champion.title, version.title)):
            one = self.champion if trained == self.champion.title else version
            holdout = holdout.after_training(trained, training_rows(self.workspace, one))
        return holdout

    def _with_holdout(self, answer: RetrainAnswer, holdout: Holdout) -> RetrainAnswer:
        """Raises TooLittleData, ProjectError or WrongInputs for rows that the champion cannot be judged by."""
        labels, needed = holdout.rows.num_rows, self.workspace.project.retrain.min_labels
        facts = {"path": holdout.shown, "digest": holdout.digest}
        served = [event for event in self.past if _compared_on(event, holdout.digest)]
        answer = msgspec.structs.replace(answer, holdout=facts, labels=labels, looks=len(served) + 1)
        if labels >= needed:
            check_value(self._metric, self._judge(self.champion, holdout))
            return answer
        why = f"{holdout.shown} has {labels:,} labelled rows newer than all training rows, of {needed:,} needed"
        return self._ending(answer, "too_few_labels", why)

    def _ending(self, answer: RetrainAnswer, outcome: Outcome, why: str) -> RetrainAnswer:
        exit_code = int(_EXITS.get(outcome, Exit.DONE))
        return msgspec.structs.replace(answer, outcome=outcome, exit_code=exit_code, why=why)

    def _record(self, answer: RetrainAnswer) -> RetrainAnswer:
        drift = next((reason.event for reason in answer.reasons if reason.event is not None), None)
        gain = answer.comparison
        data = {
            "decision": answer.outcome,
            "triggers": [reason.trigger for reason in answer.reasons],
            "key": answer.key,
            "run": answer.run,
            "champion": answer.champion,
            "challenger": answer.challenger,
            "holdout": answer.holdout,
            "metric": self._metric,
            "scores": {"champion": gain.champion, "challenger": gain.challenger} if gain else {},
            "drift": drift,
            "answer": sayable(msgspec.to_builtins(answer)),
        }
        event = self.workspace.registry.record("retrain", answer.challenger or self.model.name, data)
        return msgspec.structs.replace(answer, event=event.seq)

    def _recorded(self, decision: Decision) -> RetrainAnswer | None:
        """The answer of an earlier call in the same situation. What is forced is done again."""
        if self.force or not decision.reasons:
            return None
        same = [event for event in self.past if event.data.get("key") == decision.key and event.data.get("answer")]
        same = [event for event in same if event.data["decision"] in _RAN]
        if not same:
            return None
        event = same[-1]
        try:
            # Text where a number belongs is an infinity, see sayable.
            answer = msgspec.convert(event.data["answer"], RetrainAnswer, strict=False)
        except msgspec.ValidationError as error:
            raise IntegrityError(
                f"event {event.seq} holds an answer of mlo retrain that does not read: {error}",
                hint="it was written by another version of mlo; say --force to retrain anyway",
            ) from None
        return msgspec.structs.replace(answer, replayed=True, event=event.seq)


def _holdout_path(workspace: Workspace, given: Path | None) -> Path | None:
    if given is not None:
        return given.absolute()
    named = workspace.project.retrain.holdout
    return workspace.root / named if named else None


def _compared_on(event: Event, digest: str) -> bool:
    holdout = event.data.get("holdout") or {}
    return holdout.get("digest") == digest and bool(event.data.get("scores"))


def _listed(classes: tuple[Any, ...]) -> str:
    return ", ".join(map(repr, classes))
