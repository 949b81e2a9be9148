"""Loading and unloading models while the server runs: the repository of the Open Inference Protocol."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from mlops_cli.core.errors import MloError, NotFound
from mlops_cli.core.serving.problems import Problem, UnknownPath
from mlops_cli.core.serving.reload import announce
from mlops_cli.core.serving.shelf import Library, Shelf, Slot
from mlops_cli.core.serving.worker import Worker

_log = logging.getLogger(__name__)


class NotLoaded(Problem):
    """The model is known, and cannot be loaded."""

    status = 400


class Repository:
    """The shelf as administrators see it. `place` puts a new slot there."""

    def __init__(self, shelf: Shelf, worker: Worker, library: Library | None, place: Callable[[Slot], None]) -> None:
        self._shelf = shelf
        self._worker = worker
        self._library = library
        self._place = place

    async def load(self, name: str) -> list[Slot]:
        """Load what the model's references mean now. Raises UnknownPath for a model that is in no registry,
        NotLoaded for one that cannot be loaded: what answered before goes on answering."""
        if name not in self._shelf.names:
            self._place(await self._found(name))
        slots = self._shelf.named(name)
        for slot in slots:
            if slot.source is None:
                continue
            try:
                served = await slot.load(self._worker)
            except MloError as error:
                raise NotLoaded(f"{slot.ref} cannot be loaded: {error.message}") from None
            except Exception as error:
                _log.exception("%s cannot be loaded", slot.ref)
                raise NotLoaded(f"{slot.ref} cannot be loaded; the server's log says why") from error
            await announce(slot.source, self._worker, served)
        return slots

    def unload(self, name: str) -> list[Slot]:
        """Let go of a model. Raises UnknownPath."""
        slots = self._shelf.named(name)
        for slot in slots:
            slot.unload()
        return slots

    async def classes(self, name: str) -> Sequence[str | int | float | bool]:
        """Those of all versions of a model, in memory or not; none where no registry answers."""
        library = self._library
        if library is None:
            return ()
        try:
            return await self._worker.call(lambda: library.classes(name))
        except MloError as error:
            _log.warning("the registry was not asked for the classes of %s: %s", name, error.message)
            return ()

    async def _found(self, name: str) -> Slot:
        if self._library is None:
            raise UnknownPath(f"there is no model {name[:128]} here")
        library = self._library
        try:
            return await self._worker.call(lambda: library.find(name))
        except NotFound as error:
            raise UnknownPath(error.message) from None
