"""What a stage's process sees of the world: a short list of variables, so that a result does not hang on the rest."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

USUAL = frozenset(
    (
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "COLUMNS", "LANG", "LANGUAGE", "TZ"),
        *("TMPDIR", "TEMP", "TMP", "VIRTUAL_ENV", "LD_LIBRARY_PATH"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
    )
)
USUAL_PREFIXES = (
    "LC_",
    "CONDA_",
    "PYTHON",
    "OMP_",
    "OPENBLAS_",
    "MKL_",
    "NUMEXPR_",
    "CUDA_",
    "NVIDIA_",
    "XDG_",
    "MLO_",
    "GIT_CEILING_",  # a working copy is no part of the repository that it lies in
)


def stage_environment(
    environ: Mapping[str, str], pass_env: Iterable[str], own: Mapping[str, str], *, python: Path | None = None
) -> dict[str, str]:
    """The usual variables, those a stage names in `pass_env`, and mlo's own on top.

    `python` stands first on PATH where `command_path` says so; by default it is the one that runs mlo.
    """
    wanted = set(pass_env)
    kept = {
        name: value
        for name, value in environ.items()
        if name in wanted or name.upper() in USUAL or name.startswith(USUAL_PREFIXES)
    }
    kept["PATH"] = command_path(environ, python or Path(sys.executable), in_virtual=sys.prefix != sys.base_prefix)
    # A pipe is no terminal, so Python would hold a script's lines back until the end.
    kept.setdefault("PYTHONUNBUFFERED", "1")
    return {**kept, **own}


def command_path(environ: Mapping[str, str], python: Path, *, in_virtual: bool) -> str:
    """PATH as a stage sees it.

    Who types `/venv/bin/mlo run` means that venv's python by `python train.py`. So the folder of mlo's python
    comes first if mlo lives in a virtual environment, unless another environment is active (VIRTUAL_ENV,
    CONDA_PREFIX): that one was chosen by hand. Outside of both it comes last, and only if no `python` is found.
    """
    path = environ.get("PATH", "/usr/local/bin:/usr/bin:/bin")
    folder = str(python.parent)
    active = environ.get("VIRTUAL_ENV") or environ.get("CONDA_PREFIX")
    if in_virtual and (not active or Path(active) == python.parent.parent):
        return f"{folder}:{path}"
    if shutil.which("python", path=path) is None:
        return f"{path}:{folder}"
    return path


def passed(environ: Mapping[str, str], pass_env: Iterable[str]) -> dict[str, str | None]:
    """The values that a stage's key holds for the variables it names."""
    return {name: environ.get(name) for name in sorted(pass_env)}
