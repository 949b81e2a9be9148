"""The writing end of the prediction log: a bounded ring in memory and one thread that turns it into segments.

Serving never waits for the log: what does not fit, or what a full disk refuses, is counted and dropped.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING

import xxhash

from mlops_cli.core.base.clock import Clock
from mlops_cli.core.base.files import write_atomic
from mlops_cli.core.errors import MloError
from mlops_cli.core.predictions.outbox import Outbox
from mlops_cli.core.predictions.segment import Answered, encode, group, segment_name
from mlops_cli.core.predictions.upkeep import Upkeep

if TYPE_CHECKING:
    from mlops_cli.core.remotes.remote import Remote

SEGMENT_ROWS = 16_384
INTERVAL_S = 1.0
CAPACITY_ROWS = 65_536
CAPACITY_BYTES = 256 << 20
PAUSE_S = 0.00005

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LogState:
    """What became of the rows so far. `waiting` counts segments that no remote has yet; `error` is the last trouble,
    None once it is over. `sampled_out` rows were left out on purpose: they are of requests outside the sample."""

    written: int = 0
    dropped: int = 0
    waiting: int = 0
    error: str | None = None
    sampled_out: int = 0


def is_sampled(request: str, sample: float) -> bool:
    """Whether a log that takes a share `sample` of the requests takes this one: wherever and whenever it is asked."""
    return xxhash.xxh3_64_intdigest(request.encode()) < sample * 2**64


class PredictionWriter:
    """Appends answered requests to a log that lies in a folder or on a remote.

    A segment is closed, atomically and durably, at 16,384 rows or after one second: a crash loses at most the last
    second. For a remote, segments are written to `outbox` first and stay there until the remote has them, also over
    a restart. `close` writes what is left. Several processes may write one log.

    `sample` is the share of the requests that are taken, 0 to 1, decided by the request's id. With a `clock`, a log in
    a folder is kept in order by and by: closed days become Parquet, and days older than `keep` go. Raises ValueError.
    """

    def __init__(
        self,
        target: Path | Remote,
        *,
        outbox: Path | None = None,
        sample: float = 1.0,
        clock: Clock | None = None,
        keep: timedelta | None = None,
        capacity_rows: int = CAPACITY_ROWS,
        capacity_bytes: int = CAPACITY_BYTES,
        segment_rows: int = SEGMENT_ROWS,
        interval_s: float = INTERVAL_S,
    ) -> None:
        if not 0 <= sample <= 1:
            raise ValueError(f"a share of {sample} of the requests cannot be logged")
        self._upkeep: Upkeep | None = None
        if isinstance(target, Path):
            self._folder, self._outbox = target, None
        else:
            if outbox is None:
                raise ValueError("a log on a remote needs an outbox folder")
            self._folder = outbox
            self._outbox = Outbox(outbox, target, interval_s=interval_s)
        self._sample = sample
        self._capacity_rows = capacity_rows
        self._capacity_bytes = capacity_bytes
        self._segment_rows = segment_rows
        self._interval_s = interval_s
        self._ring: deque[Answered] = deque()
        self._rows = self._bytes = 0
        self._written = 0
        self._dropped = 0
        self._sampled_out = 0
        self._error: str | None = None
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._thread.start()
        if clock is not None and isinstance(target, Path):
            self._upkeep = Upkeep(target, clock, keep=keep)

    def append(self, batch: Answered) -> bool:
        """Take a request's rows, at once. False if the ring is full or the log closed: they are counted and dropped.

        True, too, for a request that is not in the sample.
        """
        rows = len(batch.predictions)
        if rows == 0:
            return True
        taken = self._sample == 1.0 or is_sampled(batch.request, self._sample)
        with self._lock:
            if not taken:
                self._sampled_out += rows
                return True
            # A request larger than the whole ring still fits into an empty one.
            if self._closed or (
                self._rows
                and (self._rows + rows > self._capacity_rows or self._bytes + batch.size > self._capacity_bytes)
            ):
                self._dropped += rows
                return False
            self._ring.append(batch)
            self._rows += rows
            self._bytes += batch.size
            full = self._rows >= self._segment_rows
        if full:
            self._wake.set()
        return True

    @property
    def state(self) -> LogState:
        waiting, trouble = (self._outbox.waiting, self._outbox.error) if self._outbox else (0, None)
        disorder = self._upkeep.error if self._upkeep else None
        return LogState(self._written, self._dropped, waiting, self._error or trouble or disorder, self._sampled_out)

    def close(self, timeout_s: float = 30.0) -> LogState:
        """Write what is left, and try once more to deliver it. Returns after `timeout_s` at the latest."""
        with self._lock:
            self._closed = True
        self._wake.set()
        deadline = monotonic() + timeout_s
        if self._upkeep is not None:
            self._upkeep.close()
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
                self._rows = self._bytes = 0
            for members in group(_emptied(batches), self._segment_rows):
                self._write(members)
            if closed:
                return

    def _write(self, members: list[Answered]) -> None:
        rows = sum(batch.rows for batch in members)
        try:
            # Between columns whoever answers requests may go on at once, not after the interpreter's 5 ms.
            name = segment_name(members)
            write_atomic(self._folder / name, encode(members, sample=self._sample, pause=partial(sleep, PAUSE_S)))
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


def _emptied(ring: deque[Answered]) -> Iterator[Answered]:
    """What is in the ring, which lets go of it."""
    while ring:
        yield ring.popleft()
