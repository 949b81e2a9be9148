"""Detectors by name, fresh or as they were stored."""

from __future__ import annotations

from typing import Any

from mlops_cli.core.drift.detectors.page_hinkley import PageHinkley
from mlops_cli.core.drift.detectors.protocol import Detector, Sequential
from mlops_cli.core.errors import UsageError

DETECTORS: dict[str, type[Sequential]] = {one.name: one for one in (PageHinkley,)}
DEFAULT = PageHinkley.name


def open_detector(name: str | None = None, **options: Any) -> Detector:
    """A fresh detector; None opens the default one. `options` are its fields, as its class says.

    Raises UsageError on an unknown name or option, or a value out of bounds.
    """
    known = DETECTORS.get(name or DEFAULT)
    if known is None:
        raise UsageError(f"there is no detector {name!r}", hint=f"known are {', '.join(DETECTORS)}")
    try:
        return known(**options)
    except TypeError as error:
        raise UsageError(
            f"detector {known.name}: {error}", hint=f"it takes {', '.join(known.__struct_fields__)}"
        ) from None
