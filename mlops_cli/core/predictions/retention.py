"""Removing the days of a log that are older than its owner keeps. Only folders named as days, only files of the log."""

from __future__ import annotations

from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path

from mlops_cli.core.base.durable import fsync_folder
from mlops_cli.core.predictions.log_files import LABELS, SUFFIXES

_ONE_DAY = timedelta(days=1)


def remove_old(folder: Path, today: str, keep: timedelta) -> list[str]:
    """Remove the days that ended `keep` or longer before the newest closed day with predictions ended; their names.

    Counted from a day that has predictions and is over, not from the clock: a clock that is a year ahead for a moment
    removes nothing, and neither does a server that nobody asked for a year. Labels go a day after the predictions that
    they may belong to, which are never younger. Raises OSError.
    """
    found = days_of(folder)
    closed = [day for day, path in found.items() if day < today and any(_files(path))]
    if not closed:
        return []
    limit = date.fromisoformat(max(closed)) - keep  # whole days: an hour keeps the newest one
    old = limit.isoformat() if keep >= _ONE_DAY else (date.fromisoformat(max(closed)) - _ONE_DAY).isoformat()
    removed = [day for day, path in found.items() if day <= old and _remove(path)]
    before = (date.fromisoformat(old) - _ONE_DAY).isoformat()
    labels = folder / LABELS
    removed += [f"{LABELS}/{day}" for day, path in days_of(labels).items() if day <= before and _remove(path)]
    return removed


def days_of(folder: Path) -> dict[str, Path]:
    """The folders of days, in order. A link is none: what lies behind it is somebody else's."""
    found = {}
    for path in sorted(folder.glob("????-??-??")):
        with suppress(ValueError):
            if date.fromisoformat(path.name).isoformat() == path.name and path.is_dir() and not path.is_symlink():
                found[path.name] = path
    return found


def _files(day: Path) -> list[Path]:
    return [path for path in day.iterdir() if path.name.endswith(SUFFIXES) and path.is_file()]


def _remove(day: Path) -> bool:
    """Remove the log's own files, and the folder if nothing else is in it. Whether there was any."""
    own = _files(day) + [path for path in day.glob(".*.tmp") if path.is_file()]
    for path in own:
        path.unlink(missing_ok=True)
    with suppress(OSError):  # somebody keeps a file of theirs in it
        day.rmdir()
    fsync_folder(str(day.parent))
    return bool(own) or not day.exists()
