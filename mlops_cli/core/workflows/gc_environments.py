"""What the pipeline keeps in a cache beside objects and results: environments, and locks of what is being computed."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mlops_cli.core.pipeline.environments_kept import remove, sweep_running, unused

STALE_S = 86_400.0  # after which a lock that nobody holds was left by a run that was killed


class Swept(msgspec.Struct, frozen=True):
    """Environments that nobody used for 30 days and nobody holds, and their bytes on the disk."""

    environments: int = 0
    bytes: int = 0


def sweep_environments(cache: Path, now: float, *, delete: bool) -> Swept:
    """Find them, and with `delete` remove them, and what killed runs left of their locks. `now` is Unix time."""
    gone = [item for item in unused(cache, now) if not delete or remove(cache, item.key, now)]
    if delete:
        sweep_running(cache, now - STALE_S)
    return Swept(len(gone), sum(item.bytes for item in gone))
