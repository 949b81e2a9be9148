"""Locks, trees and packs that somebody made to do harm: refused with exit 7, at once, with nothing written outside."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import Mlo
from data_project import lay_out
from forked_commands import run_each

from mlops_cli.core.base.digest import digest_bytes
from mlops_cli.core.base.records import Entry
from mlops_cli.core.project.lock import Lock, write_lock
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.tree import DIR, FILE, LINK

LIMIT_BYTES = 1 << 30
HOOK = b"#!/bin/sh\necho owned\n"


@pytest.fixture
def project(here: Path) -> Path:
    lay_out(here)
    shutil.rmtree(here / "data")
    return here


def row(name: bytes, digest: str, *, mode: int = FILE, size: int = len(HOOK), files: int = 1) -> bytes:
    return struct.pack("<BHQQ", mode, len(name), size, files) + bytes.fromhex(digest.partition(":")[2]) + name


def tree(*rows: bytes, count: int | None = None) -> bytes:
    return struct.pack("<7sBBI", b"MLOTREE", 1, 1, len(rows) if count is None else count) + b"".join(rows)


def keep(project: Path, data: bytes) -> str:
    return str(LocalStore(project / ".mlo/cache", "xxh128").put_bytes(data))


def lock(project: Path, data: bytes, *, size: int = len(HOOK), files: int = 1) -> None:
    """mlo.lock with the folder `data`, whose tree object is these bytes, here and on the remote."""
    digest = keep(project, data)
    write_lock(project / "mlo.lock", Lock(data={"data": Entry(digest, "dir", size, files)}))
    for path in (project / ".mlo/cache/objects").rglob("*"):
        if path.is_file():
            target = project.parent / "far" / path.relative_to(project / ".mlo/cache")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    (project.parent / "far/VERSION").write_text("2\n")


def everything_outside(project: Path) -> list[str]:
    far = str(project.parent / "far")
    return sorted(
        os.path.join(place, name)
        for place, folders, files in os.walk(project.parent)
        for name in folders + files
        if name != ".mlo" and not place.startswith((far, str(project / ".mlo")))
    )


def limited(*lines: str) -> Iterator[tuple[str, subprocess.CompletedProcess[str]]]:
    """`mlo data` with each of these words, within a gibibyte."""
    return zip(lines, run_each([f"data {line}" for line in lines], LIMIT_BYTES), strict=True)


READERS = ["checkout", "checkout --force", "checkout --dry-run", "pull --force", "fetch", "fsck", "list -R", "gc --yes"]
OTHERS = ["status", "status --remote", "du", "push"]


def refused(project: Path, readers: list[str] = READERS) -> None:
    """Every command that follows the tree says so and ends, within a gibibyte, and leaves the disk as it was."""
    before = everything_outside(project)
    for words, done in limited(*readers, *OTHERS):
        codes = {0, 3, 7} if words in OTHERS else {7}
        assert done.returncode in codes, (words, done.stdout, done.stderr)
        assert "bug in mlo" not in done.stderr
    assert everything_outside(project) == before


@pytest.mark.parametrize("name", [b"..", b"../../x", b"/etc/x", b"a/b", b".GIT", b".mlo", b"a\0b", b""], ids=ascii)
def test_a_tree_that_names_what_lies_elsewhere(project: Path, name: bytes) -> None:
    lock(project, tree(row(name, keep(project, HOOK))))
    refused(project)


def nested(project: Path, levels: int, width: int) -> tuple[str, int]:
    """A folder of `width` times the same folder, so many levels deep; its digest, and the files it claims."""
    digest, files = keep(project, tree()), 0
    for _ in range(levels):
        rows = [row(b"%d" % number, digest, mode=DIR, size=0, files=files) for number in range(width)]
        digest, files = keep(project, tree(*rows)), files * width
    return digest, files


def test_a_few_trees_that_stand_for_a_trillion_folders(project: Path) -> None:
    digest, _ = nested(project, 20, 4)
    inner = row(b"bomb", digest, mode=DIR, size=0, files=0)
    lock(project, tree(inner, row(b"file", keep(project, HOOK))))
    refused(project, ["checkout", "pull --force", "list -R"])


def test_a_folder_in_a_folder_without_end(project: Path) -> None:
    digest, _ = nested(project, 300, 1)
    lock(project, tree(row(b"deep", digest, mode=DIR, size=0, files=0)), size=0, files=0)
    refused(project, ["checkout", "pull --force", "fsck", "list -R"])


@pytest.mark.parametrize(
    ("content", "size", "files"),
    [
        (lambda digest: tree(row(b"f", digest), count=2**32 - 1), len(HOOK), 1),
        (lambda digest: tree(row(b"f", digest, size=2**63)), len(HOOK), 1),
        (lambda digest: tree(row(b"f", digest, files=2**63)), len(HOOK), 1),
        (lambda digest: tree(row(b"f", digest)), 2**62, 2**62),
        (lambda digest: tree(row(b"f", digest))[:-1], len(HOOK), 1),
        (lambda digest: tree(row(b"f", digest)) + b"x", len(HOOK), 1),
        (lambda digest: tree(row(b"f", digest), row(b"f", digest)), 2 * len(HOOK), 2),
    ],
    ids=["count", "size", "files", "lock", "short", "long", "twice"],
)
def test_numbers_that_lie(project: Path, content: Callable[[str], bytes], size: int, files: int) -> None:
    lock(project, content(keep(project, HOOK)), size=size, files=files)
    refused(project, ["checkout", "pull --force", "fsck"])


def test_a_link_is_not_followed_when_the_next_version_has_a_folder_there(project: Path, mlo: Mlo) -> None:
    outside = project.parent / "outside"
    outside.mkdir()
    inner = keep(project, tree(row(b"post-checkout", keep(project, HOOK))))
    target = keep(project, os.fsencode(outside))
    lock(
        project, tree(row(b"hooks", target, mode=LINK, size=len(os.fsencode(outside)))), size=len(os.fsencode(outside))
    )
    mlo("data", "checkout")
    assert (project / "data/hooks").is_symlink()
    lock(project, tree(row(b"hooks", inner, mode=DIR)))
    mlo("data", "checkout")
    assert list(outside.iterdir()) == []
    assert not (project / "data/hooks").is_symlink()
    assert (project / "data/hooks/post-checkout").read_bytes() == HOOK


def hostile_idx(rows: list[tuple[bytes, int, int]], pack_bytes: int) -> tuple[str, bytes]:
    raws, offsets, lengths = zip(*rows, strict=True)
    body = struct.pack("<I", len(rows)) + b"".join(raws)
    body += struct.pack(f"<{len(rows)}I", *offsets) + struct.pack(f"<{len(rows)}I", *lengths) + bytes(len(rows))
    return digest_bytes(body, "xxh128").hex, struct.pack("<7sBB7xQ", b"MLOPIDX", 1, 1, pack_bytes) + body


@pytest.mark.parametrize(
    "rows",
    [
        [(0, 16, 2**32 - 1)],
        [(0, 2**32 - 1, 2**32 - 1)],
        [(number, 16, 2**31) for number in range(50)],
        [(0, 0, 50)],
        [(0, 16, 3)],
        [(0, 16, 60)],
    ],
    ids=["length", "offset", "bomb", "header", "other bytes", "past the end"],
)
def test_a_pack_on_a_remote_that_lies(project: Path, mlo: Mlo, rows: list[tuple[int, int, int]]) -> None:
    """It claims to hold a tree that mlo.lock names; what it gives is verified, and no more is read than it has."""
    wanted = digest_bytes(tree(row(b"f", str(digest_bytes(HOOK, "xxh128")))), "xxh128")
    write_lock(project / "mlo.lock", Lock(data={"data": Entry(str(wanted), "dir", len(HOOK), 1)}))
    raw = int(wanted.hex, 16)
    named = sorted(((raw + number) % 2**128).to_bytes(16, "big") for number, _, _ in rows)
    for pack_bytes in (100, 2**63):
        name, idx = hostile_idx([(n, at, length) for n, (_, at, length) in zip(named, rows, strict=True)], pack_bytes)
        packs = project.parent / "far/packs"
        packs.mkdir(exist_ok=True)
        (project.parent / "far/VERSION").write_text("2\n")
        (packs / f"{name}.pack").write_bytes(struct.pack("<7sBB7x", b"MLOPACK", 1, 1) + b"x" * 84)
        (packs / f"{name}.idx").write_bytes(idx)
        *both, (_, checkout) = limited("pull --force", "fetch", "checkout")
        for words, done in both:
            assert done.returncode == 7, (words, done.stderr)
            assert "damaged" in done.stderr
        assert checkout.returncode == 6  # nothing came
        assert list((project / ".mlo/cache").glob("objects/*/*/*")) == []


@pytest.mark.parametrize(
    "text",
    [
        "version: 1\ndata: {'../x': {digest: 'xxh128:0123456789abcdef0123456789abcdef', kind: file, size: 1}}\n",
        "version: 1\ndata: {x: {digest: 'xxh128:../../../etc/passwd', kind: file, size: 1}}\n",
        "version: 1\ndata: {x: {digest: 'md5:0123456789abcdef0123456789abcdef', kind: file, size: 1}}\n",
        "version: 1\ndata: {.git/hooks: {digest: 'xxh128:0123456789abcdef0123456789abcdef', kind: dir, size: 1}}\n",
        "version: 1\ndata: {.mlo: {digest: 'xxh128:0123456789abcdef0123456789abcdef', kind: dir, size: 1}}\n",
        "version: 1\ndata: {x: {digest: 'xxh128:0123456789abcdef0123456789abcdef', kind: fifo, size: 1}}\n",
        "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nversion: 1\ndata: *c\n",
        "[" * 100_000,
    ],
    ids=["out", "digest", "algorithm", "git", "mlo", "kind", "aliases", "depth"],
)
def test_a_lock_that_was_written_to_do_harm(project: Path, text: str) -> None:
    (project / "mlo.lock").write_text(text)
    before = everything_outside(project)
    for words, done in limited("checkout --force", "pull --force", "push", "status", "fsck", "gc --yes"):
        assert done.returncode in (5, 7), (words, done.returncode, done.stdout, done.stderr)
        assert "mlo.lock" in done.stderr
    assert everything_outside(project) == before
