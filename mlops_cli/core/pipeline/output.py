"""What a process prints: all of it goes into its log, and to who listens as fast as they read."""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import BinaryIO

from mlops_cli.core.pipeline.interrupts import Stop
from mlops_cli.core.pipeline.masking import Mask

DRAIN_S = 1.0  # for output of those who are not of the group, once nobody of it is left
_PIPE = 1 << 20  # no pipe holds more, so whoever has read as much has what was in it
_AHEAD = 1 << 20  # bytes that the log may be ahead of who listens, while the process runs
_BLOCK = 1 << 16
_TICK_S = 0.2

Echo = Callable[[bytes], None]


class Output:
    """Reads a pipe in a thread, and passes on what it held in another: who listens may stop reading for as long as
    they like, and the log misses nothing."""

    def __init__(self, pipe: BinaryIO, log: BinaryIO, echo: Echo | None, mask: Mask) -> None:
        self._pipe = pipe
        self._log: BinaryIO | None = log
        self._echo = echo
        self._mask = mask
        self._ended_at: float | None = None  # when nobody of the group was left
        self._logged = threading.Event()  # the log has all that it gets
        self._turn = threading.Condition()
        self._blocks: deque[bytes] = deque()  # for who listens; an empty one is the end
        self._ahead = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._speaker = threading.Thread(target=self._speak, daemon=True) if echo is not None else None

    def start(self) -> None:
        """Raises RuntimeError if the system has no thread left."""
        self._reader.start()
        if self._speaker is not None:
            self._speaker.start()

    def finish(self, stop: Stop) -> None:
        """Nobody of the group is left: wait until the log has all, and who listens, too, unless `stop` is asked."""
        with self._turn:
            self._ended_at = time.monotonic()
            self._turn.notify_all()
        self._logged.wait()
        begun = time.monotonic()
        while self._speaker is not None and self._speaker.is_alive():
            if stop.is_asked and time.monotonic() - begun > DRAIN_S:
                return
            self._speaker.join(_TICK_S)

    def _read(self) -> None:
        # Whoever reads closes: a process that fled its group may keep the pipe open for longer than anybody waits.
        with self._pipe as pipe:
            try:
                self._read_log(pipe.fileno())
            finally:
                self._pass_on(self._mask.rest())
                self._tell(b"")
                self._logged.set()
            while _next(pipe.fileno()):
                pass  # it must not die of a pipe that nobody reads

    def _read_log(self, handle: int) -> None:
        """Until the end of the pipe, or until all that the group can have left in it is read."""
        ready = select.poll()
        ready.register(handle, select.POLLIN)
        after_end = 0
        while True:
            waiting = ready.poll(_TICK_S * 1000)
            since = self._ended_at
            if since is not None and time.monotonic() - since > DRAIN_S and (not waiting or after_end >= _PIPE):
                return
            if not waiting:
                continue
            block = _next(handle)
            if not block:
                return
            after_end += len(block) if since is not None else 0
            self._pass_on(self._mask.feed(block))

    def _pass_on(self, block: bytes) -> None:
        if not block:
            return
        # A full disk or a closed terminal must not stop the reading: the stage would block on a full pipe.
        try:
            if self._log is not None:
                self._log.write(block)
        except (OSError, ValueError):
            self._log = None
        self._tell(block)

    def _tell(self, block: bytes) -> None:
        with self._turn:
            if self._echo is not None:
                self._turn.wait_for(lambda: self._ahead < _AHEAD or self._ended_at is not None or self._echo is None)
                self._blocks.append(block)
                self._ahead += len(block)
                self._turn.notify_all()

    def _speak(self) -> None:
        while True:
            with self._turn:
                self._turn.wait_for(lambda: self._blocks)
                block = self._blocks.popleft()
            if not block:
                return
            try:
                if self._echo is not None:
                    self._echo(block)
            except (OSError, ValueError):
                self._echo = None
            with self._turn:
                self._ahead -= len(block)
                self._turn.notify_all()
            if self._echo is None:
                return


def _next(handle: int) -> bytes:
    try:
        return os.read(handle, _BLOCK)
    except OSError:
        return b""
