"""The writing end of the labels, for a server that is given them one by one: many become one segment."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from mlops_cli.core.base.clock import Clock
from mlops_cli.core.predictions.labels import Known, Label, distinct, record_labels

if TYPE_CHECKING:
    from mlops_cli.core.remotes.remote import Remote

FIRST_S = 0.05
INTERVAL_S = 1.0
CAPACITY = 100_000
REMEMBERED = 65_536


class LabelsFull(Exception):
    """More labels wait for the disk than may be held."""


class LabelWriter:
    """Records labels beside a prediction log, from a thread that the first label starts.

    A label waits 50 ms for others, and under steady traffic until a second after the segment before: a day makes no
    more files than the prediction log does. The future of `append` is done when the labels are durable, or holds what
    went wrong; then none of them was written. Several processes may write to one log.

    A label that was recorded here lately is not written again. What else is written twice changes nothing: of the
    labels of one row the last one counts.
    """

    def __init__(
        self,
        log: Path | Remote,
        clock: Clock,
        *,
        first_s: float = FIRST_S,
        interval_s: float = INTERVAL_S,
        capacity: int = CAPACITY,
        remembered: int = REMEMBERED,
    ) -> None:
        self._log = log
        self._clock = clock
        self._first_s = first_s
        self._interval_s = interval_s
        self._capacity = capacity
        self._remembered = remembered
        self._known = Known({})
        self._waiting: list[tuple[list[Label], Future[None]]] = []
        self._count = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def append(self, labels: Sequence[Label]) -> Future[None]:
        """Have labels recorded, all of them or none. Raises UsageError as `record_labels`, LabelsFull, and
        RuntimeError after `close`."""
        wanted = distinct(labels)
        done: Future[None] = Future()
        done.set_running_or_notify_cancel()  # a client that goes away cancels its wait, and not what was taken in
        with self._changed:
            if self._closed:
                raise RuntimeError("the writer of labels is closed")
            if self._count + len(wanted) > self._capacity:
                raise LabelsFull(f"{self._count} labels wait to be written")
            self._waiting.append((wanted, done))
            self._count += len(wanted)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="labels", daemon=True)
                self._thread.start()
            self._changed.notify()
        return done

    def close(self) -> None:
        """Write what waits, and end."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        last = -self._interval_s
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                due = max(monotonic() + self._first_s, last + self._interval_s)
                while not self._closed and (left := due - monotonic()) > 0:
                    self._changed.wait(left)
                taken, self._waiting, self._count = self._waiting, [], 0
            last = monotonic()
            self._write(taken)

    def _write(self, taken: list[tuple[list[Label], Future[None]]]) -> None:
        # Clients that contradict each other within one segment: the last one counts, as it would have a second later.
        places: dict[tuple[str, int], Label] = {}
        for labels, _ in taken:
            places.update((label.place, label) for label in labels)
        try:
            record_labels(self._log, places.values(), self._clock.now(), known=self._known)
        except Exception as error:  # noqa: BLE001 - it is handed to whoever waits
            for _, done in taken:
                done.set_exception(error)
            return
        for _, done in taken:
            done.set_result(None)
        self._forget()

    def _forget(self) -> None:
        known = self._known.labels
        for place in list(islice(known, max(0, len(known) - self._remembered))):
            del known[place]
