"""A folder's tree made of files that are in the store already, without a folder in the work tree."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Union

from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import IntegrityError
from mlops_cli.core.store.tree import MAX_DEPTH, Editable, TreeEntry, encode, forbidden_name, item_of, totals

_Folder = dict[bytes, Union[TreeEntry, "_Folder"]]


def plant(store: Editable, items: Mapping[bytes, TreeEntry]) -> Entry:
    """The entry of a folder that holds `items` by their paths below it; its trees are put into the store.

    Raises IntegrityError for names that no tree may hold, and where one name is a file and a folder.
    """
    top: _Folder = {}
    for path, item in items.items():
        *folders, name = path.split(b"/")
        if len(folders) > MAX_DEPTH or any(forbidden_name(part) for part in (*folders, name)):
            raise IntegrityError(
                f"{os.fsdecode(path)!r} at the source is not a path that mlo writes", hint="do not use that source"
            )
        folder = top
        for part in folders:
            below = folder.setdefault(part, {})
            if not isinstance(below, dict):
                raise _twice(path)
            folder = below
        if name in folder:
            raise _twice(path)
        folder[name] = TreeEntry(name, item.mode, item.digest, item.size, item.files)
    return _keep(store, top)


def _keep(store: Editable, folder: _Folder) -> Entry:
    entries = [
        item if isinstance(item, TreeEntry) else item_of(_keep(store, item), name) for name, item in folder.items()
    ]
    return Entry(str(store.put_bytes(encode(entries, store.algorithm))), "dir", *totals(entries))


def _twice(path: bytes) -> IntegrityError:
    return IntegrityError(
        f"{os.fsdecode(path)!r} is a file and a folder at the source", hint="get the files one at a time"
    )
