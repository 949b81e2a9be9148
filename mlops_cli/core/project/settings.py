"""Settings with their origins: flag > MLO_* variable > mlo.<env>.yaml > mlo.yaml > user's config > default."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from mlops_cli.core.errors import ProjectError
from mlops_cli.core.project import yaml12
from mlops_cli.core.project.load import FILE_NAME, Source, convert
from mlops_cli.core.project.schema import Cache, Drift, Project, Retrain, Serve

SECTIONS: dict[str, type[msgspec.Struct]] = {"serve": Serve, "drift": Drift, "retrain": Retrain, "cache": Cache}
TOP_LEVEL = ("registry", "hash")


class Setting(msgspec.Struct, frozen=True):
    """One setting as it is in force. `origin` is a variable's name, a file's name, or `default`."""

    key: str
    value: Any
    origin: str


class Loaded(msgspec.Struct, frozen=True):
    """A project together with where each of its settings came from."""

    root: Path
    project: Project
    settings: list[Setting]


def user_config_path(environ: Mapping[str, str]) -> Path | None:
    """Where the user's own settings stand; None for a user without a home, as a container may have."""
    base = environ.get("XDG_CONFIG_HOME")
    if base:
        return Path(base) / "mlo" / "config.yaml"
    try:
        home = Path(environ.get("HOME") or "~").expanduser()
    except RuntimeError:
        return None
    return home / ".config" / "mlo" / "config.yaml"


def load(root: Path, environ: Mapping[str, str], *, environment: str | None = None) -> Loaded:
    """Read the project at `root`; `environment` names the overlay mlo.<env>.yaml. Raises ProjectError."""
    layers = _user_layers(environ)
    layers.append((FILE_NAME, Source(root / FILE_NAME)))
    if environment:
        overlay = root / f"mlo.{environment}.yaml"
        if not overlay.is_file():
            raise ProjectError(f"there is no {overlay.name} in {root}", hint="write it, or leave out --env and MLO_ENV")
        layers.append((overlay.name, Source(overlay)))
    return _laid(root, layers, environ, {})


def load_without_project(folder: Path, environ: Mapping[str, str]) -> Loaded:
    """The settings in force in a folder without mlo.yaml: the user's, the variables', the defaults."""
    return _laid(folder, _user_layers(environ), environ, {"name": "none"})


def _user_layers(environ: Mapping[str, str]) -> list[tuple[str, Source]]:
    user = user_config_path(environ)
    if user is None or not user.is_file():
        return []
    source = Source(user)
    _refuse_project_keys(source)
    return [(str(user), source)]


def _laid(root: Path, layers: list[tuple[str, Source]], environ: Mapping[str, str], document: dict[str, Any]) -> Loaded:
    """`document`, the layers over it, and the variables over those, as a project."""
    origins: dict[str, str] = {}
    for name, source in layers:
        merge(document, source.document)
        origins.update(dict.fromkeys(_settings_in(source.document), name))
    for key, variable in _variables().items():
        if variable in environ:
            _put(document, key, yaml12.parse_scalar(environ[variable]))
            origins[key] = variable
    project = convert(document, [source for _, source in layers])
    rows = [Setting(key, _value(project, key), origins.get(key, "default")) for key in _variables()]
    return Loaded(root, project, rows)


def merge(into: dict[str, Any], over: Mapping[str, Any]) -> None:
    """Lay `over` on `into`: mappings merge key by key, everything else is replaced."""
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            into[key] = dict(into[key])
            merge(into[key], value)
        else:
            into[key] = value


def _variables() -> dict[str, str]:
    """Each setting's dotted key and the variable that sets it: serve.port, MLO_SERVE_PORT."""
    keys = [*TOP_LEVEL, *(f"{name}.{field}" for name, kind in SECTIONS.items() for field in kind.__struct_fields__)]
    return {key: "MLO_" + key.upper().replace(".", "_") for key in keys}


def _settings_in(document: Mapping[str, Any]) -> list[str]:
    nested = [f"{name}.{key}" for name in SECTIONS for key in (document.get(name) or {})]
    return [key for key in TOP_LEVEL if key in document] + nested


def _refuse_project_keys(source: Source) -> None:
    for key in source.document:
        if key not in SECTIONS and key not in TOP_LEVEL:
            raise ProjectError(
                f"{source.path}: {key} belongs into a project's {FILE_NAME}",
                hint=f"this file may set {', '.join((*TOP_LEVEL, *SECTIONS))}",
            )


def _put(document: dict[str, Any], key: str, value: Any) -> None:
    section, _, field = key.rpartition(".")
    if section:
        document[section] = {**(document.get(section) or {}), field: value}
    else:
        document[field] = value


def _value(project: Project, key: str) -> Any:
    value: Any = project
    for part in key.split("."):
        value = getattr(value, part)
    return value
