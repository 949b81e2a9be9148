"""Parameters in files beside mlo.yaml: `params.yaml:train.depth`, `conf.toml:seed`, `p.json:` (all of it)."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from mlops_cli.core.base.files import safe_join
from mlops_cli.core.errors import IntegrityError, ProjectError
from mlops_cli.core.project import yaml12

KINDS = (".yaml", ".yml", ".json", ".toml")


def split(name: str) -> tuple[str, str] | None:
    """The file and the dotted key of a declared name; None for a parameter of mlo.yaml."""
    file, colon, key = name.partition(":")
    return (file, key) if colon and file.endswith(KINDS) else None


class ParamFiles:
    """The files below a project's root, each read once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._read: dict[str, dict[str, Any]] = {}

    def document(self, file: str, stage: str) -> dict[str, Any]:
        """Raises ProjectError for a file that is absent, does not read, or holds no mapping."""
        if file not in self._read:
            self._read[file] = self._load(file, stage)
        return self._read[file]

    def _load(self, file: str, stage: str) -> dict[str, Any]:
        try:
            path = safe_join(self._root, file)
            text = path.read_text(encoding="utf-8")
            document = _parse(text, path)
        except (FileNotFoundError, IsADirectoryError):
            raise ProjectError(
                f"stage {stage} reads parameters from {file}, which does not exist", hint="create it, or correct params"
            ) from None
        except (ValueError, RecursionError, IntegrityError) as error:
            raise ProjectError(f"stage {stage} reads parameters from {file}: {error}", hint="mend the file") from None
        if document is None:
            return {}
        if not isinstance(document, dict):
            raise ProjectError(f"{file} holds no mapping, so it has no parameters", hint="write name: value")
        found = yaml12.not_json(document, ())
        if found is not None:
            raise ProjectError(
                f"{file}: {'.'.join(map(str, found[0]))} holds {found[1]}", hint="parameters are JSON; put it in quotes"
            )
        return document


def _parse(text: str, path: Path) -> Any:
    if path.suffix == ".json":
        return json.loads(text)
    if path.suffix == ".toml":
        return tomllib.loads(text)
    return yaml12.read(text, path.name)[0]
