"""River's own detectors behind the protocol, where the extra `river` is installed."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

from mlops_cli.core.drift.detectors.protocol import finite
from mlops_cli.core.errors import ExtraMissing, UsageError

PREFIX = "river:"
ROOMS = ("river.drift", "river.drift.binary")
WARM_UPS = (
    "clock",
    "grace_period",
    "min_instances",
    "warm_start",
    "window_size",
    "sliding_window_size",
)  # as River calls them


class River:
    """One of River's detectors; it starts itself anew after a change. Its state cannot be stored."""

    def __init__(self, detector: Any) -> None:
        self._detector = detector

    @property
    def name(self) -> str:
        return PREFIX + type(self._detector).__name__

    @property
    def warm_up(self) -> int:
        """The longest of the options by which River's detectors wait; 0 for those that wait for nothing."""
        return max(int(getattr(self._detector, option, 0)) for option in WARM_UPS)

    def update(self, loss: float) -> bool:
        self._detector.update(finite(loss))
        return bool(self._detector.drift_detected)

    def update_many(self, losses: Iterable[float]) -> list[int]:
        checked = [finite(loss) for loss in losses]
        return [place for place, loss in enumerate(checked) if self.update(loss)]


def open_river(name: str, options: dict[str, Any]) -> River:
    """`river:ADWIN` and the like, with River's own options. Raises ExtraMissing without River, else UsageError."""
    try:
        rooms = [import_module(room) for room in ROOMS]
    except ImportError:
        raise ExtraMissing(
            f"{name} needs River, which is not installed", hint="pip install 'mlops-cli[river]'"
        ) from None
    # __all__ names one that is not there, and dir() not those that are loaded late.
    names = {(room, one) for room in rooms for one in (*room.__all__, *dir(room))}
    known: dict[str, Any] = {one: getattr(room, one, None) for room, one in names}
    known = {one: made for one, made in known.items() if isinstance(made, type) and hasattr(made, "drift_detected")}
    wanted = name.removeprefix(PREFIX)
    if wanted not in known:
        raise UsageError(f"River has no detector {wanted!r}", hint=f"it has {', '.join(sorted(known))}")
    try:
        return River(known[wanted](**options))
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name}: {error}", hint="its options are those of River's class") from None
