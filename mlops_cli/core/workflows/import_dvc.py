"""`mlo import dvc`: a DVC project becomes an mlo project, in place, and stays a DVC project as well.

DVC's files are read and never written. What is decided here, and why, stands in core/data/DVC.md.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from mlops_cli.core.base.files import machine_errors, safe_join, write_atomic
from mlops_cli.core.base.progress import Progress
from mlops_cli.core.base.records import Entry
from mlops_cli.core.data.dvc_project import find_dvc_root, read_project
from mlops_cli.core.data.dvc_render import ignore_text
from mlops_cli.core.data.dvc_stages import Left, followed_url
from mlops_cli.core.data.ignore import edit_ignored, ignores_private
from mlops_cli.core.project.lock import Lock, SourceLock, StageLock
from mlops_cli.core.store.checkout import Wanted, restore_all
from mlops_cli.core.workflows.dvc_content import Brought, Contents
from mlops_cli.core.workflows.dvc_plan import DataRow, Imported, Plan, StageRow
from mlops_cli.core.workflows.dvc_remotes import DvcRemotes
from mlops_cli.core.workflows.dvc_results import NotHonest, frozen_lock, stage_lock
from mlops_cli.core.workflows.workspace import Workspace


def import_dvc(
    start: Path,
    environ: Mapping[str, str],
    *,
    dry_run: bool = False,
    force: bool = False,
    local: bool = False,
    environment: str | None = None,
    command_line: str = "mlo",
    progress: Progress,
) -> Imported:
    """Import the DVC project at or above `start`. `local` asks no remote.

    Raises NotFound if there is none, ProjectError for one that DVC itself would not read, IntegrityError for one that
    would do harm, WouldOverwrite if mlo.yaml is there and not `force`; nothing is written then.
    """
    root = find_dvc_root(start)
    plan = Plan(read_project(root), environ, environment, force=force, dry_run=dry_run)
    workspace = Workspace(root, plan.project, plan.settings, environ, command_line=command_line, progress=progress)
    remotes = None if local or dry_run else DvcRemotes(root, plan.dvc.config, progress)
    contents = Contents(workspace, plan.caches, remotes)
    contents.read_manifests(out for _, out in plan.outs)
    for _, out in plan.outs:
        contents.files(out)  # refuses hostile lists before anything is written
    if dry_run:
        return plan.foreseen(contents)
    # What comes must be named in mlo.lock before a collection of garbage may look.
    with workspace.store.writing(), workspace.exclusive():
        return _Import(workspace, plan, contents, force=force).run()


class _Marker(msgspec.Struct, frozen=True):
    """`.mlo/import.json`, while an import puts data into the work tree; see core/data/DVC.md."""

    version: int
    absent: list[str]


class _Import:
    """Writes what was planned: objects first, mlo.lock last."""

    def __init__(self, workspace: Workspace, plan: Plan, contents: Contents, *, force: bool) -> None:
        self._workspace = workspace
        self._plan = plan
        self._contents = contents
        self._force = force
        self._written: list[str] = []
        self._copies: list[str] = []
        self._left = list(plan.left)
        self._marker = workspace.paths.private / "import.json"
        self._absent: set[str] = set()

    def run(self) -> Imported:
        self._write_ignores()  # before the index looks at anything
        brought = {item.path: item for item in self._contents.bring(self._plan.outs)}
        for place, name in sorted(self._contents.bad.items()):
            where = os.path.relpath(place, self._plan.root) if os.path.isabs(place) else place
            self._left.append(Left(where, f"its bytes do not have the md5 {name.md5}", "remove it, then dvc fetch"))
        before = self._workspace.read_lock()
        data, kept = self._data(before, brought)
        self._begin_checkout(brought)
        checked_out = self._check_out(brought, data)
        locks, rows = self._results(brought, checked_out)
        stages = {name: lock for name, lock in before.stages.items() if name in self._plan.graph.nodes}
        # DVC's results hold for what stands here now; of mlo's own that is only known of those with the same key.
        stages |= {name: lock for name, lock in locks.items() if name not in stages or stages[name].key != lock.key}
        outs = {path for node in self._plan.graph.nodes.values() for path in node.outs}
        data = {path: entry for path, entry in data.items() if path not in outs}
        self._write(before, Lock(data=data, stages=stages, sources=self._sources(before, data)))
        self._marker.unlink(missing_ok=True)
        lacking = {item.path for item in self._plan.data} - kept  # outputs of stages can be made again, but of frozen
        lacking |= {path for stage in self._plan.stages if stage.frozen for path in stage.outs}
        return self._plan.answer(
            written=self._written,
            copies=self._copies,
            data=self._rows(brought, kept, checked_out),
            stages=rows,
            left=self._left,
            missing=[path for name in brought if name in lacking for path in brought[name].missing],
            damaged=[path for name in brought if name in lacking for path in brought[name].damaged],
        )

    # -- mlo.lock ------------------------------------------------------------------------------------------

    def _data(self, before: Lock, brought: Mapping[str, Brought]) -> tuple[dict[str, Entry], set[str]]:
        data, kept = dict(before.data), set()
        for item in self._plan.data:
            entry = brought[item.path].entry
            known = before.data.get(item.path)
            if known is not None and entry is None:
                kept.add(item.path)
            elif known is not None and known != entry and not self._force:
                kept.add(item.path)
                self._left.append(
                    Left(item.path, "mlo.lock has another version of it already, which stays", "--force takes DVC's")
                )
            elif entry is not None:
                data[item.path] = entry
        return data, kept

    def _sources(self, before: Lock, data: Mapping[str, Entry]) -> dict[str, SourceLock]:
        """What `dvc import-url` brought can be followed by `mlo data update`."""
        sources = {path: source for path, source in before.sources.items() if path in data}
        for item in self._plan.data:
            url = followed_url(item.origin)
            if url is not None and item.path in data and item.path not in sources:
                sources[item.path] = SourceLock(url, data[item.path].digest, data[item.path].size)
        return sources

    def _results(
        self, brought: Mapping[str, Brought], checked_out: set[str]
    ) -> tuple[dict[str, StageLock], list[StageRow]]:
        entries = {
            path: (out.name, item.entry) for path, out in self._plan.outs if (item := brought[path]).entry is not None
        }
        locks: dict[str, StageLock] = {}
        rows: list[StageRow] = []
        waiting: list[Wanted] = []
        for carried in self._plan.stages:
            node = self._plan.graph.nodes[carried.name]
            try:
                lock = stage_lock(self._workspace, carried, node, entries, self._contents.standing_digest)
            except NotHonest as reason:
                frozen = frozen_lock(carried, node, entries)
                if frozen is None:
                    state: Any = "frozen" if carried.frozen else "will run"
                    rows.append(StageRow(carried.name, state, str(reason)))
                    continue
                lock = frozen
            locks[carried.name] = lock
            rows.append(StageRow(carried.name, "frozen" if carried.frozen else "up to date"))
            for path, entry in lock.outs.items():
                if path in self._absent:
                    waiting.append(Wanted(entry, self._workspace.root / path))
                    checked_out.add(path)
                elif brought[path].links:
                    self._place_links(brought[path])
                    checked_out.add(path)
                else:
                    self._workspace.index.hold(self._workspace.root / path, entry)
        self._restore(waiting)
        return locks, rows

    # -- the work tree -------------------------------------------------------------------------------------

    def _begin_checkout(self, brought: Mapping[str, Brought]) -> None:
        """Note what is not there before any of it is: an import that died half-way is completed by the next one."""
        self._absent = {path for path, item in brought.items() if item.absent}
        try:
            known = msgspec.json.decode(self._marker.read_bytes(), type=_Marker)
            self._absent |= set(known.absent) & brought.keys()
        except (FileNotFoundError, msgspec.DecodeError):
            pass
        if self._absent:
            write_atomic(self._marker, msgspec.json.encode(_Marker(1, sorted(self._absent))))

    def _check_out(self, brought: Mapping[str, Brought], data: Mapping[str, Entry]) -> set[str]:
        """Put data where none stands, and real files where there are links into DVC's cache."""
        done: set[str] = set()
        waiting: list[Wanted] = []
        for item in self._plan.data:
            found = brought[item.path]
            entry = data.get(item.path)
            if entry is None or entry != found.entry:
                continue
            place = self._workspace.root / item.path
            if item.path in self._absent:
                waiting.append(Wanted(entry, place))
                done.add(item.path)
            elif found.links:
                self._place_links(found)
                done.add(item.path)
            else:
                self._workspace.index.hold(place, entry)
        self._restore(waiting)
        return done

    def _restore(self, waiting: Sequence[Wanted]) -> None:
        workspace = self._workspace
        link = workspace.project.cache.link
        restore_all(workspace.store, workspace.index, waiting, link=link, progress=workspace.progress)

    def _place_links(self, found: Brought) -> None:
        """The bytes are in both caches by now, so a link loses nothing by becoming a file."""
        store, link = self._workspace.store, self._workspace.project.cache.link
        for path, digest in found.links.items():
            store.copy_to(Entry(digest, "file", 0).name, safe_join(self._workspace.root, path), link=link)

    # -- files ---------------------------------------------------------------------------------------------

    def _write_ignores(self) -> None:
        for file in self._plan.dvc.ignores:
            target, data = ignore_text(self._plan.dvc, file)
            place = self._workspace.root / target
            if place.exists():
                if place.read_bytes() != data:
                    self._left.append(Left(file, f"{target} exists already, and says something else", "merge them"))
                continue
            write_atomic(place, data)
            self._written.append(target)

    def _write(self, before: Lock, lock: Lock) -> None:
        workspace, paths = self._workspace, self._workspace.paths
        workspace.index.save()
        private = [] if ignores_private(workspace.root) else [paths.private.name]
        uncached = {path for stage in self._plan.stages for path, out in stage.outs.items() if not out.cache}
        if edit_ignored(workspace.root, add=[*(path for path in lock.entries if path not in uncached), *private]):
            self._written.append(".gitignore")
        self._replace(paths.config, self._plan.text.encode())
        if before != lock and paths.lock.exists() and self._force:
            self._keep_copy(paths.lock)
        if before != lock or not paths.lock.exists():
            self._written.append(paths.lock.name)
        workspace.write_lock(lock)

    def _replace(self, path: Path, data: bytes) -> None:
        if path.exists():
            if path.read_bytes() == data:
                return
            self._keep_copy(path)
        write_atomic(path, data)
        self._written.append(path.name)

    def _keep_copy(self, path: Path) -> None:
        """The user's file under another name; nothing is ever replaced by a copy."""
        number = 1
        while os.path.lexists(copy := path.with_name(f"{path.name}.{number}.bak")):
            number += 1
        with machine_errors(f"cannot write {copy}"):
            write_atomic(copy, path.read_bytes())
        self._copies.append(copy.name)

    def _rows(self, brought: Mapping[str, Brought], kept: set[str], checked_out: set[str]) -> list[DataRow]:
        rows = []
        for path, item in brought.items():
            entry = item.entry
            state: Any = "imported" if entry else "damaged" if item.damaged else "missing"
            rows.append(
                DataRow(
                    path,
                    "kept" if path in kept else state,
                    files=entry.files if entry else sum(item.places.values()),
                    size=entry.size if entry else 0,
                    digest=entry.digest if entry else None,
                    places=item.places,
                    checked_out=path in checked_out,
                    modified=item.differs,
                    stage=self._plan.maker(path),
                )
            )
        return rows
