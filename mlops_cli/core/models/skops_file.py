"""skops files: written so that equal models are equal bytes, read so that nothing unlisted is ever built."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable
from typing import Any

from mlops_cli.core.errors import MloError
from mlops_cli.core.models.errors import ModelCorrupt, ModelUnsupported, ModelUntrusted
from mlops_cli.core.models.soundness import check_soundness
from mlops_cli.core.models.trusted import TRUSTED

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip file can say


def dump(estimator: Any, *, trusted: Iterable[str] = ()) -> bytes:
    """The estimator as a skops file. Raises ModelUnsupported for what skops cannot save, ModelUntrusted for what
    could not be loaded again."""
    import skops.io

    try:
        data = _canonical(skops.io.dumps(estimator))
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ModelUnsupported(
            f"{type(estimator).__name__} cannot be saved in a safe format: {error}",
            hint="use parts of scikit-learn, or accept pickle's risk for this model: log_model(..., pickle=True)",
        ) from error
    needed_types(data, trusted)
    return data


def load(data: bytes, *, trusted: Iterable[str] = ()) -> Any:
    """The estimator in a skops file. Only types that skops, TRUSTED or the project's `trusted` name are built; the
    list in the file has no say. Raises ModelUntrusted, ModelCorrupt."""
    import skops.io

    needed = needed_types(data, trusted)
    try:
        estimator = skops.io.loads(data, trusted=sorted(needed))
        check_soundness(estimator)
    except MloError:
        raise
    except Exception as error:
        raise _unreadable(error) from error
    return estimator


def needed_types(data: bytes, trusted: Iterable[str]) -> set[str]:
    """What the file asks for beyond what skops trusts by itself. Raises ModelUntrusted if that is not listed."""
    import skops.io

    try:
        needed = set(skops.io.get_untrusted_types(data=data))
    except Exception as error:
        raise _unreadable(error) from error
    unknown = tuple(sorted(needed - TRUSTED - set(trusted)))
    if unknown:
        raise ModelUntrusted(
            f"the model asks for {', '.join(unknown)}, which mlo does not trust",
            types=unknown,
            hint=f"if you wrote or reviewed it, add to mlo.yaml: model: {{trusted: [{', '.join(unknown)}]}}",
        )
    return needed


def _canonical(data: bytes) -> bytes:
    """The same file with what differs from run to run taken out: memory addresses, random names, the time.

    Equal models are then equal bytes, so that a stage that trains the same model again changes nothing after it.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as source:
        schema = json.loads(source.read("schema.json"))
        numbers: dict[int, int] = {}
        files: dict[str, str] = {}
        _renumber(schema, numbers, files)
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as written:
            for old, new in files.items():
                _write(written, new, source.read(old))
            _write(written, "schema.json", json.dumps(schema, separators=(",", ":")).encode())
    return target.getvalue()


def _renumber(schema: Any, numbers: dict[int, int], files: dict[str, str]) -> None:
    """Number objects and files in the order in which the schema names them. Loops: a deep model is a deep schema."""
    stack = [schema]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            if isinstance(node.get("__id__"), int):
                node["__id__"] = numbers.setdefault(node["__id__"], len(numbers) + 1)
            if "__loader__" in node and isinstance(node.get("file"), str):
                old = node["file"]
                files.setdefault(old, f"{len(files) + 1}{old[old.rindex('.') :]}")
                node["file"] = files[old]
            stack.extend(reversed([value for value in node.values() if isinstance(value, dict | list)]))
        else:
            stack.extend(reversed([value for value in node if isinstance(value, dict | list)]))


def _write(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    archive.writestr(info, data)


def _unreadable(error: Exception) -> ModelCorrupt:
    return ModelCorrupt(
        f"the model file does not read: {type(error).__name__}: {error}",
        hint="restore it (mlo data checkout, mlo run), or install the packages that its mlo-model.json names",
    )
