"""Making written files survive a power cut, in as few flushes as the number of files allows."""

from __future__ import annotations

import functools
import os
import stat
import sys
from collections.abc import Callable, Collection
from pathlib import Path

_WRITE = 2  # linux/fs.h: SYNC_FILE_RANGE_WRITE
FEW = 32  # up to here one fsync a file is faster than flushing the whole file system


def fsync_file(path: str) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fsync_folder(path: str) -> None:
    """Make renames and links in a folder survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folders(path: str) -> None:
    """Make a folder and those above it, durable. Below a folder that its group may write, so may the group here."""
    above = os.path.dirname(path)
    if not os.path.isdir(above):
        make_folders(above)
    try:
        os.mkdir(path)
    except FileExistsError:
        return
    mode = os.stat(above).st_mode
    if mode & stat.S_IWGRP:
        os.chmod(path, stat.S_IMODE(mode))
    fsync_folder(above)


def sync_files(paths: Collection[str], below: Path) -> None:
    """Make the bytes of files below a folder durable: one fsync each if they are few, else one syncfs."""
    if len(paths) <= FEW or not _sync_filesystem(below):
        for path in paths:
            fsync_file(path)


def sync_folders(folders: Collection[str], below: Path) -> None:
    """Make the names in folders below a folder durable, likewise."""
    if len(folders) <= FEW or not _sync_filesystem(below):
        for path in folders:
            fsync_folder(path)


def sync_tree(folder: Path) -> None:
    """Make everything below a folder durable, by flushing the file system it lies on."""
    if not _sync_filesystem(folder):
        os.sync()


def _sync_filesystem(folder: Path) -> bool:
    """Linux's syncfs(2), which reports write errors; False where there is none."""
    syncfs = _syncfs()
    if syncfs is None:
        return False
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return syncfs(handle) == 0
    finally:
        os.close(handle)


def begin_flush(handle: int, start: int, length: int) -> None:
    """Have the kernel begin to write a piece of a file to the disk, so that an fsync at the end waits for little.

    Linux's sync_file_range(2). It promises nothing, and where there is none nothing is lost but time.
    """
    begin = _sync_file_range()
    if begin is not None:
        begin(handle, start, length, _WRITE)


@functools.cache
def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    library = ctypes.CDLL(None)
    if not hasattr(library, "sync_file_range"):
        return None
    function = library.sync_file_range
    function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return function


@functools.cache
def _syncfs() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    return library.syncfs if hasattr(library, "syncfs") else None
