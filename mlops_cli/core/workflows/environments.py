"""The environments that the stages of a run run in: opened for a stage's turn, and told of in the run's record."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from mlops_cli.core.base.distributions import installed
from mlops_cli.core.base.records import StageRecord
from mlops_cli.core.pipeline.command import Opened
from mlops_cli.core.pipeline.environment import stage_environment
from mlops_cli.core.pipeline.graph import Node
from mlops_cli.core.pipeline.interrupts import Stop
from mlops_cli.core.project.schema import Project
from mlops_cli.core.project.stages import Environment
from mlops_cli.core.workflows.workspace import Workspace

ACTIVE = "active"  # the name of one that mlo did not make


class Environments:
    """Opens environments in the threads of stages, each for as long as `turn` lasts there."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._of_thread = threading.local()
        self._opened: dict[Environment, Opened] = {}

    @contextmanager
    def turn(self) -> Iterator[None]:
        """What this thread opens within is closed at its end: until then nobody removes it."""
        with ExitStack() as stack:
            self._of_thread.stack = stack
            yield

    def open(self, env: Environment, stop: Stop) -> Opened:
        """Raises ProjectError, NotFound; KeyboardInterrupt once `stop` is asked for."""
        from mlops_cli.core.pipeline.environments import open_environment

        workspace = self._workspace
        opened = open_environment(
            env,
            root=workspace.root,
            cache=workspace.paths.cache,
            environ=workspace.environ,
            progress=workspace.progress,
            stop=stop,
            command=workspace.command_line,
        )
        self._of_thread.stack.callback(opened.close)
        self._opened[env] = opened
        return opened

    def named(self, record: StageRecord, node: Node) -> StageRecord:
        """The record of a stage that ran now, with the environment that it ran in."""
        if record.status not in ("ran", "failed"):
            return record
        env = node.stage.env or self._workspace.project.env
        if env is None:
            return msgspec.structs.replace(record, env=ACTIVE) if self._active is not None else record
        return msgspec.structs.replace(record, env=self._opened[env].key) if env in self._opened else record

    def described(self, records: Sequence[StageRecord]) -> dict[str, Any]:
        """`{"environments": {key: what is in it}}` of those that stages ran in; nothing where all ran in mlo's own."""
        used = {record.env for record in records}
        found = {opened.key: opened.describe() for opened in self._opened.values() if opened.key in used}
        if ACTIVE in used and self._active is not None:
            found[ACTIVE] = active_environment(self._active)
        return {"environments": found} if found else {}

    @cached_property
    def _active(self) -> Path | None:
        """The environment that `python` on a stage's PATH lies in, if that is not the one mlo lives in: somebody
        activated it."""
        seen = stage_environment(self._workspace.environ, (), {})["PATH"]
        python = shutil.which("python", path=seen)
        prefix = Path(python).parent.parent if python is not None else Path(sys.prefix)
        is_one = (prefix / "pyvenv.cfg").is_file() or (prefix / "conda-meta").is_dir()
        return prefix if is_one and prefix != Path(sys.prefix) else None


def check_environments(workspace: Workspace, nodes: Sequence[Node]) -> None:
    """Raises ProjectError for a file that fixes no environment, before any stage has run."""
    for env in dict.fromkeys(env for node in nodes if (env := node.stage.env or workspace.project.env) is not None):
        from mlops_cli.core.pipeline.environments import check_source

        check_source(env, workspace.root)


def environments_of(project: Project) -> list[Environment]:
    """Those that mlo.yaml names, each once."""
    named = [project.env, *(stage.env for stage in project.stages.values())]
    return list(dict.fromkeys(env for env in named if env is not None))


def active_environment(prefix: Path) -> dict[str, Any]:
    """What is in a virtual environment or a conda environment that mlo did not make."""
    folders = sorted(str(path) for path in (prefix / "lib").glob("python3*/site-packages"))
    python = ""
    with suppress(OSError):
        for line in (prefix / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition("=")
            if key.strip() in ("version", "version_info"):
                python = ".".join(value.strip().split(".")[:3])
    return {"source": str(prefix), "python": python, **installed(folders).facts()}
