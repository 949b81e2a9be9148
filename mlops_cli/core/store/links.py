"""Ways to give a file a second name or a second copy that shares its blocks, where the system can."""

from __future__ import annotations

import errno
import fcntl
import os
import sys

_FICLONE = 0x40049409  # linux/fs.h: _IOW(0x94, 9, int)
_NO_REFLINK: set[tuple[int, int]] = set()  # pairs of devices that answered no; asking each time costs a system call
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
