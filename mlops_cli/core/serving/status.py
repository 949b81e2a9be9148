"""What the server says of itself: alive, ready, which versions answer, and what is wrong around them."""

from __future__ import annotations

from typing import Any

from mlops_cli.core.predictions.writer import PredictionWriter
from mlops_cli.core.serving.batching import Batcher
from mlops_cli.core.serving.fleet import Fleet
from mlops_cli.core.serving.guard import Guard
from mlops_cli.core.serving.http import Request
from mlops_cli.core.serving.protocols import v2
from mlops_cli.core.serving.shelf import Shelf, Slot


class Status:
    """Readiness is true: every model that is to be held is loaded, predictions can be made, no process is missing,
    and the server is not about to end."""

    def __init__(
        self, shelf: Shelf, batcher: Batcher, fleet: Fleet, guard: Guard, log: PredictionWriter | None
    ) -> None:
        self.is_draining = False
        self._fleet = fleet
        self._shelf = shelf
        self._batcher = batcher
        self._guard = guard
        self._prediction_log = log

    def drain(self) -> None:
        """The server is about to end."""
        self.is_draining = True

    @property
    def trouble(self) -> str | None:
        """Why requests should go elsewhere now, or None."""
        if self.is_draining:
            return "the server is about to end"
        if (trouble := self._batcher.trouble) is not None:
            return trouble
        if (trouble := self._fleet.trouble) is not None:
            return trouble
        lacking = [slot.ref for slot in self._shelf if slot.served is None and slot.is_wanted and slot.is_eager]
        return f"not loaded yet: {', '.join(lacking)}" if lacking else None

    def versions(self) -> dict[str, Any]:
        """Of the default model: as long as there was one model a server, these were the fields."""
        slot = self._shelf.default
        served = slot.served
        first = {
            "model": slot.name,
            "version": served.version if served is not None else None,
            "run": served.run if served is not None else None,
        }
        return first | ({"models": [_held(slot) for slot in self._shelf]} if len(list(self._shelf)) > 1 else {})

    def health(self, request: Request) -> dict[str, Any]:
        """Always 200 while predictions are answered; what is wrong around them stands in the details."""
        if not self._guard.knows(request.headers):
            return {"status": "ok"}
        registry = next((slot.registry_error for slot in self._shelf if slot.registry_error is not None), None)
        reload = next((slot.reload_error for slot in self._shelf if slot.reload_error is not None), None)
        return {
            "status": "ok",
            "ready": self.trouble is None,
            **self.versions(),
            "registry": {"reachable": registry is None, "error": registry},
            "reload": {"error": reload},
            "log": self._prediction_log.state if self._prediction_log is not None else None,
        }

    def version(self, _: Request) -> dict[str, Any]:
        return {"mlo": v2.MLO_VERSION, **self.versions()}


def _held(slot: Slot) -> dict[str, Any]:
    served = slot.served
    return {
        "ref": slot.ref,
        "model": slot.name,
        "version": served.version if served is not None else None,
        "run": served.run if served is not None else None,
        "previous": slot.previous.version if slot.previous is not None else None,
        "state": slot.state,
        "error": slot.reload_error,
    }
