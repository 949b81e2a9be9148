"""`mlo run --check STAGE`: run a stage twice from the same inputs, and compare what it gave."""

from __future__ import annotations

import msgspec

from mlops_cli.core.base.records import Entry, StageRecord
from mlops_cli.core.data.differ import Change, compare, recorded
from mlops_cli.core.errors import Exit
from mlops_cli.core.pipeline.results import Result, ResultCache
from mlops_cli.core.pipeline.watching import Watcher
from mlops_cli.core.workflows.plan import RunRequest, assemble
from mlops_cli.core.workflows.run import run_pipeline
from mlops_cli.core.workflows.workspace import Workspace


class Inside(msgspec.Struct, frozen=True):
    """A path in an output folder that the second run wrote differently."""

    path: str
    change: Change


class Differing(msgspec.Struct, frozen=True):
    """One output (digests) or metric (values) that the two runs gave differently; None where one did not give it."""

    kind: str  # "output" or "metric"
    name: str
    first: str | float | None
    second: str | float | None
    inside: tuple[Inside, ...] = ()


class StageCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one stage: `runs` are the two; none if it was skipped. `deterministic` is as mlo.yaml says."""

    stage: str
    runs: tuple[str, ...]
    deterministic: bool
    persists: tuple[str, ...] = ()
    differing: tuple[Differing, ...] = ()

    @property
    def same(self) -> bool:
        return not self.differing


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """`repeats`: every stage that says nothing else gave the same twice."""

    status: str
    repeats: bool
    stages: tuple[StageCheck, ...]

    @property
    def exit_code(self) -> int:
        return int(Exit.DONE if self.repeats else Exit.WARNED)


def check_repeats(workspace: Workspace, request: RunRequest, *, watcher: Watcher | None = None) -> CheckResult:
    """Run each named stage twice, upstream first; what it reads is brought up to date before.

    The work tree and mlo.lock then hold the second result. Raises as `run_pipeline` does.
    """
    plain = msgspec.structs.replace(request, check=False)
    pipeline = assemble(workspace, plain)
    asked = {member for name in request.stages for member in pipeline.graph.named(name)}
    checks = []
    for node in pipeline.nodes:
        if node.name in asked:
            given = [
                _run(
                    workspace,
                    msgspec.structs.replace(plain, stages=(node.name,), again=(node.name,), alone=alone),
                    watcher,
                )
                for alone in (request.alone, True)
            ]
            found = [it for it in given if it is not None]
            differing = _differing(workspace, *found) if len(found) == len(given) else ()
            checks.append(
                StageCheck(
                    stage=node.name,
                    runs=tuple(it.run for it in found),
                    deterministic=node.stage.deterministic,
                    persists=node.persist,
                    differing=differing,
                )
            )
    repeats = all(it.same or not it.deterministic for it in checks)
    return CheckResult(status="checked", repeats=repeats, stages=tuple(checks))


def _run(workspace: Workspace, request: RunRequest, watcher: Watcher | None) -> Result | None:
    """What the stage gave; None if it was skipped."""
    done = run_pipeline(workspace, request, watcher=watcher)
    record: StageRecord = next(it for it in done.stages if it.name == request.stages[0])
    if record.status != "ran":
        return None
    stored = ResultCache(workspace.paths.cache).get(record.key)
    if stored is not None and stored.run == record.run:
        return stored
    return Result(record.name, record.key, record.run, dict(record.outs))


def _differing(workspace: Workspace, first: Result, second: Result) -> tuple[Differing, ...]:
    found = [
        Differing(
            "output", path, first.outs[path].digest, second.outs[path].digest, _inside(workspace, first, second, path)
        )
        for path in first.outs
        if first.outs[path] != second.outs[path]
    ]
    before, after = _last(first), _last(second)
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if repr(old) != repr(new):  # NaN is like NaN here
            found.append(Differing("metric", key, old, new))
    return tuple(found)


def _inside(workspace: Workspace, first: Result, second: Result, path: str) -> tuple[Inside, ...]:
    entries: list[Entry] = [first.outs[path], second.outs[path]]
    if any(entry.kind != "dir" for entry in entries):
        return ()
    left, right = (recorded(workspace.store, {path: entry}) for entry in entries)
    return tuple(Inside(it.path, it.change) for it in compare(left, right).changes)


def _last(result: Result) -> dict[str, float]:
    """The last value of each metric."""
    return {point.key: point.value for point in result.logged.metrics}
