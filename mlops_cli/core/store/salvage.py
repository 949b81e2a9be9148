"""Setting damaged files of a cache aside, with everything in them that is good kept. Nothing is deleted."""

from __future__ import annotations

import os
import struct
from array import array

import msgspec

from mlops_cli.core.base.digest import HEX_DIGITS, NUMBERS, Digest
from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.errors import IntegrityError
from mlops_cli.core.store.fsck import BadPack, Scan
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.pack import END_MAGIC, PackIndex, read_index
from mlops_cli.core.store.repack import Repacker, pieces

_TRAILER = struct.Struct("<I8s")
_HEADER_BYTES = 16


class Aside(msgspec.Struct):
    """Where the bytes of each damaged object went, and what became of each damaged pack."""

    objects: dict[str, str] = {}
    packs: list[BadPack] = []


def set_damaged_aside(store: LocalStore, found: Scan) -> Aside:
    """Move what a scan found damaged into the cache's quarantine; the good objects of bad packs go into new ones.

    Raises MachineError; whatever it is killed at, a good object is in one of the two packs.
    """
    aside = Aside(objects={}, packs=[])
    with store.writing():
        for digest in found.loose:
            where = store.quarantine(Digest.parse(digest))
            if where is not None:
                aside.objects[digest] = str(where)
        for name, problem in sorted(found.bad_packs.items()):
            pack = _salvage(store, name, problem)
            aside.packs.append(pack)
            for digest in found.packed.get(name, ()):
                aside.objects.setdefault(digest, pack.aside or "")
    return aside


def _salvage(store: LocalStore, name: str, problem: str) -> BadPack:
    path = store.packs.path(name)
    writer = Repacker(store)
    with machine_errors(f"cannot write to the cache {store.cache}"):
        try:
            index = _claims(path, name)
            # More bytes than the file has is what overlapping objects add up to.
            left = os.stat(path).st_size
            for piece in pieces(path, index) if index is not None else ():
                if piece.good and len(piece.data) <= left:
                    left -= len(piece.data)
                    writer.add(index.algorithm, piece.raw, piece.data)  # type: ignore[union-attr]
            writer.finish()
        except FileNotFoundError:
            writer.abandon()
            return BadPack(name, problem, mended=True)  # another mlo was here first
        except BaseException:
            writer.abandon()
            raise
        store.packs.damaged.pop(name, None)
        if name in writer.names:  # all of its objects were good, and lie in the same places of a sound file
            return BadPack(name, problem, writer.objects, mended=True)
        where = store.folder.set_aside(path, f"{name}.pack")
        store.packs.drop([name])
    return BadPack(name, problem, writer.objects, str(where) if where else None, mended=True)


def _claims(path: str, name: str) -> PackIndex | None:
    """What a pack says it holds, believed for the time being: each object is checked by its digest anyway."""
    try:
        return read_index(path, name)
    except IntegrityError:
        pass
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        header = file.read(_HEADER_BYTES)
        file.seek(max(size - _TRAILER.size, 0))
        trailer = file.read(_TRAILER.size)
        if len(trailer) != _TRAILER.size or trailer[4:] != END_MAGIC:
            return None
        length = _TRAILER.unpack(trailer)[0]
        start = size - _TRAILER.size - length
        if start < _HEADER_BYTES:
            return None
        file.seek(start)
        body = file.read(length)
    for algorithm, number in NUMBERS.items():
        index = _columns(body, algorithm)
        if index is not None and (header[8:9] == bytes([number]) or header[8:9] not in (b"\1", b"\2")):
            return index
    return None


def _columns(body: bytes, algorithm: str) -> PackIndex | None:
    width = HEX_DIGITS[algorithm] // 2
    count, rest = divmod(len(body) - 4, width + 9)
    if rest or count < 0 or struct.unpack_from("<I", body)[0] != count:
        return None
    columns = 4 + count * width
    numbers = struct.unpack_from(f"<{2 * count}I", body, columns)
    return PackIndex("", algorithm, body[4:columns], array("I", numbers[:count]), array("I", numbers[count:]))
