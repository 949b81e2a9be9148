"""mlo-model.json: the first thing read of a model folder. Its format stands in FORMAT.md beside this file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import msgspec

from mlops_cli.core.base.digest import sha256_file
from mlops_cli.core.base.records import Signature
from mlops_cli.core.errors import NotFound, ProjectError
from mlops_cli.core.models.errors import ModelCorrupt

FILE_NAME = "mlo-model.json"
VERSION = 1

Flavor = Literal["sklearn-skops", "sklearn-pickle"]


class ColumnType(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one input was held when the estimator was fitted, so that it can be built again.

    `dtype` is pandas' or NumPy's name of it; `missing` says what stood for a missing text (None or NaN), which
    scikit-learn tells apart; `categories` are those of a pandas categorical, in its order.
    """

    dtype: str
    missing: Literal["none", "nan"] = "nan"
    categories: tuple[Any, ...] = ()
    ordered: bool = False


class ModelManifest(msgspec.Struct, frozen=True):
    """What a model folder says of itself. `files` holds the sha256 of each other file in it."""

    flavor: Flavor
    file: str
    estimator: str
    signature: Signature
    container: Literal["frame", "array"]
    columns: tuple[ColumnType, ...]
    python: str
    packages: dict[str, str]
    files: dict[str, str]
    version: int = VERSION


class SavedModel(msgspec.Struct, frozen=True):
    """What save_model wrote: the sha256 of each file in the folder, mlo-model.json among them."""

    flavor: str
    files: dict[str, str]
    signature: Signature


def manifest_bytes(manifest: ModelManifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=1) + b"\n"


def read_manifest(folder: Path) -> ModelManifest:
    """Raises NotFound if the folder holds no model, ModelCorrupt, or ProjectError if a newer mlo wrote it."""
    try:
        data = (folder / FILE_NAME).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(
            f"{folder} is not a model: it has no {FILE_NAME}", hint="save models with mlo.log_model(model, example=X)"
        ) from None
    return parse_manifest(data, folder)


def parse_manifest(data: bytes, folder: Path) -> ModelManifest:
    try:
        version = msgspec.json.decode(data, type=_Versioned).version
        if version <= VERSION:
            return msgspec.json.decode(data, type=ModelManifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ModelCorrupt(
            f"{folder / FILE_NAME} does not read: {error}", hint="restore the folder: mlo data checkout, or mlo run"
        ) from None
    raise ProjectError(
        f"{folder / FILE_NAME} has version {version}; this mlo reads up to {VERSION}",
        hint="upgrade mlo: pip install --upgrade mlops-cli",
    )


class _Versioned(msgspec.Struct):
    version: int


def hash_files(folder: Path) -> dict[str, str]:
    """sha256 of every file below `folder`, by its path in it with forward slashes, sorted."""
    found = {}
    for base, _, names in os.walk(folder):
        for name in names:
            path = Path(base, name)
            found[path.relative_to(folder).as_posix()] = sha256_file(path)
    return dict(sorted(found.items()))
