"""Running one stage: its outputs leave the work tree, its process writes new ones, and they are accepted or go."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import msgspec

from mlops_cli.core.base.clock import Clock, parse_duration
from mlops_cli.core.base.digest import canonical_json
from mlops_cli.core.base.progress import Progress
from mlops_cli.core.base.records import Entry, Logged, LoggedModel, Metric
from mlops_cli.core.errors import MloError, Refused, StageFailed
from mlops_cli.core.pipeline.admission import Slot
from mlops_cli.core.pipeline.command import Opened, Prepared, prepare
from mlops_cli.core.pipeline.environment import stage_environment
from mlops_cli.core.pipeline.errors import StageBroke, would_overwrite
from mlops_cli.core.pipeline.graph import Node
from mlops_cli.core.pipeline.interrupts import Stop
from mlops_cli.core.pipeline.journal import Journal
from mlops_cli.core.pipeline.masking import Mask, masked
from mlops_cli.core.pipeline.metrics import read_metrics
from mlops_cli.core.pipeline.params import changed_files, nested
from mlops_cli.core.pipeline.process import GRACE_S, Exited, end_marked, run_process, tail
from mlops_cli.core.pipeline.reasons import Inputs
from mlops_cli.core.pipeline.results import Result, ResultCache
from mlops_cli.core.pipeline.watching import Unwatched, Watcher
from mlops_cli.core.pipeline.worktree import WorkTree, checks_digests, put_back
from mlops_cli.core.project.paths import ProjectPaths
from mlops_cli.core.project.stages import Environment
from mlops_cli.core.store.protocol import ChangedWhileRead, UnsupportedFile

RETRY_S = 1.0  # before the first retry; twice as long before each further one
MAX_RETRY_S = 60.0
SHOWN_LINES = 20
REPORTS = ("ipynb", "html")  # what a stage may leave of itself beside its log

Hold = Callable[[Node], AbstractContextManager[None]]


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What every stage of one run is run with.

    `read_spool` returns what a script logged to a folder; `check` raises Refused if a stage's checks do not hold.
    `params` are the values in force; `model_path` is the project's, if it makes a model. `hold` keeps the paths of a
    stage from other mlos, `alone` the computing of a key from all who share the cache (it yields whether it had to
    wait); `open_environment` makes one ready. `env` is for stages that name none of their own.
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
    hold: Hold
    alone: Callable[[str], AbstractContextManager[bool]]
    open_environment: Callable[[Environment], Opened]
    model_path: str | None = None
    env: Environment | None = None
    watcher: Watcher = field(default_factory=Unwatched)
    force: bool = False
    grace_s: float = GRACE_S
    # Held by whoever touches the work tree, the store or the index; let go while a stage's process runs.
    desk: threading.RLock = field(default_factory=threading.RLock)
    stop: Stop = field(default_factory=Stop)

    def spool(self, stage: str) -> Path:
        return self.paths.spool / self.run / stage

    @property
    def failed(self) -> Path:
        return self.paths.failed / self.run

    @cached_property
    def journal(self) -> Journal:
        return Journal(self.paths.running, self.run)


class StageRun:
    """One stage of one run. Afterwards `logged` holds what it logged, whether it was accepted or not."""

    def __init__(self, node: Node, inputs: Inputs, around: Surroundings, slot: Slot | None = None) -> None:
        self._node = node
        self._inputs = inputs
        self._around = around
        self._slot = slot or Slot()
        self._tree = around.tree
        self._log = around.journal.log_path(node.name)
        self._attempt_at = 0  # where in the log the last attempt begins, in bytes
        self.logged = Logged()
        self.seconds = 0.0

    def run(self) -> Result:
        """Raises WouldOverwrite before anything is touched; StageBroke, Refused and others after the previous
        outputs are back and what the stage wrote lies in `.mlo/failed/<run>`."""
        around, name = self._around, self._node.name
        command = self._prepared()
        if self._node.stage.checks_before:
            around.check(self._node.stage.checks_before)
        with around.desk:
            previous = self._before = self._previous()
            around.journal.begin(name, self._inputs.key, previous)
        begun = time.monotonic()
        try:
            self._execute(command)
            with around.desk:
                self._tree.forget()
                outs = self._gather()
            checks = self._check()
            result = Result(name, self._inputs.key, around.run, outs, self.logged, time.monotonic() - begun, checks)
            around.results.put(result)
        except BaseException:
            self.seconds = time.monotonic() - begun
            with around.desk:
                self._undo(previous)
            raise
        self.seconds = result.seconds
        around.journal.settle(name)
        return result

    def _previous(self) -> dict[str, Entry | None]:
        """What stands at the outputs, all of it safe in the store."""
        unsaved = self._tree.unsaved(self._node.outs)
        if unsaved and not self._around.force:
            raise would_overwrite(self._node.name, unsaved)
        return {path: self._tree.secure(path) for path in self._node.outs}

    # -- the process ---------------------------------------------------------------------------------------

    def _prepared(self) -> Prepared:
        """The command with all that is around it. Raises ProjectError for an environment that cannot be had."""
        around, stage = self._around, self._node.stage
        env = stage.env or around.env
        own = self._own_variables()
        environ = stage_environment(around.environ, (*stage.pass_env, *stage.secrets), own)
        share = self._slot.variables(environ)
        return prepare(
            self._node,
            environ | share,
            opened=around.open_environment(env) if env is not None else None,
            own=frozenset(own | share),
            root=around.paths.root,
            title=f"mlo-{around.run[:12]}-{self._node.name}",
            report=lambda ending: around.journal.report_path(self._node.name, ending),
        )

    def _execute(self, command: Prepared) -> None:
        stage, around = self._node.stage, self._around
        for attempt in range(stage.retries + 1):
            with around.desk:
                self._clear(attempt)
            self._attempt_at = self._log.stat().st_size if self._log.exists() else 0
            exited = self._attempt(command)
            if exited.code == 0 and not exited.timed_out:
                return
            if attempt < stage.retries:
                self._pause(attempt, exited)
        with around.desk:
            self._collect()
        said = command.explain(tail(self._log, SHOWN_LINES, start=self._attempt_at))
        raise self._broke(f"stage {self._node.name} {self._ending(exited)}", hint=said)

    def _attempt(self, command: Prepared) -> Exited:
        """One process, and nobody of it left. Raises StageBroke if it does not start, KeyboardInterrupt."""
        stage, around = self._node.stage, self._around
        exited = None
        try:
            exited = run_process(
                command.arguments,
                folder=command.folder,
                environ=command.environ,
                log=self._log,
                echo=partial(around.watcher.printed, self._node.name) if around.watcher.listens else None,
                timeout_s=parse_duration(stage.timeout) if stage.timeout is not None else None,
                grace_s=around.grace_s,
                stop=around.stop,
                mask=self._mask(),
            )
        except StageFailed as error:
            raise self._broke(f"stage {self._node.name} did not start: {error.message}", hint=error.hint) from None
        finally:
            # A notebook's kernel is in a group of its own, and outlives a runner that was killed. What a failure
            # leaves would write beside the next attempt.
            if exited is None or exited.timed_out or exited.code or stage.notebook is not None:
                command.end()
                end_marked({"MLO_RUN_ID": around.run, "MLO_STAGE": self._node.name}, around.grace_s, around.stop)
        return exited

    def _own_variables(self) -> dict[str, str]:
        around = self._around
        own = {
            "MLO_RUN_ID": around.run,
            "MLO_STAGE": self._node.name,
            "MLO_ROOT": str(around.paths.root),
            "MLO_SPOOL": str(around.spool(self._node.name)),
            "MLO_PARAMS": canonical_json(nested(self._inputs.params, around.params)).decode(),
        }
        if around.model_path is not None:
            own["MLO_MODEL_PATH"] = around.model_path
        return own

    def _clear(self, attempt: int) -> None:
        """Start clean: no outputs of before but those that persist, nothing that a failed attempt wrote or logged."""
        if attempt:
            self._tree.forget()
            put_back(self._tree, {path: self._before[path] for path in self._node.persist}, self._around.failed)
        for path in self._node.outs:
            if path in self._node.persist:
                self._tree.loosen(path)
            else:
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
        if self._around.stop.pause(pause_s):
            raise KeyboardInterrupt

    def _ending(self, exited: Exited) -> str:
        after = f"after {exited.seconds:.1f} s"
        if exited.timed_out:
            return f"ran longer than its timeout of {self._node.stage.timeout}, and was ended {after}"
        if exited.code > 128:
            return f"was killed by signal {exited.code - 128} {after}"
        return f"failed with exit code {exited.code} {after}"

    # -- accepting -----------------------------------------------------------------------------------------

    def _gather(self) -> dict[str, Entry]:
        """Keep what the stage wrote, and complete what it logged. Raises StageBroke if it wrote what it must not."""
        node = self._node
        self._collect()
        missing = [path for path in node.outs if not self._tree.exists(path)]
        if missing:
            raise self._broke(f"stage {node.name} ended well but did not write {', '.join(missing)}")
        changed = [path for path, digest in self._inputs.deps.items() if self._digest(path) != digest]
        changed += changed_files(self._inputs.params, node.name, self._around.paths.root)
        if node.stage.notebook is not None and self._changed_notebook(node.stage.notebook):
            changed.append(node.stage.notebook)
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
        return outs

    def _changed_notebook(self, path: str) -> bool:
        from mlops_cli.core.pipeline.notebook import source_digest

        return source_digest(self._tree.path(path), path) != self._inputs.facts.get("notebook")

    def _digest(self, path: str) -> str | None:
        entry = self._tree.entry(path)
        return entry.digest if entry is not None else None

    def _check(self) -> dict[str, str]:
        """The checks files that must hold after the stage, with their digests. Raises Refused."""
        files = self._node.stage.checks_after
        with self._around.desk:
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
        self.logged = masked(self._around.read_spool(self._around.spool(self._node.name)), self._mask())

    def _mask(self) -> Mask:
        return Mask(self._around.environ[name] for name in self._node.stage.secrets)

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
        """The logged artifacts, the stage's log if it printed anything, and the reports it left of itself."""
        artifacts = dict(self.logged.artifacts)
        name = self._node.name
        kept = {f"logs/{name}.log": self._log}
        kept |= {f"reports/{name}.{end}": self._around.journal.report_path(name, end) for end in REPORTS}
        for artifact, path in kept.items():
            if path.exists() and (size := path.stat().st_size):
                artifacts[artifact] = Entry(str(self._tree.store.put_file(path)), "file", size)
                if path != self._log:
                    path.unlink()
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
        """What made the stage fail is what must be raised, so all that goes wrong here becomes a note. The page stays
        open where the machine is to blame: the next mlo tries again."""
        around = self._around
        self._tree.forget()
        fine = [self._tried(partial(self._restore, {path: entry})) for path, entry in previous.items()]
        if all([*fine, self._tried(self._keep_artifacts), self._tried(self._keep_log)]):
            self._tried(lambda: around.journal.settle(self._node.name))

    def _tried(self, step: Callable[[], None]) -> bool:
        try:
            step()
        except (MloError, OSError) as error:
            self._around.progress.note(f"{self._node.name}: after its failure, {error}")
            return False
        return True

    def _restore(self, previous: Mapping[str, Entry | None]) -> None:
        for problem in put_back(self._tree, previous, self._around.failed):
            self._around.progress.note(problem)

    def _keep_artifacts(self) -> None:
        self.logged = msgspec.structs.replace(self.logged, artifacts=self._artifacts())

    def _keep_log(self) -> None:
        if self._log.exists() and self._log.stat().st_size:
            self._kept_log.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(self._log, self._kept_log)

    @property
    def _kept_log(self) -> Path:
        """Where the log stays after a failure; beside the failed outputs, so that no output can have its name."""
        return kept_log(self._around.paths, self._around.run, self._node.name)

    def _broke(self, message: str, *, hint: str | None = None) -> MloError:
        lines = tail(self._log, SHOWN_LINES, start=self._attempt_at)
        heard = self._around.watcher.listens  # then it stands right above the error
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


def kept_log(paths: ProjectPaths, run: str, stage: str) -> Path:
    return paths.failed / f"{run}.{stage}.log"


def file_metrics(tree: WorkTree, node: Node, time_ms: int) -> tuple[Metric, ...]:
    """The numbers in a stage's metrics files. Raises StageFailed."""
    try:
        return tuple(metric for path in node.metrics for metric in read_metrics(tree.path(path), path, time_ms=time_ms))
    except StageFailed as error:
        raise type(error)(f"stage {node.name} wrote {error.message}", hint=error.hint) from None
