"""Verifying the cache, and mending it: from the work tree, where the right bytes may stand, and from the remotes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

import msgspec

from mlops_cli.core.base.digest import Digest, digest_bytes
from mlops_cli.core.errors import MloError
from mlops_cli.core.store import placing
from mlops_cli.core.store.batch import unlink_all
from mlops_cli.core.store.exchange import may_pass
from mlops_cli.core.store.fsck import Bad, FsckReport, needed, report, scan
from mlops_cli.core.store.holdings import facts_folder
from mlops_cli.core.store.salvage import Aside, set_damaged_aside
from mlops_cli.core.store.snapshot import links_to_object, record, survey
from mlops_cli.core.store.transfer import pull_digests
from mlops_cli.core.workflows.remote import opened
from mlops_cli.core.workflows.workspace import Workspace


def verify_cache(workspace: Workspace, *, repair: bool = False) -> FsckReport:
    """Read every object of the cache through, and look for all that mlo.lock needs.

    With `repair`, what is damaged is set aside, and what is damaged or missing is brought back: from the files of the
    work tree that have the right bytes, then from each remote in turn. Raises MachineError.
    """
    store, entries = workspace.store, workspace.read_lock().entries
    found = scan(store, progress=workspace.progress)
    if not repair:
        return report(store, entries, found)
    with store.writing():
        aside = set_damaged_aside(store, found)
        # Before the repair: what was bad; after it, what was below folders that came back, too.
        before = report(store, entries, found)
        mended, notes = _mend(workspace, before)
        after, lying = needed(store, entries, lambda digest: store.has(Digest.parse(digest)))
    return _told(before, aside, mended, after, lying, notes)


def _told(
    before: FsckReport,
    aside: Aside,
    mended: dict[str, str],
    after: dict[str, list[str]],
    lying: list[Bad],
    notes: list[str],
) -> FsckReport:
    bad = [
        msgspec.structs.replace(item, aside=aside.objects.get(item.digest), mended=mended.get(item.digest))
        for item in before.bad
        if not item.problem.startswith("bad tree")
    ]
    known = {item.digest for item in bad}
    bad += [Bad(digest, "missing", [], None, source) for digest, source in mended.items() if digest not in known]
    bad += [Bad(digest, "missing", paths) for digest, paths in after.items() if digest not in known]
    bad += lying
    return msgspec.structs.replace(before, bad=bad, bad_packs=aside.packs, repair=True, notes=notes)


def _mend(workspace: Workspace, before: FsckReport) -> tuple[dict[str, str], list[str]]:
    """Where each object came back from, and what went wrong on the way."""
    store, entries = workspace.store, workspace.read_lock().entries
    mended: dict[str, str] = {}
    notes: list[str] = []
    wanted = {bad.digest: bad.paths for bad in before.bad if not bad.problem.startswith("bad tree")}
    for digest in wanted.keys() - store.missing(wanted):
        mended[digest] = "another copy in the cache"
    while lost := {digest: wanted[digest] for digest in store.missing(wanted.keys() - mended.keys())}:
        with store.batch():
            mended |= _from_work_tree(workspace, lost)
        came = _from_remotes(workspace, lost.keys() - mended.keys(), notes)
        mended |= came
        # A folder that came back may name more that is not here.
        below, _ = needed(store, entries, lambda digest: store.has(Digest.parse(digest)))
        if not below.keys() - wanted.keys():
            break
        wanted |= below
    return mended, list(dict.fromkeys(notes))


def _from_work_tree(workspace: Workspace, lost: dict[str, list[str]]) -> dict[str, str]:
    found = {}
    for digest, paths in lost.items():
        for path in paths:
            if _keep(workspace, digest, workspace.root / path):
                found[digest] = path
                break
    return found


def _keep(workspace: Workspace, digest: str, path: Path) -> bool:
    """Keep what stands at a path, if its digest is the one that is wanted."""
    store, name = workspace.store, Digest.parse(digest)
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            target = os.readlink(os.fsencode(path))
            if links_to_object(os.fsencode(path)) or digest_bytes(target, name.algorithm) != name:
                return False
            store.put_verified(name, target)
            return True
        if stat.S_ISDIR(status.st_mode):
            return _keep_folder(workspace, name, path)
        if not stat.S_ISREG(status.st_mode):
            return False
        return _keep_file(workspace, name, path, status.st_size)
    except (OSError, MloError):
        return False  # then a remote may have it


def _keep_folder(workspace: Workspace, name: Digest, path: Path) -> bool:
    if name.algorithm != workspace.store.algorithm:
        return False
    seen = survey(workspace.index, path, name.algorithm, progress=workspace.progress, fresh=True)
    if seen.entry.digest != str(name):
        return False
    return record(workspace.store, workspace.index, path, fresh=True).digest == str(name)


def _keep_file(workspace: Workspace, name: Digest, path: Path, size: int) -> bool:
    temporary = workspace.store.temporary()
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        good = placing.copy_in(handle, size, temporary, name.algorithm) == str(name)
    except BaseException:
        unlink_all([temporary])
        raise
    finally:
        os.close(handle)
    if good:
        workspace.store.adopt(temporary, name)
    else:
        unlink_all([temporary])
    return good


def _from_remotes(workspace: Workspace, lost: Iterable[str], notes: list[str]) -> dict[str, str]:
    """Ask every remote in turn, the default first, for what the ones before did not have."""
    left = set(lost)
    came: dict[str, str] = {}
    for name in sorted(workspace.project.remotes, key=lambda name: (name != "origin", name)):
        if not left:
            break
        try:
            there = opened(workspace, name)
            facts = facts_folder(workspace.paths.private, there)
            passing = sorted(digest for digest in left if may_pass(there, digest))
            pull_digests(workspace.store, there, passing, progress=workspace.progress, facts=facts)
        except MloError as error:
            notes.append(error.message)
        missing = workspace.store.missing(left)
        came |= dict.fromkeys(left - missing, f"remote {name}")
        left = missing
    return came
