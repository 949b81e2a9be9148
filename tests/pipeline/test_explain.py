"""`mlo run --dry` and `mlo why STAGE`: exactly what changed, from what to what."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Mlo
from pipeline_kit import run, write_project

STAGES = {
    "prep": {"cmd": "cat raw/* > all.txt", "deps": ["raw", "prep.py"], "params": ["rate"], "outs": ["all.txt"]},
    "train": {"cmd": "echo one\necho two\ncp all.txt model\n", "deps": ["all.txt"], "outs": ["model"]},
}


@pytest.fixture
def project(here: Path, mlo: Mlo) -> Path:
    write_project(here, STAGES, {"rate": 0.1})
    (here / "raw").mkdir()
    for number in range(8):
        (here / "raw" / f"{number}.txt").write_text(f"{number}\n")
    (here / "prep.py").write_text("1\n")
    mlo("data", "add", "raw")
    run(here)
    return here


def change(project: Path) -> None:
    (project / "raw/2.txt").unlink()
    for number in range(6):
        (project / "raw" / f"new{number}.txt").write_text("new\n")
    (project / "prep.py").write_text("2\n")
    stages = {**STAGES, "train": {**STAGES["train"], "cmd": "echo one\necho 2\ncp all.txt model\n"}}
    write_project(project, stages, {"rate": 0.2})


def test_a_folder_names_the_files_that_changed_in_it(project: Path, mlo: Mlo) -> None:
    change(project)
    said = mlo("why", "prep").stdout
    assert "deleted raw/2.txt" in said
    assert "added raw/new0.txt" in said
    assert "... and 2 more" in said
    [folder] = [it for it in mlo("why", "prep", "--json").json["reasons"] if it["name"] == "raw"]
    assert [it["path"] for it in folder["inside"]] == ["raw/2.txt", *(f"raw/new{number}.txt" for number in range(6))]


def test_every_cause_says_from_what_to_what(project: Path, mlo: Mlo) -> None:
    change(project)
    reasons = {it["name"]: it for it in mlo("why", "prep", "--json").json["reasons"]}
    said = mlo("run", "--dry").stdout
    for name in ("raw", "prep.py"):
        old, new = (reasons[name][side].partition(":")[2][:8] for side in ("old", "new"))
        assert old != new
        assert f"xxh128:{old}… -> xxh128:{new}…" in said
    assert "param rate: 0.1 -> 0.2" in said


def test_a_command_of_many_lines_is_told_by_the_lines_that_changed(project: Path, mlo: Mlo) -> None:
    change(project)
    lines = [line.strip() for line in mlo("why", "train").stdout.splitlines()]
    assert "-echo two" in lines
    assert "+echo 2" in lines
    assert "mlo why shows them" in mlo("run", "--dry").stdout


def test_a_stage_that_waits_for_others_says_its_own_changes_too(project: Path, mlo: Mlo) -> None:
    change(project)
    kinds = [it["kind"] for it in mlo("why", "train", "--json").json["reasons"]]
    assert kinds == ["command", "upstream"]
    write_project(project, STAGES, {"rate": 0.2})
    assert [it["kind"] for it in mlo("why", "train", "--json").json["reasons"]] == ["upstream"]


def test_an_output_that_was_changed_by_hand_says_which_file(here: Path, mlo: Mlo) -> None:
    write_project(here, {"s": {"cmd": "mkdir out; echo 1 > out/a; echo 2 > out/b", "outs": ["out"]}})
    run(here)
    (here / "out/b").chmod(0o644)
    (here / "out/b").write_text("by hand\n")
    assert "modified out/b" in mlo("why", "s").stdout


def test_a_folder_whose_old_state_nobody_kept_is_told_by_its_digests(here: Path, mlo: Mlo) -> None:
    (here / "src").mkdir()
    (here / "src/a.py").write_text("1\n")
    write_project(here, {"s": {"cmd": "echo x > n", "deps": ["src"], "outs": ["n"]}})
    run(here)
    (here / "src/a.py").write_text("2\n")
    said = mlo("why", "s").stdout
    assert "src changed: xxh128:" in said


def test_looking_changes_nothing(project: Path, mlo: Mlo) -> None:
    change(project)
    before = files(project)
    mlo("run", "--dry")
    mlo("why", "train")
    assert files(project) == before


def files(project: Path) -> dict[str, bytes]:
    """The work tree and the cache; mlo's index and database may be looked into."""
    found = {path.relative_to(project).as_posix(): path for path in project.rglob("*") if path.is_file()}
    return {
        name: path.read_bytes()
        for name, path in found.items()
        if name.startswith(".mlo/cache/") or not name.startswith(".mlo/")
    }
