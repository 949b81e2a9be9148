"""What a stage's result hangs on beside its command, deps, parameters and outputs, where the stage says so.

Only what it says is part of its key, so that the keys of other stages stay what they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from mlops_cli.core.pipeline.graph import Node
from mlops_cli.core.project.stages import Environment

# How people are told that one of them changed.
FACT_NAMES = {
    "cwd": "the folder it runs in",
    "env": "its environment",
    "notebook": "the code of its notebook",
    "launch": "how it is launched",
    "persist": "which outputs persist",
}


def facts_of(node: Node, env: Environment | None, digests: Mapping[str, str], root: Path) -> dict[str, Any]:
    """The facts of a stage that runs in `env`; `digests` has that of its file.

    Raises ProjectError for a notebook that is none.
    """
    stage = node.stage
    facts: dict[str, Any] = {}
    if stage.cwd is not None:
        facts["cwd"] = stage.cwd
    if env is not None:
        named = {"python": env.python, "docker": env.docker}
        named |= {kind: digests[path] for kind, path in (("lock", env.lock), ("conda", env.conda)) if path}
        facts["env"] = {kind: value for kind, value in named.items() if value is not None}
    if stage.launch is not None:
        facts["launch"] = msgspec.to_builtins(stage.launch)
    if stage.notebook is not None:
        from mlops_cli.core.pipeline.notebook import source_digest

        facts["notebook"] = source_digest(root / stage.notebook, stage.notebook)
    if node.persist:
        facts["persist"] = sorted(node.persist)
    return facts
