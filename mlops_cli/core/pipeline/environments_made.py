"""Making an environment: the commands of uv, or of venv and pip, or of conda, and what their failures mean."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from mlops_cli.core.base.files import write_atomic
from mlops_cli.core.pipeline.environments_kept import EnvironmentFailed, Kept, Ready, look
from mlops_cli.core.pipeline.interrupts import Stop
from mlops_cli.core.pipeline.process import end_marked, run_process, tail

MARK = "MLO_MAKING"  # in the environment of an installer: whose folder it fills
CONDAS = ("micromamba", "mamba", "conda")
SHOWN_LINES = 20
_ASKING_S = 60.0
# Of the shell around mlo: each would send what is installed somewhere else, or let another Python in.
_MISLEADING = frozenset(
    (
        *("VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH", "__PYVENV_LAUNCHER__", "PIP_REQUIRE_VIRTUALENV", "PIP_USER"),
        *("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_PYTHON", "PIP_CONSTRAINT", "PIP_REQUIREMENT", "PIP_DRY_RUN"),
        *("UV_SYSTEM_PYTHON", "UV_PYTHON", "UV_PROJECT_ENVIRONMENT", "UV_CONSTRAINT", "UV_OVERRIDE", "UV_VENV_SEED"),
    )
)
_CAUSES = {
    "python": ("No interpreter found", "No download found", "No Python interpreter", "python-build-standalone"),
    "hash": ("Hash mismatch", "DO NOT MATCH THE HASHES", "hash mismatch"),
    "disk": ("No space left on device",),
    "network": (
        *("error sending request", "name resolution", "timed out", "Connection", "CondaHTTPError", "onnection refused"),
        *("Network connectivity is disabled", "network was disabled", "Could not fetch URL", "offline"),
    ),
    "absent": (
        *("No matching distribution", "not found in the", "was not found", "there is no version of", "no wheels"),
        *("nothing provides", "PackagesNotFound", "No solution found"),
    ),
    "venv": ("ensurepip", "No module named venv"),
}
_HINTS = {
    "python": "uv neither finds that Python nor gets it; install it, or name another under env: python",
    "hash": "what the index gives is not what the lock says; make the lock anew, or look whom to trust",
    "disk": "free some space and run again",
    "network": "give it a network, or a folder of wheels: UV_FIND_LINKS and UV_OFFLINE=1, for pip PIP_FIND_LINKS and "
    "PIP_NO_INDEX=1",
    "absent": "the index lacks what the file names, for this Python and system; PIP_* and UV_* variables name another",
    "venv": "install uv (pip install uv), or the system's package python3-venv",
}


class Making(msgspec.Struct, frozen=True):
    """What all that makes an environment needs to know."""

    source: Path
    name: str  # of the source, as mlo.yaml says it
    root: Path
    kept: Kept
    environ: Mapping[str, str]
    stop: Stop


def make_python(making: Making, prefix: Path, wanted: str | None) -> Ready:
    """Install a lock of requirements with uv, or where there is none with venv and pip.

    Only what the lock names: what its packages need besides is told of in `lacking`. Raises EnvironmentFailed.
    """
    python = prefix / "bin" / "python"
    uv = find_uv(making.environ)
    if uv is not None:
        source = ["--python", str(python), "--requirements", str(making.source)]
        steps = {
            "uv venv": [*uv, "venv", "--no-project", "--python", wanted or sys.executable, str(prefix)],
            "uv pip install": [*uv, "pip", "install", "--no-deps", *source],
        }
        check = [*uv, "pip", "check", "--python", str(python)]
    else:
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input"]
        steps = {
            "python -m venv": [str(find_python(wanted, making.environ)), "-m", "venv", str(prefix)],
            "pip install": [*pip, "install", "--no-deps", "--requirement", str(making.source)],
        }
        check = [*pip, "check"]
    _run(making, steps)
    version = python_version([str(python)], making.environ) or ""
    ready = look(prefix, making.name, version, tuple(_lacking(check, making)))
    if ready is None:
        raise EnvironmentFailed(f"{python} does not start", hint=f"see {making.kept.log}")
    return ready


def make_conda(making: Making, prefix: Path, *, explicit: bool) -> Ready:
    """Raises EnvironmentFailed."""
    conda = find_conda(making.environ)
    _run(making, {Path(conda).name: conda_command(conda, prefix, making.source, explicit=explicit)})
    python = prefix / "bin" / "python"
    version = python_version([str(python)], making.environ) if python.exists() else None
    ready = look(prefix, making.name, version)
    if ready is None:
        raise EnvironmentFailed(f"{python} does not start", hint=f"see {making.kept.log}")
    return ready


def conda_command(conda: str, prefix: Path, source: Path, *, explicit: bool) -> list[str]:
    """How micromamba, mamba or conda make an environment of a file."""
    if Path(conda).name == "micromamba" or explicit:
        return [conda, "create", "--yes", "--prefix", str(prefix), "--file", str(source)]
    return [conda, "env", "create", "--prefix", str(prefix), "--file", str(source)]


# -- what is there to make one with --------------------------------------------------------------------------------


def find_uv(environ: Mapping[str, str]) -> list[str] | None:
    """uv on PATH, or the one installed beside mlo; None if there is none that starts."""
    found = shutil.which("uv", path=environ.get("PATH"))
    candidates = [[found]] if found else []
    if importlib.util.find_spec("uv") is not None:
        candidates.append([sys.executable, "-m", "uv"])
    return next((uv for uv in candidates if _asked([*uv, "--version"], environ) is not None), None)


def find_conda(environ: Mapping[str, str]) -> str:
    """Raises EnvironmentFailed if there is none."""
    for name in CONDAS:
        found = shutil.which(name, path=environ.get("PATH"))
        if found:
            return found
    raise EnvironmentFailed(
        f"a conda environment needs {', '.join(CONDAS[:-1])} or {CONDAS[-1]}, and none of them is on PATH",
        hint="install micromamba (https://mamba.readthedocs.io), or describe the environment by python and lock",
    )


def find_python(wanted: str | None, environ: Mapping[str, str]) -> Path:
    """A Python of the wanted version: mlo's own, or one on PATH. Raises EnvironmentFailed."""
    if wanted is None:
        return Path(sys.executable)
    short = ".".join(wanted.split(".")[:2])
    on_path = [shutil.which(name, path=environ.get("PATH")) for name in (f"python{short}", "python3", "python")]
    for candidate in dict.fromkeys([sys.executable, *filter(None, on_path)]):
        found = python_version([candidate], environ)
        if found is not None and (found == wanted or found.startswith(f"{wanted}.")):
            return Path(candidate)
    raise EnvironmentFailed(
        f"there is no Python {wanted} on PATH",
        hint=f"install it, so that python{short} is found; or install uv, which fetches it: pip install uv",
    )


