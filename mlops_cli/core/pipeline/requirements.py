"""What a stage cannot do without when it runs: its secrets, docker for an image, and enough of this machine.

A stage that is up to date or restored needs none of it: who has no GPU still gets what one gave elsewhere.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath

from mlops_cli.core.base.sizes import parse_size
from mlops_cli.core.errors import ProjectError
from mlops_cli.core.pipeline.admission import Machine
from mlops_cli.core.pipeline.errors import DependencyMissing
from mlops_cli.core.pipeline.graph import Node, inside
from mlops_cli.core.pipeline.plan import Planner
from mlops_cli.core.project.stages import Environment


def refuse_unmet(node: Node, machine: Machine, environ: Mapping[str, str]) -> None:
    """Raises ProjectError for a stage that cannot run here."""
    problem = _unmet(node, machine, environ)
    if problem is not None:
        raise problem


def refuse_unmet_plan(
    planner: Planner,
    nodes: Sequence[Node],
    machine: Machine,
    environ: Mapping[str, str],
    env: Environment | None = None,
) -> None:
    """Before anything runs: raises ProjectError for a stage that would run, and cannot. `env` is the project's."""
    problems = {node.name: problem for node in nodes if (problem := _unmet(node, machine, environ, env)) is not None}
    if problems:
        for decision in planner.foresee(nodes):
            if decision.action == "run" and decision.stage in problems:
                raise problems[decision.stage]


def refuse_absent_lock(
    planner: Planner, nodes: Sequence[Node], root: Path, env: Environment | None, data: Collection[str]
) -> None:
    """Raises DependencyMissing for a stage whose environment's file nobody wrote; `env` is the project's, and `data`
    what was added and can be brought."""
    for node in nodes:
        own = node.stage.env or env
        path = own.file if own is not None else None
        if own is None or path is None or planner.rests(node) or path in node.feeds or (root / path).exists():
            continue
        if not any(inside(PurePosixPath(path).as_posix(), it) for it in data):
            key = "env.lock" if own.lock is not None else "env.conda"
            raise DependencyMissing(
                f"stage {node.name} runs in {key}: {path}, which does not exist and no stage makes",
                hint=_to_make_lock(key, shlex.quote(path)),
            )


def _to_make_lock(key: str, path: str) -> str:
    if key == "env.conda":
        return f"conda list --explicit > {path}; or correct {key} in mlo.yaml"
    return f"uv pip compile requirements.in -o {path} (or pyproject.toml in its place); or correct {key} in mlo.yaml"


def _unmet(
    node: Node, machine: Machine, environ: Mapping[str, str], env: Environment | None = None
) -> ProjectError | None:
    env = node.stage.env or env
    if env is not None and env.docker is not None:
        from mlops_cli.core.pipeline.environments_docker import absent_docker, find_docker

        if find_docker(environ) is None:
            return absent_docker(env.docker)
    absent = [name for name in node.stage.secrets if not environ.get(name)]
    if absent:
        return ProjectError(
            f"stage {node.name} needs the secret {' and '.join(absent)}, which is not in the environment",
            hint=f"set it where you call mlo: export {absent[0]}=...",
        )
    wants = node.stage.resources
    if (wants.cpus or 0) > machine.cpus:
        return ProjectError(
            f"stage {node.name} wants {wants.cpus} CPUs, and this machine has {machine.cpus}",
            hint="run it where they are, or lower resources.cpus in mlo.yaml",
        )
    if wants.gpus > len(machine.gpus):
        return ProjectError(
            f"stage {node.name} wants {wants.gpus} GPUs, and this machine has {len(machine.gpus)}",
            hint="run it where they are, or lower resources.gpus in mlo.yaml",
        )
    if wants.memory is not None and parse_size(wants.memory) > machine.memory:
        return ProjectError(
            f"stage {node.name} wants {wants.memory} of memory, and this machine has {machine.memory / 2**30:.1f} GiB",
            hint="run it on a larger machine, or lower resources.memory in mlo.yaml",
        )
    return None
