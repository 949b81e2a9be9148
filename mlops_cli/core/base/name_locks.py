"""Any number of names held through one open file: each is a byte of it, which the kernel locks."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path

from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.errors import Locked

_MOST = 2000  # names; who wants more takes all there are
_FLOCK = "hhqqi4x"  # type, whence, start, length (0: to the end), pid
_LOOK_S = (0.01, 0.2)  # between two looks: at first, and at most


@contextlib.contextmanager
def hold_names(
    path: Path,
    names: Mapping[str, bool],
    *,
    wait: bool = True,
    waiting: Callable[[str], None] | None = None,
    given_up: Callable[[], bool] | None = None,
) -> Iterator[None]:
    """Hold each name, alone where it says True, else among others; the kernel frees them when the process dies.

    Raises Locked if not `wait`. `waiting` is called once with a name that is held by another; `given_up`, asked again
    and again meanwhile, ends the wait with a KeyboardInterrupt. Only Linux has such locks: elsewhere nothing is held.
    """
    if not sys.platform.startswith("linux") or not names:
        yield
        return
    with machine_errors(f"cannot lock {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        for (start, length), (name, alone) in _ranges(names).items():
            _take(handle, start, length, name, alone, wait=wait, waiting=waiting, given_up=given_up)
        yield
    finally:
        # Said, not left to the close: a process that another thread starts right now has a copy of the handle.
        with contextlib.suppress(OSError):
            fcntl.fcntl(handle, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))
        os.close(handle)


def _ranges(names: Mapping[str, bool]) -> dict[tuple[int, int], tuple[str, bool]]:
    """Start and length -> a name and whether it is held alone, in one order for all, so that no two wait for each
    other."""
    if len(names) > _MOST:
        return {(0, 0): (f"{min(names)} and {len(names) - 1} more", any(names.values()))}
    bytes_: dict[tuple[int, int], tuple[str, bool]] = {}
    for name, alone in names.items():
        start = int.from_bytes(sha256(name.encode()).digest()[:6], "big")
        bytes_[start, 1] = (name, alone or bytes_.get((start, 1), ("", False))[1])
    return dict(sorted(bytes_.items()))


def _take(
    handle: int,
    start: int,
    length: int,
    name: str,
    alone: bool,
    *,
    wait: bool,
    waiting: Callable[[str], None] | None,
    given_up: Callable[[], bool] | None,
) -> None:
    wanted = struct.pack(_FLOCK, fcntl.F_WRLCK if alone else fcntl.F_RDLCK, os.SEEK_SET, start, length, 0)
    pause = _LOOK_S[0]
    while True:
        try:
            with machine_errors(f"cannot lock {name}"):
                fcntl.fcntl(handle, fcntl.F_OFD_SETLK, wanted)
        except BlockingIOError:
            if not wait:
                raise Locked(
                    f"{name} is held by another mlo", hint="wait for it, or leave out --no-wait to queue behind it"
                ) from None
        else:
            return
        if waiting is not None:
            waiting(name)
            waiting = None
        if given_up is not None and given_up():
            raise KeyboardInterrupt
        time.sleep(pause)
        pause = min(2 * pause, _LOOK_S[1])
