"""Detectors by name, fresh or as they were stored."""

from __future__ import annotations

from typing import Any

import msgspec

from mlops_cli.core.drift.detectors.adwin import Adwin
from mlops_cli.core.drift.detectors.ddm import Ddm
from mlops_cli.core.drift.detectors.effective import Effective
from mlops_cli.core.drift.detectors.kswin import Kswin
from mlops_cli.core.drift.detectors.page_hinkley import PageHinkley
from mlops_cli.core.drift.detectors.protocol import Detector, Sequential
from mlops_cli.core.drift.detectors.river import PREFIX, open_river
from mlops_cli.core.errors import IntegrityError, UsageError

VERSION = 1
Stored = Effective | Adwin | PageHinkley | Ddm | Kswin
DETECTORS: dict[str, type[Sequential]] = {one.name: one for one in (Effective, Adwin, PageHinkley, Ddm, Kswin)}
DEFAULT = Effective.name


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What is written: a version, and the detector's fields with its name in `detector`."""

    version: int
    state: Stored


def open_detector(name: str | None = None, **options: Any) -> Detector:
    """A fresh detector; None opens the default one. `options` are its fields, as its class says.

    `river:ADWIN` and the like open River's own. Raises UsageError on an unknown name or option, or a value out of
    bounds; ExtraMissing where River is asked for and not installed.
    """
    if name is not None and name.startswith(PREFIX):
        return open_river(name, options)
    known = DETECTORS.get(name or DEFAULT)
    if known is None:
        raise UsageError(
            f"there is no detector {name!r}", hint=f"known are {', '.join(DETECTORS)}, and River's as {PREFIX}ADWIN"
        )
    try:
        return known(**options)
    except TypeError as error:
        hint = f"it takes {', '.join(known.__struct_fields__)}"
        raise UsageError(f"detector {known.name}: {error}", hint=hint) from None


def to_bytes(detector: Detector) -> bytes:
    """A detector as MessagePack, to go on from with the next window. Raises UsageError for one of River's."""
    if not isinstance(detector, Stored):
        raise UsageError(
            f"{detector.name} cannot be stored", hint="feed it all its losses in one pass, or use mlo's own"
        )
    return msgspec.msgpack.encode(Envelope(version=VERSION, state=detector))


def from_bytes(stored: bytes) -> Detector:
    """The detector as it was. Raises IntegrityError on other bytes, or another version's."""
    try:
        read = msgspec.msgpack.decode(stored, type=Envelope)
    except (msgspec.DecodeError, UsageError) as error:
        raise IntegrityError(f"this is no stored detector: {error}", hint="start a fresh one") from None
    if read.version != VERSION:
        raise IntegrityError(f"this detector has format {read.version}, not {VERSION}", hint="start a fresh one")
    return read.state
