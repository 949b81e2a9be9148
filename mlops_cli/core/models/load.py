"""Read a model folder back, trusting nothing in it that was not registered, listed or checked."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_cli.core.base.digest import sha256_bytes
from mlops_cli.core.base.files import safe_join
from mlops_cli.core.base.records import Signature
from mlops_cli.core.errors import MloError
from mlops_cli.core.models import frames, skops_file
from mlops_cli.core.models.errors import ModelCorrupt, ModelUntrusted, WrongInputs
from mlops_cli.core.models.manifest import FILE_NAME, ModelManifest, parse_manifest, read_manifest
from mlops_cli.core.models.predictions import Predictions

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# Classifiers whose predict() is the class of the largest probability, so that one pass gives both.
_ARGMAX = frozenset(
    {
        "HistGradientBoostingClassifier",
        "GradientBoostingClassifier",
        "RandomForestClassifier",
        "ExtraTreesClassifier",
        "DecisionTreeClassifier",
        "ExtraTreeClassifier",
        "LogisticRegression",
        "GaussianNB",
        "MLPClassifier",
    }
)


class LoadedModel:
    """A model ready to predict. `estimator` is scikit-learn's; `signature` says what it takes and gives."""

    def __init__(self, manifest: ModelManifest, estimator: Any) -> None:
        self.manifest = manifest
        self.estimator = estimator

    @property
    def signature(self) -> Signature:
        return self.manifest.signature

    def predict(self, rows: pa.Table | pd.DataFrame | dict[str, Any]) -> Predictions:
        """Labels, and the probability of each class where the model gives them; one row of answers a row given.

        Columns are taken by name in the order of the signature; others are ignored. Raises WrongInputs.
        """
        import numpy as np

        table = frames.to_table(rows)
        inputs = frames.build(self.manifest, table)
        if table.num_rows == 0:
            return self._nothing()
        try:
            if self.signature.task == "regression":
                return Predictions(np.asarray(self.estimator.predict(inputs), dtype=np.float64).reshape(table.num_rows))
            scores = self.estimator.predict_proba(inputs) if self.gives_scores else None
            if scores is not None and self.labels_are_argmax:
                labels = self.estimator.classes_[np.argmax(scores, axis=1)]
            else:
                labels = np.asarray(self.estimator.predict(inputs))
        except (ValueError, TypeError) as error:
            first = str(error).strip().partition("\n")[0]
            raise WrongInputs(
                f"the model cannot take these rows: {first}", hint="see its signature: mlo models show"
            ) from error
        return Predictions(labels, None if scores is None else np.asarray(scores, dtype=np.float64))

    @cached_property
    def gives_scores(self) -> bool:
        """Whether `predict` answers with probabilities."""
        return self.signature.task == "classification" and hasattr(self.estimator, "predict_proba")

    @cached_property
    def labels_are_argmax(self) -> bool:
        """Whether a label is the class of the largest probability, so that the probabilities give it."""
        from sklearn.pipeline import Pipeline

        last = self.estimator
        while isinstance(last, Pipeline):
            last = last.steps[-1][1]
        return type(last).__module__.startswith("sklearn.") and type(last).__name__ in _ARGMAX

    def _nothing(self) -> Predictions:
        import numpy as np

        if self.signature.task == "regression":
            return Predictions(np.empty(0, dtype=np.float64))
        classes = np.asarray(self.estimator.classes_)
        return Predictions(classes[:0], np.empty((0, len(classes))) if self.gives_scores else None)


def load_model(
    folder: Path, *, trusted: Sequence[str] = (), registered: Mapping[str, str] | None = None
) -> LoadedModel:
    """The model in `folder`. `registered` maps file names to the sha256 that the registry or the run recorded.

    Each byte is hashed before it is read, and the bytes that were hashed are those that are used. A pickle loads only
    if `registered` names its sha256. Raises NotFound, ModelCorrupt (exit 7), ModelUntrusted, ProjectError.
    """
    registered = registered or None  # a model that was never registered has no files there
    manifest = (
        read_manifest(folder) if registered is None else parse_manifest(_read(folder, FILE_NAME, registered), folder)
    )
    for name in manifest.files if registered is None else registered:
        if name not in (FILE_NAME, manifest.file):
            _read(folder, name, manifest.files if registered is None else registered)
    is_pickle = manifest.flavor == "sklearn-pickle"
    if is_pickle and not (registered and manifest.file in registered):
        raise ModelUntrusted(
            f"{folder} is a pickle, which can run any code when it is loaded, and its sha256 is not registered",
            types=("pickle",),
            hint="register the run that made it (mlo register), or save it without pickle=True",
        )
    data = _read(folder, manifest.file, manifest.files if registered is None else registered)
    try:
        estimator = _unpickle(data) if is_pickle else skops_file.load(data, trusted=trusted)
    except ModelCorrupt as error:
        raise ModelCorrupt(f"{folder}: {error.message}{_versions_differ(manifest)}", hint=error.hint) from error
    return LoadedModel(manifest, estimator)


def _read(folder: Path, name: str, recorded: Mapping[str, str]) -> bytes:
    """The bytes of one file, which must have the recorded sha256."""
    expected = recorded.get(name)
    if expected is None:
        raise ModelCorrupt(f"{name} in {folder} has no recorded sha256", hint="the file is not one of this model's")
    try:
        data = safe_join(folder, name).read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise ModelCorrupt(f"{folder} lacks {name}, which was recorded with it", hint="restore the folder") from None
    found = sha256_bytes(data)
    if found != expected:
        raise ModelCorrupt(
            f"{folder / name} is not the file that was recorded: its sha256 is {found[:12]}…, not {expected[:12]}…",
            hint="someone changed it; restore it from the cache or a remote (mlo pull), and find out who",
        )
    return data


def _unpickle(data: bytes) -> Any:
    import joblib

    try:
        return joblib.load(io.BytesIO(data))
    except MloError:
        raise
    except Exception as error:
        raise ModelCorrupt(
            f"the pickle does not load: {type(error).__name__}: {error}", hint="install the packages it was made with"
        ) from error


def _versions_differ(manifest: ModelManifest) -> str:
    """What is installed here in another version than where the model was made, in brackets, or nothing."""
    from importlib import metadata

    differing = []
    for package, version in manifest.packages.items():
        try:
            here = metadata.version(package)
        except metadata.PackageNotFoundError:
            here = "absent"
        if here != version:
            differing.append(f"{package} {version} there, {here} here")
    return f" ({'; '.join(differing)})" if differing else ""
