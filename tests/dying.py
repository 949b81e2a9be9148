"""Processes whose coverage is not measured: those that a test kills at every step in turn, and plays of whole demos."""

from __future__ import annotations

import gc
import os
import sys
import threading


def fork() -> int:
    """As os.fork, for a child that is killed: what it measures of coverage would be lost with it, and is slow."""
    child = os.fork()
    if child == 0:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]
        gc.freeze()  # looking through all that the parent holds would copy it
    return child


def unmeasured() -> dict[str, str]:
    """The environment without coverage's instruction to measure."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
