"""Whether a process still lives, even when its number has been given to another since."""

from __future__ import annotations

import os
from pathlib import Path


def born(pid: int) -> str:
    """A text that differs between two processes of one number: the kernel's start time, where /proc tells it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # The name of the process stands in brackets and may hold anything; field 22 counts from behind it.
    return stat.rpartition(")")[2].split()[19]


def is_alive(pid: int, birth: str = "") -> bool:
    """Whether process `pid` of this host lives; with `birth`, whether it is still the same one."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it lives, and is someone else's
    if _is_zombie(pid):
        return False
    return not birth or born(pid) in {"", birth}


def _is_zombie(pid: int) -> bool:
    """A process that ended and that its parent has not asked about yet."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] in {"Z", "X"}
