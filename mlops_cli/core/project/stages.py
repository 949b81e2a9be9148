"""A stage of mlo.yaml as types. A field here is a key there; nothing else is accepted."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Duration = Annotated[str, Meta(pattern=r"^\s*\d+(\.\d+)?\s*(ms|s|m|h|d|w)\s*$", description="as in 30m, 24h, 7d")]
Size = Annotated[str, Meta(pattern=r"^\s*\d+(\.\d+)?\s*([KMG]i?)?B\s*$", description="as in 8MiB")]
PathText = Annotated[str, Meta(min_length=1, max_length=4096)]
Variable = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="the name of an environment variable")]


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A mapping of mlo.yaml: unknown keys are errors."""


class Plot(Strict, frozen=True):
    """A table a stage writes, drawn as a line: CSV or JSON with columns x and y."""

    path: PathText
    x: str | None = None
    y: str | None = None
    title: str | None = None


class Checks(Strict, frozen=True):
    """Checks files that must hold before the stage runs, and after it. A plain list means after."""

    before: list[PathText] = []
    after: list[PathText] = []


class Environment(Strict, frozen=True):
    """What a stage runs in, one of: a locked list of Python packages, a conda environment, a docker image.

    `lock` is a file of `name==version` lines, as `uv pip compile` and `pip freeze` write it. `docker` names an image
    by its digest.
    """

    python: Annotated[str, Meta(pattern=r"^3(\.\d+){0,2}$", description='in quotes, as in "3.11"')] | None = None
    lock: PathText | None = None
    conda: PathText | None = None
    docker: str | None = None

    @property
    def file(self) -> str | None:
        """The file that says what is in it; an image needs none."""
        return self.lock or self.conda


class Resources(Strict, frozen=True):
    """What a stage takes of this machine; stages that would take more than there is wait for each other."""

    cpus: Annotated[int, Meta(ge=1)] | None = None
    gpus: Annotated[int, Meta(ge=0)] = 0
    memory: Size | None = None


class Torchrun(Strict, frozen=True):
    """Processes on this machine that train one model together; only the one of rank 0 logs."""

    processes: Annotated[int, Meta(ge=1, le=1024)]


class Launch(Strict, frozen=True):
    torchrun: Torchrun


class Stage(Strict, frozen=True):
    """One step of the pipeline: a command (or a notebook), what it reads and what it writes.

    Paths are relative to mlo.yaml, whatever `cwd` is. `persist` are outputs that stay where they are while the stage
    runs, so that it can go on from them. `cmd` is empty where there is a notebook.
    """

    cmd: Annotated[str, Meta(min_length=1)] | Annotated[list[str], Meta(min_length=1)] = ""
    notebook: PathText | None = None
    cwd: PathText | None = None
    deps: list[PathText] = []
    params: list[str] = []
    outs: list[PathText] = []
    persist: list[PathText] = []
    metrics: list[PathText] = []
    plots: list[PathText | Plot] = []
    checks: list[PathText] | Checks = []
    when: str | None = None
    matrix: dict[str, list[Any] | str] | None = None
    foreach: list[Any] | dict[str, Any] | str | None = None
    timeout: Duration | None = None
    retries: Annotated[int, Meta(ge=0, le=100)] = 0
    resources: Resources = Resources()
    mutex: str | list[str] = []
    env: Environment | None = None
    launch: Launch | None = None
    pass_env: list[Variable] = []
    secrets: list[Variable] = []
    frozen: bool = False
    deterministic: bool = True

    @property
    def plot_paths(self) -> list[str]:
        return [plot if isinstance(plot, str) else plot.path for plot in self.plots]

    @property
    def written(self) -> list[str]:
        """Every path the stage writes: outs, persist, metrics, plots."""
        return [*self.outs, *self.persist, *self.metrics, *self.plot_paths]

    @property
    def checks_before(self) -> list[str]:
        return self.checks.before if isinstance(self.checks, Checks) else []

    @property
    def checks_after(self) -> list[str]:
        return self.checks.after if isinstance(self.checks, Checks) else self.checks

    @property
    def checks_files(self) -> list[str]:
        return [*self.checks_before, *self.checks_after]

    @property
    def mutexes(self) -> list[str]:
        return [self.mutex] if isinstance(self.mutex, str) else self.mutex


Link = Literal["reflink", "hardlink", "symlink", "copy"]
