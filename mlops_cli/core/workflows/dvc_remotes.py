"""Objects from a DVC project's remotes, several at a time, into files that last as long as they are looked at."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.base.progress import Progress
from mlops_cli.core.data.dvc_config import DvcConfig, DvcRemote
from mlops_cli.core.data.dvc_files import ObjectName
from mlops_cli.core.data.dvc_objects import keys
from mlops_cli.core.errors import ExtraMissing, NotFound, ProjectError, RemoteError
from mlops_cli.core.project.schema import RemoteConfig
from mlops_cli.core.remotes.open import open_remote
from mlops_cli.core.remotes.remote import Remote

_AT_ONCE = 16
_BATCH = 64  # objects that lie in the scratch folder before they are looked at

Arrived = Iterator[tuple[ObjectName, Path]]


class DvcRemotes:
    """The remotes that hold objects by md5; opened when something is asked of them."""

    def __init__(self, root: Path, config: DvcConfig, progress: Progress) -> None:
        self._root = root
        self._progress = progress
        self._opened: dict[str, Remote] = {}
        self._named = {remote.name: remote for remote in config.remotes if not remote.versioned}
        first = config.default if config.default in self._named else next(iter(self._named), None)
        self._default = first

    @contextmanager
    def fetch(
        self, wanted: Mapping[ObjectName, str | None], what: str, *, scratch: Path | None = None
    ) -> Iterator[Arrived]:
        """The objects that were found, each in a file of its own in `scratch` (the system's folder for temporary
        files if None); `wanted` maps names to the remote to ask first.

        Raises RemoteError if the remote that should have them cannot be reached.
        """
        with machine_errors("cannot write temporary files"):
            if scratch is not None:
                scratch.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix="import-", dir=scratch))
        try:
            yield self._arriving(dict(wanted), folder, what)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _arriving(self, wanted: dict[ObjectName, str | None], folder: Path, what: str) -> Arrived:
        for name in self._named:  # each asked first for what it is the place of
            mine = [wish for wish, place in wanted.items() if (place or self._default) == name]
            yield from self._from(name, mine, wanted, folder, what, must=True)
        for name in self._named:
            yield from self._from(name, list(wanted), wanted, folder, what, must=False)

    def _from(
        self,
        name: str,
        wishes: list[ObjectName],
        wanted: dict[ObjectName, str | None],
        folder: Path,
        what: str,
        *,
        must: bool,
    ) -> Arrived:
        if not wishes:
            return
        try:
            remote = self._open(name)
            self._progress.begin(f"fetching {what} from DVC's remote {name}", len(wishes), "objects")
            try:
                with ThreadPoolExecutor(_AT_ONCE) as pool:
                    for start in range(0, len(wishes), _BATCH):
                        some = wishes[start : start + _BATCH]
                        for wish, place in zip(
                            some, pool.map(lambda wish: _get(remote, wish, folder), some), strict=True
                        ):
                            self._progress.advance()
                            if place is not None:
                                wanted.pop(wish, None)
                                yield wish, place
                                place.unlink(missing_ok=True)
            finally:
                self._progress.end()
        except RemoteError as error:
            if must:
                error.hint = f"{error.hint}; or take only what is here: mlo import dvc --local"
                raise
            self._progress.note(f"DVC's remote {name} was not asked: {error.message}")
        except ExtraMissing:
            if must:
                raise
        except ProjectError as error:  # no filesystem of that kind
            self._progress.note(f"DVC's remote {name} was not asked: {error.message}")

    def _open(self, name: str) -> Remote:
        if name not in self._opened:
            found: DvcRemote = self._named[name]
            config = RemoteConfig(url=found.reading_url, options=found.reading)
            self._opened[name] = open_remote(f"{name} of DVC", config, root=self._root)
        return self._opened[name]


def _get(remote: Remote, wish: ObjectName, folder: Path) -> Path | None:
    for key, _ in keys(wish):
        target = folder / key.replace("/", "-")
        try:
            remote.get_file(key, target)
        except NotFound:
            continue
        return target
    return None
