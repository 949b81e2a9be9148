"""`env:` of a stage made real: a locked list of Python packages, a conda environment, or a docker image.

See FORMAT.md, "Environments".
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from mlops_cli.core.base.digest import key_of
from mlops_cli.core.base.files import FileLock, safe_join
from mlops_cli.core.base.progress import Progress
from mlops_cli.core.errors import NotFound, ProjectError
from mlops_cli.core.pipeline.command import Command, Opened
from mlops_cli.core.pipeline.environments_docker import DockerEnvironment
from mlops_cli.core.pipeline.environments_kept import Kept, Ready, damage
from mlops_cli.core.pipeline.environments_lock import check_conda, check_lock
from mlops_cli.core.pipeline.interrupts import Stop
from mlops_cli.core.project.stages import Environment

VERSION = 1
_IMPORT = re.compile(r"(?:ModuleNotFoundError: No module named '(?P<name>[\w.]+)'|ImportError|cannot import name)")
# What `conda activate` would do beyond PATH: packages bring scripts that say where their data lies.
_ACTIVATE = 'for script in "$CONDA_PREFIX"/etc/conda/activate.d/*.sh; do [ ! -r "$script" ] || . "$script"; done'


def open_environment(
    env: Environment,
    *,
    root: Path,
    cache: Path,
    environ: Mapping[str, str],
    progress: Progress,
    stop: Stop | None = None,
    command: str = "mlo run",
) -> Opened:
    """An environment that is ready, made if it is not in the cache yet. It is in use until it is closed.

    May be called by several threads and processes at once: one makes it, the others wait. `stop` ends making and
    waiting with a KeyboardInterrupt. Raises ProjectError for a description that fixes nothing, NotFound for an absent
    file, EnvironmentFailed if it cannot be made.
    """
    if env.docker is not None:
        return DockerEnvironment(env.docker, cache=cache, environ=environ)
    name = env.lock or env.conda
    if name is None:
        raise ProjectError(
            "env names no environment",
            hint="name one: lock: requirements.lock, conda: environment.yml or docker: image@sha256:...",
        )
    kind: Literal["lock", "conda"] = "lock" if env.lock is not None else "conda"
    source = safe_join(root, name)
    content = _read(source, name)
    text = content.decode("utf-8", "replace")
    explicit = kind == "conda" and check_conda(text, name)
    is_local = kind == "lock" and check_lock(text, name)
    key = environment_key(kind, content, env.python, root=root if is_local else None)
    wanted = f"Python {env.python or platform.python_version()}, {name}" if kind == "lock" else name
    kept = Kept(cache, key, title=f"environment of {name}", command=command)

    def make(prefix: Path) -> Ready:
        from mlops_cli.core.pipeline.environments_made import Making, make_conda, make_python

        progress.note(f"making the environment of {wanted}")
        making = Making(source, name, root, kept, environ, stop or Stop())
        ready = make_python(making, prefix, env.python) if kind == "lock" else None
        ready = ready or make_conda(making, prefix, explicit=explicit)
        if ready.lacking:
            progress.note(f"{name} does not name all that its packages need: {'; '.join(ready.lacking)}")
        return ready

    ready, lock = kept.use(make, note=progress.note, given_up=(lambda: stop.is_asked) if stop else None)
    opened = VenvEnvironment if kind == "lock" else CondaEnvironment
    return opened(key, ready, kept, lock)


def check_source(env: Environment, root: Path) -> None:
    """Raises ProjectError for a file that leaves open what is in the environment. One that is absent may come yet."""
    name = env.lock or env.conda
    if name is None or not safe_join(root, name).is_file():
        return
    text = _read(safe_join(root, name), name).decode("utf-8", "replace")
    if env.lock is not None:
        check_lock(text, name)
    else:
        check_conda(text, name)


def environment_key(kind: str, content: bytes, python: str | None, *, root: Path | None = None) -> str:
    """The name of an environment in a cache: the digest of what it is made from, by which Python and for which system.

    With `root` also of the project that it belongs to: its file refers to files there.
    """
    facts = {
        "version": VERSION,
        "kind": kind,
        "content": sha256(content).hexdigest(),
        "python": (python or platform.python_version()) if kind == "lock" else None,
        "platform": [sys.platform, os.uname().machine, getattr(sys.implementation, "_multiarch", "")],
        "root": str(root) if root is not None else None,
    }
    return key_of(facts)[:32]  # it becomes part of the first line of scripts, which must not be long


def _read(source: Path, name: str) -> bytes:
    try:
        return source.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"env names {name}, which does not exist", hint=f"create {name}, or correct env") from None
    except IsADirectoryError:
        raise ProjectError(f"env names {name}, which is a folder", hint="name a file") from None


class _Prefix:
    """What is the same for every Opened that is a folder in the cache, kept until it is closed."""

    def __init__(self, key: str, ready: Ready, kept: Kept, lock: FileLock) -> None:
        self.key = key
        self._ready = ready
        self._prefix = ready.prefix
        self._kept = kept
        self._lock = lock
        self.python: Path | None = self._prefix / "bin" / "python" if ready.python else None

    def describe(self) -> dict[str, Any]:
        more = {"conda": self._ready.conda} if self._ready.conda else {}
        return {"source": self._ready.source, "python": self._ready.python, **self._ready.installed.facts(), **more}

    def wrap(self, command: Command, *, root: Path, folder: Path, told: Mapping[str, str], title: str) -> Command:
        return command

    def explain(self, lines: str) -> str | None:
        """What a failed import comes from. If files are missing here, the next run makes all of it anew."""
        found = _IMPORT.search(lines)
        if found is None:
            return None
        broken = damage(self._prefix)
        if broken is not None:
            self._kept.spoil()
            return f"its environment was damaged ({broken}); the next mlo run makes it anew"
        module = (found["name"] or "").partition(".")[0]
        if module == "mlops_cli":
            return f"{self._ready.source} must name mlops-cli if the stage imports it"
        if self._ready.lacking:
            return f"{self._ready.source} does not name all that its packages need: {'; '.join(self._ready.lacking)}"
        return f"{self._ready.source} does not name what brings {module}" if module else None

    def end(self, title: str) -> None:
        """Its processes are those of the stage."""

    def close(self) -> None:
        self._lock.release()

    def _first_on_path(self, environ: Mapping[str, str]) -> dict[str, str]:
        path = f"{self._prefix / 'bin'}{os.pathsep}{environ.get('PATH', os.defpath)}"
        return {name: value for name, value in environ.items() if name != "PYTHONHOME"} | {"PATH": path}


class VenvEnvironment(_Prefix):
    """What a lock of requirements names, in a virtual environment."""

    def variables(self, environ: Mapping[str, str]) -> dict[str, str]:
        return self._first_on_path(environ) | {"VIRTUAL_ENV": str(self._prefix)}


class CondaEnvironment(_Prefix):
    """A conda environment, active as far as a process sees it."""

    def variables(self, environ: Mapping[str, str]) -> dict[str, str]:
        active = {name: value for name, value in self._first_on_path(environ).items() if name != "VIRTUAL_ENV"}
        # A Python of conda's would also look into ~/.local, which no file describes.
        return active | {
            "CONDA_PREFIX": str(self._prefix),
            "CONDA_DEFAULT_ENV": str(self._prefix),
            "CONDA_SHLVL": "1",
            "PYTHONNOUSERSITE": "1",
        }

    def wrap(self, command: Command, *, root: Path, folder: Path, told: Mapping[str, str], title: str) -> Command:
        if not (self._prefix / "etc" / "conda" / "activate.d").is_dir():
            return command
        if isinstance(command, str):
            return f"{_ACTIVATE}\n{command}"
        return f"{_ACTIVATE}\nexec {shlex.join(command)}"
