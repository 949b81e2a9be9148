"""Running one stage: its outputs leave the work tree, its process writes new ones, and they are accepted or go."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from mlops_cli.core.base.clock import Clock, parse_duration
from mlops_cli.core.base.digest import canonical_json
from mlops_cli.core.base.progress import Progress
from mlops_cli.core.base.records import Entry, Logged, LoggedModel, Metric
from mlops_cli.core.errors import IntegrityError, MloError, NotFound, Refused, StageFailed
from mlops_cli.core.pipeline.environment import stage_environment
from mlops_cli.core.pipeline.errors import StageBroke, would_overwrite
from mlops_cli.core.pipeline.graph import Node
from mlops_cli.core.pipeline.journal import Journal
from mlops_cli.core.pipeline.metrics import read_metrics
from mlops_cli.core.pipeline.params import nested
from mlops_cli.core.pipeline.plan import Inputs
from mlops_cli.core.pipeline.process import GRACE_S, Echo, Exited, end_marked, run_process, tail
from mlops_cli.core.pipeline.results import Result, ResultCache
from mlops_cli.core.pipeline.worktree import WorkTree
from mlops_cli.core.project.paths import ProjectPaths
from mlops_cli.core.store.protocol import ChangedWhileRead, UnsupportedFile

RETRY_S = 1.0  # before the first retry; twice as long before each further one
MAX_RETRY_S = 60.0
SHOWN_LINES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What every stage of one run is run with.

    `read_spool` returns what a script logged to a folder; `check` raises Refused if a stage's checks do not hold.
    `params` are the values in force; `model_path` is the project's, if it makes a model.
    """

    run: str
    paths: ProjectPaths
    tree: WorkTree
    results: ResultCache
    clock: Clock
    progress: Progress
    environ: Mapping[str, str]
    params: Mapping[str, Any]
    read_spool: Callable[[Path], Logged]
    check: Callable[[Sequence[str]], object]
    model_path: str | None = None
    echo: Echo | None = None
    force: bool = False
    grace_s: float = GRACE_S

    def spool(self, stage: str) -> Path:
        return self.paths.spool / self.run / stage

    @property
    def failed(self) -> Path:
        return self.paths.failed / self.run


