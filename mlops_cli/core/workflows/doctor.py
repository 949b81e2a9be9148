"""What is broken here: the machine, the project, its cache, its registry and its remotes, one finding each."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import msgspec

from mlops_cli.core.errors import MloError
from mlops_cli.core.project.load import find_root
from mlops_cli.core.project.settings import Setting
from mlops_cli.core.workflows.environments import environments_of
from mlops_cli.core.workflows.workspace import Workspace

LOW_DISK_BYTES = 1_000_000_000
EXTRAS = {"s3": "s3fs", "gcs": "gcsfs", "azure": "adlfs", "ssh": "sshfs"}


class Finding(msgspec.Struct, frozen=True):
    """One thing looked at. `hint` says how to mend what is not ok."""

    subject: str
    state: Literal["ok", "warning", "broken"]
    detail: str
    hint: str | None = None


class Diagnosis(msgspec.Struct, frozen=True):
    """Everything `mlo doctor` found, and every setting with its origin."""

    findings: tuple[Finding, ...]
    settings: tuple[Setting, ...]

    @property
    def broken(self) -> bool:
        return any(finding.state == "broken" for finding in self.findings)


def diagnose(folder: Path, environ: Mapping[str, str], *, environment: str | None = None) -> Diagnosis:
    """Look at everything and never stop at the first thing that is broken."""
    findings = [_python(), _git(), _extras()]
    try:
        workspace = Workspace.find(folder, environ, environment=environment)
    except MloError as error:
        findings.append(Finding("project", "broken", error.message, error.hint))
        return Diagnosis(tuple(findings), ())
    findings.append(Finding("project", "ok", f"{workspace.project.name} in {find_root(folder)}"))
    looks: list[tuple[str, Callable[[Workspace], str]]] = [
        ("mlo.lock", _lock),
        ("cache", _cache),
        ("links", _links),
        ("disk", _disk),
        ("runs", _runs),
        ("registry", _registry),
    ]
    if environments_of(workspace.project):
        looks.append(("environments", _environments))
    findings.extend(_look(subject, look, workspace) for subject, look in looks)
    findings.extend(
        _look(f"remote {name}", lambda workspace, name=name: _remote(workspace, name), workspace)  # type: ignore[misc]
        for name in workspace.project.remotes
    )
    return Diagnosis(tuple(findings), tuple(workspace.settings))


def _look(subject: str, look: Callable[[Workspace], str], workspace: Workspace) -> Finding:
    try:
        detail = look(workspace)
    except _Warned as warning:
        return Finding(subject, "warning", str(warning), warning.hint)
    except MloError as error:
        return Finding(subject, "broken", error.message, error.hint)
    except OSError as error:
        return Finding(subject, "broken", f"{error.strerror} ({error.filename})", "check the path and its permissions")
    return Finding(subject, "ok", detail)


class _Warned(Exception):
    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def _python() -> Finding:
    return Finding("python", "ok", f"{sys.version.split()[0]} at {sys.executable}")


def _git() -> Finding:
    found = shutil.which("git")
    if found is None:
        return Finding("git", "warning", "git is not installed", "install git, so that runs know their commit")
    return Finding("git", "ok", found)


def _extras() -> Finding:
    present = [extra for extra, module in EXTRAS.items() if find_spec(module) is not None]
    absent = [extra for extra in EXTRAS if extra not in present]
    return Finding("extras", "ok", f"installed: {', '.join(present) or 'none'}; absent: {', '.join(absent) or 'none'}")


def _lock(workspace: Workspace) -> str:
    lock = workspace.read_lock()
    return f"{len(lock.data)} data paths, {len(lock.stages)} stages"


def _cache(workspace: Workspace) -> str:
    cache = workspace.paths.cache
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=cache):
        return f"{cache}, {workspace.project.hash}, can be written"


def _links(workspace: Workspace) -> str:
    same = os.stat(workspace.paths.cache).st_dev == os.stat(workspace.root).st_dev
    kinds = ", ".join(workspace.project.cache.link)
    if not same and "copy" not in workspace.project.cache.link:
        raise _Warned(
            f"the cache lies on another file system, where {kinds} cannot work", "add copy to cache.link in mlo.yaml"
        )
    return f"tried in order: {kinds}" + ("" if same else " (the cache lies on another file system: copied)")


def _disk(workspace: Workspace) -> str:
    free = shutil.disk_usage(workspace.root).free
    detail = f"{free / 1e9:.1f} GB free"
    if free < LOW_DISK_BYTES:
        raise _Warned(detail, "free some space before the next run")
    return detail


def _runs(workspace: Workspace) -> str:
    return f"{workspace.runs.count()} runs in {workspace.paths.database.name}"


def _registry(workspace: Workspace) -> str:
    head = workspace.events.head()
    return f"{workspace.project.registry}: {head[0] if head else 0} events"


def _environments(workspace: Workspace) -> str:
    """What makes the environments that stages name. Raises _Warned for those that nothing here can make."""
    from mlops_cli.core.pipeline.environments_docker import find_docker
    from mlops_cli.core.pipeline.environments_made import CONDAS, find_conda, find_uv

    named, environ = environments_of(workspace.project), workspace.environ
    found = []
    if any(env.lock for env in named):
        uv = find_uv(environ)
        found.append(f"locks by {' '.join(uv)}" if uv is not None else "locks by venv and pip (uv is faster)")
    if any(env.conda for env in named):
        try:
            found.append(f"conda by {find_conda(environ)}")
        except MloError as error:
            raise _Warned(error.message, error.hint or f"install {CONDAS[0]}") from None
    if any(env.docker for env in named):
        docker = find_docker(environ)
        if docker is None:
            raise _Warned(
                "stages name images, and docker is not on PATH",
                "install docker; stages that are up to date or restored do without",
            )
        found.append(f"images by {docker}")
    return "; ".join(found)


def _remote(workspace: Workspace, name: str) -> str:
    remote = workspace.remote(name)
    next(iter(remote.list("")), None)
    return f"{remote.url} answers"