def python_version(python: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """As `3.11.7`; None if it does not start: a shim of pyenv's may stand for nothing."""
    code = "import sys; print('.'.join(map(str, sys.version_info[:3])))"
    return _asked([*python, "-I", "-c", code], environ)


def _asked(command: list[str], environ: Mapping[str, str]) -> str | None:
    try:
        done = subprocess.run(
            command,
            env=installer_environ(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ASKING_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def installer_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """All that the user's shell says, which is where an index, a proxy or a folder of wheels is named; but nothing that
    would lead astray."""
    return {name: value for name, value in environ.items() if name not in _MISLEADING}


# -- running it ----------------------------------------------------------------------------------------------------


def _run(making: Making, steps: Mapping[str, list[str]]) -> None:
    """One command after the other, by their titles. Raises EnvironmentFailed with the last lines of one that failed."""
    log, marks = making.kept.log, {MARK: str(making.kept.folder)}
    end_marked(marks)  # the installer of an mlo that was killed still works for nobody
    write_atomic(log, b"", mode=0o600, durable=False)  # an index's address may hold a password
    environ = {**installer_environ(making.environ), **marks}
    for title, command in steps.items():
        begins = log.stat().st_size
        exited = run_process(command, folder=making.root, environ=environ, log=log, stop=making.stop)
        if exited.code:
            raise _failed(making, title, tail(log, SHOWN_LINES, start=begins))


def _failed(making: Making, title: str, lines: str) -> EnvironmentFailed:
    cause = next((cause for cause, signs in _CAUSES.items() if any(sign in lines for sign in signs)), None)
    shown = "".join(f"\n  | {line}" for line in lines.splitlines())
    hint = f"{_HINTS[cause]}; " if cause else ""
    return EnvironmentFailed(
        f"the environment of {making.name} could not be made: {title} failed{shown}",
        hint=f"{hint}all that it printed is in {making.kept.log}",
    )


def _lacking(check: list[str], making: Making) -> list[str]:
    """What installed packages need and nobody named, in the words of uv or pip."""
    done = subprocess.run(
        check,
        env=installer_environ(making.environ),
        cwd=making.root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return sorted(line.strip() for line in (done.stdout + done.stderr).splitlines() if "not installed" in line)
