"""Keeping a log in a folder in order while it is written: closed days become Parquet, days of long ago go."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from mlops_cli.core.base.clock import Clock
from mlops_cli.core.base.files import FileLock
from mlops_cli.core.errors import Locked, MloError

EVERY_S = 3600.0
GRACE_S = 600.0  # a reader that listed a day before it was compacted finds its segments for so long
_NICE = 10

_log = logging.getLogger(__name__)


def keep_in_order(
    folder: Path,
    clock: Clock,
    *,
    keep: timedelta | None = None,
    grace_s: float = GRACE_S,
    is_stopped: Callable[[], bool] = lambda: False,
) -> bool:
    """Compact the closed days of a log and of its labels, and remove what is older than `keep`.

    False if another process is at it. Days are those of `clock`: today's is left alone. Raises MachineError, OSError.
    """
    from mlops_cli.core.predictions.compaction import LOCK, compact
    from mlops_cli.core.predictions.retention import remove_old

    if not folder.is_dir():
        return True
    lock = FileLock(folder / LOCK, command="mlo serve")
    try:
        lock.acquire(wait=False)
    except Locked:
        return False
    try:
        today = clock.now().strftime("%Y-%m-%d")
        if keep is not None:
            remove_old(folder, today, keep)
        compact(folder, today, grace_s=grace_s, is_stopped=is_stopped)
    finally:
        lock.release()
    return True


class Upkeep:
    """One thread that keeps a log in order, at once and then every hour. Of several processes one does it at a time."""

    def __init__(self, folder: Path, clock: Clock, *, keep: timedelta | None = None, every_s: float = EVERY_S) -> None:
        self.error: str | None = None
        self._folder = folder
        self._clock = clock
        self._keep = keep
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prediction-upkeep", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float = 5.0) -> None:
        """What is half done is left as it was: nothing is lost by it."""
        self._stop.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        with suppress(OSError, AttributeError):  # Linux gives every thread a priority of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while not self._stop.is_set():
            try:
                keep_in_order(self._folder, self._clock, keep=self._keep, is_stopped=self._stop.is_set)
                self.error = None
            except (MloError, OSError) as error:
                self._fail(str(error))
            except Exception as error:  # noqa: BLE001 - a file that nobody foresaw must not end the upkeep of others
                self._fail(f"{type(error).__name__}: {error}")
            self._stop.wait(self._every_s)

    def _fail(self, reason: str) -> None:
        if self.error is None:
            _log.warning("the prediction log cannot be compacted; it is written and read all the same: %s", reason)
        self.error = reason
