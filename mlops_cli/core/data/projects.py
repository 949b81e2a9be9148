"""A path of another mlo project as a source: a git URL, a folder in git, or a project that no git knows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.base.progress import Progress
from mlops_cli.core.base.records import Entry
from mlops_cli.core.data.address import Address
from mlops_cli.core.data.elsewhere import CommitTree, Elsewhere, FolderTree, Tree
from mlops_cli.core.data.origin import State
from mlops_cli.core.data.repository import Repository, ask, quiet
from mlops_cli.core.errors import NotFound, RemoteError, UsageError
from mlops_cli.core.project.load import FILE_NAME
from mlops_cli.core.project.lock import SourceLock
from mlops_cli.core.store.checkout import restore
from mlops_cli.core.store.index import Index
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.snapshot import record


class ProjectOrigin:
    """Implements Origin. `held` is the entry as our store has it, so that little is fetched to follow it."""

    def __init__(
        self,
        address: Address,
        path: str,
        rev: str | None,
        *,
        scratch: Path,
        environ: Mapping[str, str],
        progress: Progress,
        held: Entry | None = None,
    ) -> None:
        self._address = address
        self._path = inner_path(path)
        self._rev = rev
        self._scratch = scratch
        self._environ = environ
        self._progress = progress
        self._held = held
        self._found: Elsewhere | None = None
        self._commit: str | None = None

    def look(self, before: SourceLock | None = None) -> State:
        repository, _, _ = self._place()
        if repository is not None and before is not None:
            tip = repository.tip(self._rev)
            if (tip or self._rev) == before.commit:
                return State(commit=before.commit)
        found = self._open()
        entry = found.part(self._other_store(found)) if found.is_entry else None
        return State(entry.digest if entry else None, entry.size if entry else None, self._commit)

    def bring(self, store: LocalStore) -> tuple[Entry, State]:
        found = self._open()
        if found.algorithm in (None, store.algorithm):
            entry = found.bring(store)
            return entry, State(entry.digest, entry.size, self._commit)
        other = self._other_store(found)
        if self._held is not None:  # what we have, by their algorithm, need not come again
            self._rewrite(store, other, self._held)
        there = found.bring(other)
        return self._rewrite(other, store, there), State(there.digest, there.size, self._commit)

    # -- inside --------------------------------------------------------------------------------------------

    def _open(self) -> Elsewhere:
        if self._found is None:
            repository, folder, prefix = self._place()
            tree: Tree
            if repository is not None:
                self._progress.note(f"reading {repository.shown}")
                self._commit = repository.fetch(self._rev)
                tree = CommitTree(repository, self._commit, folder)
            else:
                if self._rev is not None:
                    raise UsageError(f"{self._address.recorded} is not in git, so it has no --rev", hint="leave it out")
                tree = FolderTree(folder or Path(), self._address.recorded)
            path = "/".join(filter(None, [prefix, self._address.inner, self._path]))
            place = self._scratch / "elsewhere"
            place.mkdir(parents=True, exist_ok=True)
            self._found = Elsewhere(tree, path, scratch=place, progress=self._progress)
        return self._found

    def _place(self) -> tuple[Repository | None, Path | None, str]:
        """The repository, the folder its top is on this machine, and where in it the source lies."""
        address, scratch = self._address, self._scratch / "git"
        if address.folder is None:
            return Repository(address.url, scratch, self._environ, shown=address.recorded.partition("#")[0]), None, ""
        folder = address.folder
        if not folder.is_dir():
            raise NotFound(f"there is no folder {folder}", hint="write a folder or a git URL as the source")
        top = self._ask_git(folder, "rev-parse", "--show-toplevel")
        if not top:
            bare = self._ask_git(folder, "rev-parse", "--is-bare-repository") == "true"
            shown = address.recorded.partition("#")[0]
            return (
                (Repository(str(folder), scratch, self._environ, shown=shown), None, "") if bare else (None, folder, "")
            )
        prefix = folder.resolve().relative_to(Path(top).resolve()).as_posix()
        prefix = "" if prefix == "." else prefix
        ours = Path(address.inner) / FILE_NAME
        tracked = self._ask_git(folder, "ls-tree", "--name-only", "HEAD", "--", str(ours))
        if self._rev is None and not tracked and (folder / ours).is_file():
            return None, folder, ""  # in a folder that the repository around it does not track: it stands for itself
        return Repository(top, scratch, self._environ, shown=address.recorded.partition("#")[0]), Path(top), prefix

    def _ask_git(self, folder: Path, *question: str) -> str:
        try:
            said = ask(["git", "-C", str(folder), *question], quiet(self._environ), "git", {})
        except RemoteError:
            return ""
        return os.fsdecode(said).strip()

    def _other_store(self, found: Elsewhere) -> LocalStore:
        return LocalStore(self._scratch / "cache", found.algorithm or "xxh128")

    def _rewrite(self, source: LocalStore, target: LocalStore, entry: Entry) -> Entry:
        """Put an entry of one store into another, whose algorithm is another."""
        place = self._scratch / "files" / target.algorithm / "it"
        with machine_errors(f"cannot write {place}"):
            place.parent.mkdir(parents=True, exist_ok=True)
        index = Index(self._scratch / "index", root=self._scratch)
        restore(source, index, entry, place, force=True).raise_if_incomplete(self._path)
        return record(target, index, place, progress=self._progress, fresh=True)


def inner_path(text: str) -> str:
    """A path within another project, in one spelling. Raises UsageError if it leads out."""
    pure = PurePosixPath(os.path.normpath(text.replace("\\", "\0")))
    if not text.strip() or "\0" in str(pure) or pure.is_absolute() or ".." in pure.parts or str(pure) == ".":
        raise UsageError(f"{text!r} is no path in another project", hint="write it relative to that project")
    return pure.as_posix()
