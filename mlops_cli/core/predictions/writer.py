"""The writing end of the prediction log: a bounded ring in memory and one thread that turns it into segments.

Serving never waits for the log: what does not fit, or what a full disk refuses, is counted and dropped.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from mlops_cli.core.base.files import write_atomic
from mlops_cli.core.errors import MloError
from mlops_cli.core.predictions.outbox import Outbox
from mlops_cli.core.predictions.segment import Answered, encode, group, segment_name

if TYPE_CHECKING:
    from mlops_cli.core.remotes.remote import Remote

SEGMENT_ROWS = 4096
INTERVAL_S = 1.0
CAPACITY_ROWS = 65_536

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LogState:
    """What became of the rows so far. `waiting` counts segments that no remote has yet; `error` is the last trouble,
    None once it is over."""

    written: int = 0
    dropped: int = 0
    waiting: int = 0
    error: str | None = None


class PredictionWriter:
    """Appends answered requests to a log that lies in a folder or on a remote.

    A segment is closed, atomically and durably, at 4,096 rows or after one second: a crash loses at most the last
    second. For a remote, segments are written to `outbox` first and stay there until the remote has them, also over
    a restart. `close` writes what is left.
    """

    def __init__(
        self,
        target: Path | Remote,
        *,
        outbox: Path | None = None,
        capacity_rows: int = CAPACITY_ROWS,
        segment_rows: int = SEGMENT_ROWS,
        interval_s: float = INTERVAL_S,
    ) -> None:
        if isinstance(target, Path):
            self._folder, self._outbox = target, None
        else:
            if outbox is None:
                raise ValueError("a log on a remote needs an outbox folder")
            self._folder = outbox
            self._outbox = Outbox(outbox, target, interval_s=interval_s)
        self._capacity_rows = capacity_rows
        self._segment_rows = segment_rows
        self._interval_s = interval_s
        self._ring: deque[Answered] = deque()
        self._rows = 0
        self._written = 0
        self._dropped = 0
        self._error: str | None = None
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._thread.start()

    def append(self, batch: Answered) -> bool:
        """Take a request's rows, at once. False if the ring is full or the log closed: they are counted and dropped."""
        rows = batch.rows
        if rows == 0:
            return True
        with self._lock:
            # A request larger than the whole ring still fits into an empty one.
            if self._closed or (self._rows and self._rows + rows > self._capacity_rows):
                self._dropped += rows
                return False
            self._ring.append(batch)
            self._rows += rows
            full = self._rows >= self._segment_rows
        if full:
            self._wake.set()
        return True

    @property
    def state(self) -> LogState:
        waiting, trouble = (self._outbox.waiting, self._outbox.error) if self._outbox else (0, None)
        return LogState(self._written, self._dropped, waiting, self._error or trouble)

    def close(self, timeout_s: float = 30.0) -> LogState:
        """Write what is left, and try once more to deliver it. Returns after `timeout_s` at the latest."""
        with self._lock:
            self._closed = True
        self._wake.set()
        deadline = monotonic() + timeout_s
        self._thread.join(timeout_s)
        if self._outbox is not None:
            self._outbox.close(max(0.0, deadline - monotonic()))
        return self.state

    def _run(self) -> None:
        while True:
            # The first row of a segment waits one interval at most, as the ring is emptied at every turn.
            self._wake.wait(self._interval_s)
            with self._lock:
                closed = self._closed
                self._wake.clear()
                batches, self._ring = self._ring, deque()
                self._rows = 0
            for members in group(batches, self._segment_rows):
                self._write(members)
            if closed:
                return

    def _write(self, members: list[Answered]) -> None:
        rows = sum(batch.rows for batch in members)
        try:
            write_atomic(self._folder / segment_name(members), encode(members))
        except (MloError, OSError) as error:
            self._drop(rows, str(error))
        except Exception as error:  # noqa: BLE001 - a batch that no segment can hold must not end the log
            self._drop(rows, f"{type(error).__name__}: {error}")
        else:
            if self._error is not None:
                _log.warning("the prediction log is written again; %d rows were dropped so far", self._dropped)
            self._error = None
            with self._lock:
                self._written += rows
            if self._outbox is not None:
                self._outbox.notify()

    def _drop(self, rows: int, reason: str) -> None:
        if self._error is None:  # say it once, not once a second
            _log.warning("the prediction log cannot be written, its rows are dropped and counted: %s", reason)
        self._error = reason
        with self._lock:
            self._dropped += rows
