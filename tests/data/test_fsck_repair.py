"""fsck --repair: what is damaged is set aside, never deleted; what is needed comes back from wherever it is good."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from command_line import Mlo
from gc_project import lay_out, opened

from mlops_cli.core.base.digest import digest_bytes
from mlops_cli.core.store.fsck import FsckReport
from mlops_cli.core.workflows.data import add_paths
from mlops_cli.core.workflows.fsck import verify_cache
from mlops_cli.core.workflows.transfer import push_data

COUNT = 60


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """`data` with 60 small files, which lie in one pack, and a link."""
    root = lay_out(tmp_path / "project", "remotes: {backup: ../backup, origin: ../far}\n")
    for name in ("far", "backup"):
        (tmp_path / name).mkdir()
    for number in range(COUNT):
        (root / "data" / f"d{number % 3}").mkdir(parents=True, exist_ok=True)
        (root / "data" / f"d{number % 3}" / str(number)).write_text(f"file {number}\n")
    (root / "data/link").symlink_to("d0/0")
    add_paths(opened(root), [root / "data"])
    return root


def the_pack(root: Path) -> Path:
    [pack] = (root / ".mlo/cache/packs").iterdir()
    return pack


def overwrite(path: Path, at: int, data: bytes) -> None:
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def damage(root: Path, *contents: str) -> Path:
    """Flip a byte of these objects in the pack."""
    pack = the_pack(root)
    whole = pack.read_bytes()
    for content in contents:
        overwrite(pack, whole.index(content.encode()), b"?")
    return pack


def repaired(root: Path) -> FsckReport:
    return verify_cache(opened(root), repair=True)


def sound(root: Path) -> bool:
    report = verify_cache(opened(root))
    return report.ok and not report.bad and not report.bad_packs


def quarantined(root: Path) -> list[bytes]:
    return [path.read_bytes() for path in (root / ".mlo/cache/quarantine").iterdir()]


def test_a_good_cache_is_left_alone(project: Path) -> None:
    pack = the_pack(project)
    report = repaired(project)
    assert report.ok
    assert (report.packs, report.objects) == (1, COUNT + 5)
    assert the_pack(project) == pack
    assert not (project / ".mlo/cache/quarantine").exists()


def test_without_repair_a_bad_pack_is_named_and_nothing_moves(project: Path) -> None:
    pack = damage(project, "file 7\n")
    before = pack.read_bytes()
    report = verify_cache(opened(project))
    assert not report.ok
    assert [bad.name for bad in report.bad_packs] == [pack.stem]
    assert [bad.paths for bad in report.bad] == [["data/d1/7"]]
    assert pack.read_bytes() == before


def test_a_damaged_object_of_a_pack_comes_back_from_the_work_tree(project: Path) -> None:
    pack = damage(project, "file 7\n", "file 8\n")
    whole = pack.read_bytes()
    report = repaired(project)
    assert report.ok
    assert {bad.digest: bad.mended for bad in report.bad} == {
        str(digest_bytes(b"file 7\n", "xxh128")): "data/d1/7",
        str(digest_bytes(b"file 8\n", "xxh128")): "data/d2/8",
    }
    assert [(bad.saved, Path(str(bad.aside)).read_bytes()) for bad in report.bad_packs] == [(COUNT + 3, whole)]
    assert not pack.exists()
    assert sound(project)
    assert quarantined(project) == [whole]


def test_a_damaged_object_comes_back_from_the_remote_that_has_it(project: Path) -> None:
    push_data(opened(project), remote="backup")
    damage(project, "file 7\n")
    (project / "data/d1/7").write_text("changed")
    shutil.rmtree(project.parent / "far")
    report = repaired(project)
    assert [bad.mended for bad in report.bad] == ["remote backup"]
    assert len(report.notes) == 1
    assert "far" in report.notes[0]
    assert sound(project)
    assert (project / "data/d1/7").read_text() == "changed"


def test_what_comes_from_nowhere_is_still_missing(project: Path, mlo: Mlo) -> None:
    damage(project, "file 7\n")
    (project / "data/d1/7").unlink()
    answer = mlo("-C", project, "data", "fsck", "--repair", exit_code=7).stdout
    assert "data/d1/7" in answer
    assert "saved 64 objects" in answer
    assert [bad.problem for bad in verify_cache(opened(project)).bad] == ["missing"]
    report = repaired(project)
    assert not report.ok
    assert [bad.paths for bad in report.still_bad] == [["data/d1/7"]]
    (project / "data/d1/7").write_text("file 7\n")
    assert "all good now" in mlo("-C", project, "data", "fsck", "--repair").stdout


@pytest.mark.parametrize("where", ["name", "header", "index", "trailer", "cut", "empty"])
def test_a_pack_whose_frame_is_damaged_gives_what_can_be_told_apart(project: Path, where: str) -> None:
    pack = the_pack(project)
    whole = pack.read_bytes()
    if where == "name":
        pack.rename(pack.with_name("0" * 32 + ".pack"))
    elif where == "header":
        overwrite(pack, 0, b"X")
    elif where == "index":
        overwrite(pack, len(whole) - 12 - 9, b"\xff\xff")
    elif where == "trailer":
        overwrite(pack, len(whole) - 1, b"?")
    else:
        pack.chmod(0o644)
        os.truncate(pack, len(whole) // 2 if where == "cut" else 0)
    report = verify_cache(opened(project))
    assert len(report.bad_packs) == 1
    assert len(report.bad) == 1  # the folder, and through it all below
    report = repaired(project)
    assert report.ok, report
    [bad] = report.bad_packs
    assert (bad.saved >= COUNT) == (where in ("name", "header", "index"))
    assert sound(project)


def test_a_lost_tree_comes_back_and_then_what_it_names(project: Path) -> None:
    push_data(opened(project), remote="origin")
    shutil.rmtree(project / "data")
    the_pack(project).unlink()
    report = repaired(project)
    assert report.ok
    assert {bad.mended for bad in report.bad} == {"remote origin"}
    assert sound(project)
    assert len(report.bad) == COUNT + 5


def test_damage_that_nothing_needs_is_set_aside_and_that_is_that(project: Path) -> None:
    store = opened(project).store
    path = store.file_of(store.put_bytes(b"nobody's"))
    path.chmod(0o644)
    path.write_bytes(b"nobody?")
    assert not verify_cache(opened(project)).ok
    report = repaired(project)
    assert report.ok
    assert [bad.aside is None for bad in report.bad] == [False]
    assert quarantined(project) == [b"nobody?"]


def test_a_good_copy_mends_a_bad_one(project: Path) -> None:
    store = opened(project).store
    damage(project, "file 7\n")
    path = Path(store.loose.path(str(digest_bytes(b"file 7\n", "xxh128"))))
    path.parent.mkdir(parents=True)
    path.write_bytes(b"file 7\n")
    report = repaired(project)
    assert [bad.mended for bad in report.bad] == ["another copy in the cache"]
    assert sound(project)


def test_overlapping_objects_cannot_grow_a_pack(project: Path) -> None:
    from array import array

    from mlops_cli.core.store.pack import END_MAGIC, PackIndex

    data = bytes(1 << 16)
    claims = {digest_bytes(data[:size], "xxh128").hex: size for size in range(1, 1 << 16, 64)}
    ordered = sorted(claims)
    raws = b"".join(bytes.fromhex(one) for one in ordered)
    index = PackIndex("", "xxh128", raws, array("I", [16] * len(ordered)), array("I", [claims[one] for one in ordered]))
    body = index.body()
    name = digest_bytes(body, "xxh128").hex
    path = project / ".mlo/cache/packs" / f"{name}.pack"
    path.write_bytes(b"MLOPACK\1\1" + bytes(7) + data + body + len(body).to_bytes(4, "little") + END_MAGIC)
    size = path.stat().st_size
    assert repaired(project).ok
    assert sum(pack.stat().st_size for pack in (project / ".mlo/cache/packs").iterdir()) < 3 * size