class StageRun:
    """One stage of one run. Afterwards `logged` holds what it logged, whether it was accepted or not."""

    def __init__(self, node: Node, inputs: Inputs, around: Surroundings) -> None:
        self._node = node
        self._inputs = inputs
        self._around = around
        self._tree = around.tree
        self._journal = Journal(around.paths.private / "running", around.run)
        self._log = self._journal.log_path(node.name)
        self._attempt_at = 0  # where in the log the last attempt begins, in bytes
        self.logged = Logged()
        self.seconds = 0.0

    def run(self) -> Result:
        """Raises WouldOverwrite before anything is touched; StageBroke, Refused and others after the previous
        outputs are back and what the stage wrote lies in `.mlo/failed/<run>`."""
        previous = self._previous()
        begun = time.monotonic()
        self._journal.begin(self._node.name, self._inputs.key, previous)
        try:
            self._execute()
            self._tree.forget()
            result = self._accept(time.monotonic() - begun)
            self._around.results.put(result)
        except BaseException:
            self.seconds = time.monotonic() - begun
            self._undo(previous)
            raise
        self.seconds = result.seconds
        self._journal.settle()
        shutil.rmtree(self._log.parent, ignore_errors=True)
        return result

    def _previous(self) -> dict[str, Entry | None]:
        """What stands at the outputs, all of it safe in the store."""
        unsaved = self._tree.unsaved(self._node.outs)
        if unsaved and not self._around.force:
            raise would_overwrite(self._node.name, unsaved)
        return {path: self._tree.secure(path) for path in self._node.outs}

    # -- the process ---------------------------------------------------------------------------------------

    def _execute(self) -> None:
        stage, around = self._node.stage, self._around
        timeout_s = parse_duration(stage.timeout) if stage.timeout is not None else None
        marks = {"MLO_RUN_ID": around.run, "MLO_STAGE": self._node.name}
        environ = stage_environment(around.environ, stage.pass_env, {**marks, **self._own_variables()})
        for attempt in range(stage.retries + 1):
            self._clear(attempt)
            self._attempt_at = self._log.stat().st_size if self._log.exists() else 0
            try:
                exited = run_process(
                    stage.cmd,
                    folder=around.paths.root,
                    environ=environ,
                    log=self._log,
                    echo=around.echo,
                    timeout_s=timeout_s,
                    grace_s=around.grace_s,
                )
            except KeyboardInterrupt:
                end_marked(marks, around.grace_s)
                raise
            except StageFailed as error:
                raise self._broke(f"stage {self._node.name} did not start: {error.message}", hint=error.hint) from None
            if exited.timed_out:
                end_marked(marks, around.grace_s)
            if exited.code == 0 and not exited.timed_out:
                return
            if attempt < stage.retries:
                self._pause(attempt, exited)
        self._collect()
        raise self._broke(f"stage {self._node.name} {self._ending(exited)}")

    def _own_variables(self) -> dict[str, str]:
        around = self._around
        own = {
            "MLO_ROOT": str(around.paths.root),
            "MLO_SPOOL": str(around.spool(self._node.name)),
            "MLO_PARAMS": canonical_json(nested(self._inputs.params, around.params)).decode(),
        }
        if around.model_path is not None:
            own["MLO_MODEL_PATH"] = around.model_path
        return own

    def _clear(self, attempt: int) -> None:
        """Start clean: no outputs of before, nothing that a failed attempt wrote or logged."""
        for path in self._node.outs:
            self._tree.take_away(path)
        spool = self._around.spool(self._node.name)
        if attempt:
            shutil.rmtree(spool, ignore_errors=True)
        spool.mkdir(parents=True, exist_ok=True)

    def _pause(self, attempt: int, exited: Exited) -> None:
        pause_s = min(RETRY_S * 2**attempt, MAX_RETRY_S)
        retries = self._node.stage.retries
        self._around.progress.note(
            f"{self._node.name}: {self._ending(exited)}; retry {attempt + 1} of {retries} in {pause_s:g} s"
        )
        time.sleep(pause_s)

    def _ending(self, exited: Exited) -> str:
        after = f"after {exited.seconds:.1f} s"
        if exited.timed_out:
            return f"ran longer than its timeout of {self._node.stage.timeout}, and was ended {after}"
        if exited.code > 128:
            return f"was killed by signal {exited.code - 128} {after}"
        return f"failed with exit code {exited.code} {after}"

    # -- accepting -----------------------------------------------------------------------------------------

    def _accept(self, seconds: float) -> Result:
        node, around = self._node, self._around
        self._collect()
        missing = [path for path in node.outs if not self._tree.exists(path)]
        if missing:
            raise self._broke(f"stage {node.name} ended well but did not write {', '.join(missing)}")
        changed = [path for path, digest in self._inputs.deps.items() if self._digest(path) != digest]
        if changed:
            raise self._broke(
                f"{', '.join(changed)} changed while stage {node.name}, which reads it, was running",
                hint="a stage must not write its own deps; if you edited it meanwhile, run again",
            )
        try:
            outs = {path: self._tree.keep(path) for path in node.outs}
            self.logged = self._completed(outs)
        except (UnsupportedFile, ChangedWhileRead) as error:
            raise self._broke(f"stage {node.name} left what cannot be kept: {error.message}", hint=error.hint) from None
        checks = self.check()
        return Result(node.name, self._inputs.key, around.run, outs, self.logged, seconds, checks)

    def _digest(self, path: str) -> str | None:
        entry = self._tree.entry(path)
        return entry.digest if entry is not None else None

    def check(self) -> dict[str, str]:
        """The stage's checks files with their digests, all of which hold. Raises Refused."""
        files = self._node.stage.checks
        digests = checks_digests(self._tree, files)
        if files:
            try:
                self._around.check(files)
            except Refused as error:
                error.hint = (
                    f"what stage {self._node.name} wrote is in {self._around.paths.relative(self._around.failed)}"
                )
                raise
        return digests

    def _collect(self) -> None:
        self.logged = self._around.read_spool(self._around.spool(self._node.name))

    def _completed(self, outs: Mapping[str, Entry]) -> Logged:
        """What the script logged, with the metrics of its files, its log, and the model's content."""
        logged = self.logged
        metrics = (*logged.metrics, *file_metrics(self._tree, self._node, self._now_ms()))
        return msgspec.structs.replace(
            logged, metrics=metrics, artifacts=self._artifacts(), model=self._model(logged.model, outs)
        )

    def _now_ms(self) -> int:
        return int(self._around.clock.now().timestamp() * 1000)

    def _artifacts(self) -> dict[str, Entry]:
        """The logged artifacts and the stage's log, if it printed anything."""
        artifacts = dict(self.logged.artifacts)
        if self._log.exists() and (size := self._log.stat().st_size):
            digest = self._tree.store.put_file(self._log)
            artifacts[f"logs/{self._node.name}.log"] = Entry(str(digest), "file", size)
        return artifacts

    def _model(self, model: LoggedModel | None, outs: Mapping[str, Entry]) -> LoggedModel | None:
        if model is None or model.entry is not None:
            return model
        if model.path in outs:
            return msgspec.structs.replace(model, entry=outs[model.path])
        if not self._tree.exists(model.path):
            raise self._broke(f"stage {self._node.name} logged a model at {model.path}, and nothing is there")
        return msgspec.structs.replace(model, entry=self._tree.keep(model.path))

    # -- failing -------------------------------------------------------------------------------------------

    def _undo(self, previous: Mapping[str, Entry | None]) -> None:
        around = self._around
        self._tree.forget()
        for problem in put_back(self._tree, previous, around.failed):
            around.progress.note(problem)  # what made the stage fail is what must be raised
        self.logged = msgspec.structs.replace(self.logged, artifacts=self._artifacts())
        if self._log.exists() and self._log.stat().st_size:
            self._kept_log.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(self._log, self._kept_log)
        self._journal.settle()
        shutil.rmtree(self._log.parent, ignore_errors=True)

    @property
    def _kept_log(self) -> Path:
        """Where the log stays after a failure; beside the failed outputs, so that no output can have its name."""
        return self._around.paths.failed / f"{self._around.run}.log"

    def _broke(self, message: str, *, hint: str | None = None) -> MloError:
        lines = tail(self._log, SHOWN_LINES, start=self._attempt_at)
        heard = self._around.echo is not None  # then it stands right above the error
        shown = "".join(f"\n  | {line}" for line in lines.split("\n")) if lines and not heard else ""
        log = self._around.paths.relative(self._kept_log)
        return StageBroke(
            message + shown,
            hint=f"{hint + '; ' if hint else ''}all that it printed is in {log}"
            if lines
            else hint or "it printed nothing; run its cmd by hand to see what happens",
            stage=self._node.name,
            run=self._around.run,
            log=log if lines else None,
        )


def file_metrics(tree: WorkTree, node: Node, time_ms: int) -> tuple[Metric, ...]:
    """The numbers in a stage's metrics files. Raises StageFailed."""
    try:
        return tuple(metric for path in node.metrics for metric in read_metrics(tree.path(path), path, time_ms=time_ms))
    except StageFailed as error:
        raise type(error)(f"stage {node.name} wrote {error.message}", hint=error.hint) from None


def checks_digests(tree: WorkTree, files: Sequence[str]) -> dict[str, str]:
    entries = {file: tree.entry(file) for file in files}
    return {file: entry.digest for file, entry in entries.items() if entry is not None}


def put_back(tree: WorkTree, previous: Mapping[str, Entry | None], failed: Path) -> list[str]:
    """Move what stands at the outputs to `failed`, and bring back what stood there before.

    Returns what to tell of those that the cache cannot give back any more: there is nothing left to wait for.
    """
    problems = []
    for path, entry in previous.items():
        if tree.holds(path, entry):
            continue
        tree.put_aside(path, failed)
        if entry is not None:
            try:
                tree.bring_back(path, entry)
            except (NotFound, IntegrityError) as error:
                problems.append(f"{path} is not as before: {error.message}")
    return problems
