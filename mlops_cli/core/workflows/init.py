"""Start a project: mlo.yaml and the lines of .gitignore that keep mlo's private folder out of git."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from mlops_cli.core.base.files import machine_errors, write_atomic
from mlops_cli.core.base.records import MODEL_NAME
from mlops_cli.core.data.ignore import ignores_private
from mlops_cli.core.errors import UsageError, WouldOverwrite

_IGNORED = "/.mlo/"

_TEMPLATE = """\
name: {name}

# Values your stages read with mlo.params(); override one for a run with: mlo run -P seed=8
params:
  seed: 7

# Each stage is a command with what it reads and writes. Uncomment and adapt:
# stages:
#   train:
#     cmd: python train.py
#     deps: [data/raw, train.py]
#     params: [seed]
#     outs: [model]
#     metrics: [metrics.json]

# model:
#   name: {name}
#   path: model
"""


class Initialised(msgspec.Struct, frozen=True):
    """What `mlo init` made: the project's folder and name, and the files it wrote."""

    root: str
    name: str
    written: tuple[str, ...]


def init_project(folder: Path, name: str | None) -> Initialised:
    """Start a project in `folder`. Raises WouldOverwrite if it has a mlo.yaml, UsageError for a bad name."""
    if os.path.lexists(folder / "mlo.yaml"):
        raise WouldOverwrite(f"{folder / 'mlo.yaml'} exists already", hint="edit it; mlo status shows where it stands")
    chosen = name or name_of(folder)
    if not MODEL_NAME.fullmatch(chosen):
        raise UsageError(
            f"{chosen!r} is not a name", hint="use letters, digits, . _ and -, and start with a letter or digit"
        )
    with machine_errors(f"cannot start a project in {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    written = ["mlo.yaml"]
    if _ignore(folder / ".gitignore"):
        written.append(".gitignore")
    write_atomic(folder / "mlo.yaml", _TEMPLATE.format(name=chosen).encode())
    return Initialised(str(folder), chosen, tuple(written))


def name_of(folder: Path) -> str:
    """The name that a project in this folder has by default."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name).strip("-._")[:128] or "project"


def _ignore(path: Path) -> bool:
    """Add mlo's private folder to .gitignore, unless it is there; say whether the file changed."""
    if ignores_private(path.parent):
        return False
    data = path.read_bytes() if path.exists() else b""  # of any encoding
    gap = b"" if not data or data.endswith(b"\n") else b"\n"
    write_atomic(path, data + gap + _IGNORED.encode() + b"\n")
    return True
