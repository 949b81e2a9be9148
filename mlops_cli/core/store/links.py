"""Second names of files, and second copies that share their blocks, where the system can; what a link leads to."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import sys

from mlops_cli.core.base.digest import HEX_DIGITS

_FICLONE = 0x40049409  # linux/fs.h: _IOW(0x94, 9, int)
_NO_REFLINK: set[tuple[int, int]] = set()  # pairs of devices that answered no; asking each time costs a system call
_TO_OBJECT = re.compile(rb"/objects/(xxh128|blake3)/([0-9a-f]{2})/([0-9a-f]+)$")
_REFUSALS = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM, errno.EACCES}
NOT_LINKABLE = {errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}


def reflink(source: int, target: int) -> bool:
    """Make the open file `target` share the blocks of the open file `source`. False where that cannot be."""
    if not sys.platform.startswith("linux"):
        return False
    pair = (os.fstat(source).st_dev, os.fstat(target).st_dev)
    if pair in _NO_REFLINK:
        return False
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        _NO_REFLINK.add(pair)
        return False
    return True


def object_behind(link: bytes) -> str | None:
    """The digest of the object of a cache that a symbolic link points at, as a checkout makes it; None if at none."""
    match = _TO_OBJECT.search(os.readlink(link))
    if match is None:
        return None
    algorithm, hexadecimal = match[1].decode(), (match[2] + match[3]).decode()
    return f"{algorithm}:{hexadecimal}" if len(hexadecimal) == HEX_DIGITS[algorithm] else None
