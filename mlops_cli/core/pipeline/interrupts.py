"""Being asked to end: what Ctrl-C, SIGTERM and SIGHUP do to a run that has processes and half-done work."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_TICK_S = 0.1
_AT_ONCE = 3  # so many signals leave everything as a kill -9 would


class Stop:
    """Asks everything that runs to end. Asked a second time, nobody gets the grace to end by itself.

    As the handler of signals it raises KeyboardInterrupt in the main thread, once, and not while that thread is
    `shielded` or ending: what ended is recorded whole, and the processes are gone before mlo is. A third signal
    raises whatever is going on; the next run then mends what this one left.
    """

    # Plain numbers, no locks and no Events: the handler may run in the midst of any of these methods.
    def __init__(self) -> None:
        self._asked = 0
        self._signals = 0
        self._shields = 0
        self._owes = False  # an interrupt came under a shield
        self._ending = False

    def ask(self) -> None:
        self._asked += 1

    @property
    def is_asked(self) -> bool:
        return self._asked > 0

    @property
    def is_hurried(self) -> bool:
        return self._asked > 1

    def pause(self, seconds: float) -> bool:
        """Sleep, unless or until it is asked; whether it was."""
        deadline = time.monotonic() + seconds
        while not self.is_asked and (left_s := deadline - time.monotonic()) > 0:
            time.sleep(min(left_s, _TICK_S))
        return self.is_asked

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """A signal came."""
        self._signals += 1
        self.ask()
        if self._signals >= _AT_ONCE:
            raise KeyboardInterrupt
        if self._ending:
            return
        if self._shields:
            self._owes = True
            return
        self._ending = True
        raise KeyboardInterrupt

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """No interrupt in here; one that came is raised at the end. Only for what does not take long."""
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1
        if self._owes and not self._shields and not self._ending:
            self._ending = True
            raise KeyboardInterrupt

    def end(self) -> None:
        """From now on signals only ask."""
        self._ending = True

    @property
    def is_ending(self) -> bool:
        return self._ending

    @property
    def leaves_at_once(self) -> bool:
        return self._signals >= _AT_ONCE


@contextmanager
def interruptible(stop: Stop) -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP interrupt by `stop`: by themselves the last two end mlo and leave its stages."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # Under nohup SIGHUP is ignored, and in the background of a script SIGINT; they stay so.
    numbers = [
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) not in (signal.SIG_IGN, None)
    ]
    before = {number: signal.signal(number, stop.interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
