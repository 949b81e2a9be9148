"""Closed segments on their way to a remote: kept in a folder until the remote has them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_cli.core.errors import MloError
from mlops_cli.core.predictions.segment import SUFFIX

if TYPE_CHECKING:
    from mlops_cli.core.remotes.remote import Remote

PREFIX = "predictions/"
LONGEST_PAUSE_S = 60.0

_log = logging.getLogger(__name__)


class Outbox:
    """One thread that sends every segment of `folder` to `remote` and then removes it here.

    A remote that is away is tried again after 1, 2, 4 ... 60 seconds. A name is never written twice with other
    bytes, so that sending one again after a crash does no harm.
    """

    def __init__(self, folder: Path, remote: Remote, *, interval_s: float = 1.0) -> None:
        self._folder = folder
        self._remote = remote
        self._interval_s = interval_s
        self.error: str | None = None
        self._closing = threading.Event()
        self._wake = threading.Event()
        self._wake.set()  # a crash may have left segments behind
        self._thread = threading.Thread(target=self._run, name="prediction-outbox", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Segments that the remote does not have yet."""
        return sum(1 for _ in self._segments())

    def notify(self) -> None:
        self._wake.set()

    def close(self, timeout_s: float) -> None:
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout_s)

    def _segments(self) -> Iterator[Path]:
        return (path for path in sorted(self._folder.glob(f"*/*{SUFFIX}")) if not path.name.startswith("."))

    def _run(self) -> None:
        pause_s: float | None = None
        while True:
            if pause_s is None:
                self._wake.wait()
            else:  # new segments do not shorten the pause: the remote is as far away as it was
                self._closing.wait(pause_s)
            self._wake.clear()
            closing = self._closing.is_set()
            delivered = self._deliver()
            if closing:
                return
            pause_s = None if delivered else min((pause_s or self._interval_s / 2) * 2, LONGEST_PAUSE_S)

    def _deliver(self) -> bool:
        """Send everything; False at the first failure. A segment goes from here once the remote holds it for good."""
        sent = []
        try:
            for path in self._segments():
                try:
                    self._remote.put_file(f"{PREFIX}{path.parent.name}/{path.name}", path)
                except (MloError, OSError):
                    if path.exists():
                        raise
                    continue  # another server on this host shares the folder, and has sent it
                sent.append(path)
            if sent:
                self._remote.settle()
        except (MloError, OSError) as error:
            if self.error is None:
                _log.warning("remote %s is away; segments wait in %s: %s", self._remote.name, self._folder, error)
            self.error = str(error)
            return False
        for path in sent:
            path.unlink(missing_ok=True)
        if self.error is not None:
            _log.warning("remote %s is back; every waiting segment was sent", self._remote.name)
        self.error = None
        return True
