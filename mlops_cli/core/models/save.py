"""Write a fitted estimator as a model folder, and read it back before saying so."""

from __future__ import annotations

import contextlib
import io
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_cli.core.base.digest import sha256_bytes
from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.errors import WouldOverwrite
from mlops_cli.core.models import skops_file
from mlops_cli.core.models.errors import ModelUnsupported
from mlops_cli.core.models.load import load_model
from mlops_cli.core.models.manifest import (
    FILE_NAME,
    Flavor,
    ModelManifest,
    SavedModel,
    hash_files,
    manifest_bytes,
)
from mlops_cli.core.models.signature import Inputs, infer

if TYPE_CHECKING:
    import pandas as pd

EXAMPLE_FILE = "example.parquet"
EXAMPLE_ROWS = 20
_PACKAGES = ("numpy", "pandas", "scikit-learn", "scipy", "skops", "joblib")


def save_model(
    model: Any, folder: Path, *, example: Any = None, pickle: bool = False, trusted: Sequence[str] = ()
) -> SavedModel:
    """Write a fitted scikit-learn classifier or regressor to `folder`; a model there already is replaced whole.

    The signature is inferred from all rows of `example` (the X of fit(): DataFrame, array, mapping or Arrow table);
    its first 20 rows are kept beside the model. With `pickle` the file is a joblib pickle, which only loads where
    its sha256 is registered. `trusted` are the project's own types. The folder is read back and must predict the
    same before anything is replaced. Raises ModelUnsupported, ModelUntrusted, WouldOverwrite, MachineError.
    """
    _require_estimator(model)
    inputs = infer(model, example)
    flavor: Flavor = "sklearn-pickle" if pickle else "sklearn-skops"
    name, data = (
        ("model.joblib", _pickled(model)) if pickle else ("model.skops", skops_file.dump(model, trusted=trusted))
    )
    files = {name: data}
    if inputs.rows is not None:
        files[EXAMPLE_FILE] = _parquet(inputs.rows.head(EXAMPLE_ROWS))
    manifest = ModelManifest(
        flavor=flavor,
        file=name,
        estimator=f"{type(model).__module__}.{type(model).__qualname__}",
        signature=inputs.signature,
        container=inputs.container,
        columns=inputs.columns,
        python=platform.python_version(),
        packages=_versions(),
        files={file: sha256_bytes(content) for file, content in files.items()},
    )
    _refuse_foreign(folder)
    with machine_errors(f"cannot write the model to {folder}"), _replacing(folder) as fresh:
        for file, content in {**files, FILE_NAME: manifest_bytes(manifest)}.items():
            (fresh / file).write_bytes(content)
        hashes = hash_files(fresh)
        _prove(model, inputs, fresh, hashes, trusted)
    return SavedModel(flavor, hashes, inputs.signature)


def _require_estimator(model: Any) -> None:
    from sklearn.base import BaseEstimator
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    if isinstance(model, type) or not isinstance(model, BaseEstimator):
        what = (
            f"the class {model.__name__}"
            if isinstance(model, type)
            else f"a {type(model).__module__}.{type(model).__name__}"
        )
        raise ModelUnsupported(
            f"{what} is not a model that mlo can save: it saves fitted scikit-learn classifiers and regressors",
            hint="wrap it in a scikit-learn Pipeline or estimator, or keep it as a file with log_artifact",
        )
    try:
        check_is_fitted(model)
    except NotFittedError:
        raise ModelUnsupported(
            f"this {type(model).__name__} is not fitted", hint="call fit() before log_model"
        ) from None


def _pickled(model: Any) -> bytes:
    import joblib

    buffer = io.BytesIO()
    try:
        joblib.dump(model, buffer)
    except Exception as error:
        raise ModelUnsupported(
            f"{type(model).__name__} cannot be pickled: {error}", hint="define its functions in a module, not in place"
        ) from error
    return buffer.getvalue()


def _parquet(rows: pd.DataFrame) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    table = pa.Table.from_pandas(rows, preserve_index=False)
    # Without pandas' own note in the schema the bytes do not depend on pandas' version.
    pq.write_table(table.replace_schema_metadata(None), buffer)
    return buffer.getvalue()


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _refuse_foreign(folder: Path) -> None:
    """Raises WouldOverwrite if something that is not a model stands where the model would go."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise WouldOverwrite(f"{folder} is not a folder", hint="move it away, or give log_model another path")
    if folder.is_dir() and not (folder / FILE_NAME).exists() and any(folder.iterdir()):
        raise WouldOverwrite(
            f"{folder} holds files but no model", hint="move them away, or give log_model another path"
        )


@contextlib.contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """A fresh folder beside `folder` that takes its place when the block ends well, and vanishes when not."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
    old = fresh.with_suffix(".old")
    try:
        fresh.chmod(0o755)
        yield fresh
        if folder.exists():
            os.rename(folder, old)
        os.rename(fresh, folder)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        if old.exists() and not folder.exists():
            os.rename(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _prove(model: Any, inputs: Inputs, folder: Path, hashes: dict[str, str], trusted: Sequence[str]) -> None:
    """Load what was written and compare its predictions for the first rows. Raises ModelUnsupported."""
    import numpy as np

    loaded = load_model(folder, trusted=trusted, registered=hashes)
    if inputs.rows is None:
        return
    head = inputs.rows.head(EXAMPLE_ROWS)
    given = head.to_numpy() if inputs.container == "array" else head
    try:
        expected = model.predict(given)
    except Exception as error:
        raise ModelUnsupported(
            f"the model cannot predict the example: {error}", hint="give the X that fit() was given"
        ) from error
    labels = loaded.predict(head).labels
    if inputs.signature.task == "regression":
        same = np.allclose(labels.astype(float), np.asarray(expected, dtype=float).ravel(), rtol=1e-6, equal_nan=True)
    else:
        same = np.array_equal(labels, expected)
    if not same:
        raise ModelUnsupported(
            f"read back from its file, this {type(model).__name__} predicts something else for the first rows",
            hint="a part of it keeps state that its safe format does not; log_model(..., pickle=True) keeps it",
        )
