"""`.mloignore` in every command that looks at the work tree."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Mlo
from data_project import commit, lay_out, write


@pytest.fixture
def project(here: Path) -> Path:
    """data/raw with two files that are ignored, one of them by a rule of its own folder."""
    lay_out(here)
    write(here, {".mloignore": b"*.tmp\nscratch/\n", "data/raw/x.tmp": b"t", "data/raw/scratch/deep/y": b"yy"})
    write(here, {"data/raw/sub/.mloignore": b"/local\n", "data/raw/sub/local": b"mine"})
    return here


def listed(mlo: Mlo, *words: str) -> list[str]:
    return [row["path"] for row in mlo("data", "list", "-R", "--json", *words).json["rows"]]


def states(mlo: Mlo) -> dict[str, str]:
    return {row["path"]: row["state"] for row in mlo("data", "status", "--json").json["changes"]}


def test_add_leaves_out_what_is_ignored_and_status_does_not_miss_it(mlo: Mlo, project: Path) -> None:
    mlo("data", "add", "data/raw")
    assert listed(mlo) == ["data/raw/a", "data/raw/sub/.mloignore", "data/raw/sub/b"]
    assert states(mlo) == {}
    write(project, {"data/raw/more.tmp": b"1", "data/raw/more.csv": b"1"})
    assert states(mlo) == {"data/raw/more.csv": "added"}


def test_an_ignored_path_by_its_name_is_an_error_with_the_rule(mlo: Mlo, project: Path) -> None:
    answer = mlo("data", "add", "data/raw/x.tmp", exit_code=5)
    assert "data/raw/x.tmp is ignored: .mloignore:1 says *.tmp" in answer.stderr
    answer = mlo("data", "add", "data/raw/scratch/deep/y", exit_code=5)
    assert "ignored, as data/raw/scratch is: .mloignore:2 says scratch/" in answer.stderr
    answer = mlo("data", "add", "data/raw/a", "data/raw/sub/local", exit_code=5)
    assert "data/raw/sub/.mloignore:1 says /local" in answer.stderr
    assert not (project / "mlo.lock").exists()


def test_what_became_ignored_is_said_and_the_next_add_drops_it(mlo: Mlo, project: Path) -> None:
    (project / ".mloignore").write_text("")
    mlo("data", "add", "data/raw")
    assert "data/raw/x.tmp" in listed(mlo)
    (project / ".mloignore").write_text("*.tmp\nscratch\n")
    assert states(mlo) == {"data/raw/scratch/deep/y": "ignored", "data/raw/x.tmp": "ignored"}
    assert "mlo data add takes ignored files out of mlo.lock" in mlo("data", "status").stdout
    (project / "data/raw/x.tmp").unlink()
    assert states(mlo)["data/raw/x.tmp"] == "deleted"
    mlo("data", "add", "data/raw")
    assert states(mlo) == {}
    assert listed(mlo) == ["data/raw/a", "data/raw/sub/.mloignore", "data/raw/sub/b"]
    assert (project / "data/raw/scratch/deep/y").read_bytes() == b"yy"


def test_an_entry_that_became_ignored_stays_an_entry(mlo: Mlo, project: Path) -> None:
    (project / ".mloignore").write_text("")
    mlo("data", "add", "data/raw/x.tmp")
    (project / ".mloignore").write_text("*.tmp\n")
    assert states(mlo) == {}
    write(project, {"data/raw/x.tmp": b"new"})
    assert states(mlo) == {"data/raw/x.tmp": "modified"}
    mlo("data", "add", "data/raw/x.tmp")
    assert states(mlo) == {}


def test_a_checkout_touches_no_ignored_file_even_by_force(mlo: Mlo, project: Path) -> None:
    mlo("data", "add", "data/raw")
    write(project, {"data/raw/a": b"changed", "data/raw/extra": b"mine"})
    answer = mlo("data", "checkout", "--force", "--json").json["restored"][0]["changes"]
    assert (answer["updated"], answer["removed"], answer["kept"]) == (["a"], ["extra"], [])
    for name, content in {"x.tmp": b"t", "scratch/deep/y": b"yy", "sub/local": b"mine"}.items():
        assert (project / "data/raw" / name).read_bytes() == content


def test_a_checkout_restores_an_ignored_path_that_the_entry_has(mlo: Mlo, project: Path) -> None:
    (project / ".mloignore").write_text("")
    mlo("data", "add", "data/raw")
    (project / ".mloignore").write_text("*.tmp\nscratch/\n")
    write(project, {"data/raw/scratch/other": b"mine", "data/raw/x.tmp": b"changed"})
    (project / "data/raw/scratch/deep/y").unlink()
    answer = mlo("data", "checkout", exit_code=5)
    assert "data/raw/x.tmp" in answer.stderr
    changes = mlo("data", "checkout", "--force", "--json").json["restored"][0]["changes"]
    assert (changes["added"], changes["updated"], changes["removed"]) == (["scratch/deep/y"], ["x.tmp"], [])
    assert (project / "data/raw/scratch/other").read_bytes() == b"mine"
    assert (project / "data/raw/x.tmp").read_bytes() == b"t"


def test_rm_with_the_files_keeps_what_is_ignored(mlo: Mlo, project: Path) -> None:
    mlo("data", "add", "data/raw")
    mlo("data", "rm", "data/raw", "--delete")
    assert (project / "data/raw/x.tmp").read_bytes() == b"t"
    assert not (project / "data/raw/a").exists()


def test_a_stage_does_not_depend_on_what_is_ignored(mlo: Mlo, project: Path) -> None:
    with (project / "mlo.yaml").open("a") as file:
        file.write("stages: {s: {cmd: 'ls data/raw > out', deps: [data/raw], outs: [out]}}\n")
    mlo("run")
    write(project, {"data/raw/other.tmp": b"1"})
    assert mlo("why", "s", "--json").json["reasons"] == []
    write(project, {"data/raw/other.csv": b"1"})
    assert mlo("why", "s", "--json").json["reasons"] != []


def test_diff_passes_over_it_too(mlo: Mlo, project: Path) -> None:
    mlo("data", "add", "data/raw")
    commit()
    write(project, {"data/raw/other.tmp": b"1"})
    assert mlo("data", "diff", "--json").json["changes"] == []


def test_rules_that_cannot_be_read_stop_the_command(mlo: Mlo, project: Path) -> None:
    (project / ".mloignore").unlink()
    (project / ".mloignore").symlink_to(".mloignore")
    mlo("data", "add", "data/raw", exit_code=11)
    assert not (project / "mlo.lock").exists()


def test_a_project_without_rules_does_not_import_pathspec(project: Path) -> None:
    for path in project.rglob(".mloignore"):
        path.unlink()
    code = (
        "import sys; from mlops_cli.cli.main import main; main(['data', 'add', 'data/raw']); main(['data', 'status']);"
        "print('pathspec' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True)
    assert out.stdout.splitlines()[-1] == "False"
