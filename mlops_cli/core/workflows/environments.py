"""The environments that the stages of a run run in: opened for a stage's turn, and told of in the run's record."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec

from mlops_cli.core.base.records import StageRecord
from mlops_cli.core.pipeline.command import Opened
from mlops_cli.core.pipeline.graph import Node
from mlops_cli.core.pipeline.interrupts import Stop
from mlops_cli.core.project.stages import Environment
from mlops_cli.core.workflows.workspace import Workspace


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
        env = node.stage.env or self._workspace.project.env
        if env not in self._opened or record.status not in ("ran", "failed"):
            return record
        return msgspec.structs.replace(record, env=self._opened[env].key)

    def described(self, records: Sequence[StageRecord]) -> dict[str, Any]:
        """`{"environments": {key: what is in it}}` of those that stages ran in; nothing where all ran in mlo's own."""
        used = {record.env for record in records}
        found = {opened.key: opened.describe() for opened in self._opened.values() if opened.key in used}
        return {"environments": found} if found else {}
