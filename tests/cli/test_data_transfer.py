"""`mlo data push`, `pull` and `fetch`: paths, revisions, dry runs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from command_line import Mlo
from far_remote import objects_on

from mlops_cli.core.remotes.open import open_url


def git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def project(here: Path, mlo: Mlo) -> Path:
    """Two commits: `v1` has three years, `main` another 2014 and a file more."""
    (here / "mlo.yaml").write_text("name: flights\nremotes: {origin: ../far}\n")
    (here.parent / "far").mkdir()
    for year in (2013, 2014, 2015):
        for month in range(1, 13):
            path = here / f"data/raw/{year}/{month:02}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{year},{month}\n")
    (here / "one.csv").write_text("one\n")
    git(here, "init", "-q", "-b", "main")
    mlo("data", "add", "data/raw", "one.csv")
    git(here, "add", "mlo.yaml", "mlo.lock", ".gitignore")
    git(here, "commit", "-q", "-m", "first")
    git(here, "tag", "v1")
    (here / "data/raw/2014/01.csv").write_text("2014,1,changed\n")
    (here / "two.csv").write_text("two\n")
    mlo("data", "add", "data/raw", "two.csv")
    git(here, "add", "mlo.lock")
    git(here, "commit", "-q", "-m", "second")
    return here


def clone(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = project.parent / "clone"
    subprocess.run(["git", "clone", "-q", str(project), str(folder)], check=True, capture_output=True)
    monkeypatch.chdir(folder)
    return folder


def far(project: Path) -> set[str]:
    return set(objects_on(open_url(str(project.parent / "far"), root=project)))


def test_a_path_inside_an_entry_goes_and_comes_alone(project: Path, mlo: Mlo, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = mlo("data", "push", "data/raw/2014", "data/raw/2015/03.csv", "--json").json["transfer"]
    assert sent["objects"] == 12 + 1 + 1  # months, the tree of the year, the one file
    assert len(far(project)) == 14
    mlo("data", "push")
    there = clone(project, monkeypatch)
    mlo("data", "pull", "data/raw/2014", "data/raw/2015/03.csv")
    found = {str(path.relative_to(there / "data/raw")) for path in (there / "data/raw").rglob("*.csv")}
    assert found == {*(f"2014/{month:02}.csv" for month in range(1, 13)), "2015/03.csv"}
    assert (there / "data/raw/2014/01.csv").read_text() == "2014,1,changed\n"
    mlo("data", "pull")
    assert len([*(there / "data/raw").rglob("*.csv")]) == 36
    assert (there / "two.csv").read_text() == "two\n"


def test_a_path_that_nobody_knows_is_not_found(project: Path, mlo: Mlo) -> None:
    for command in ("push", "pull", "fetch"):
        answer = mlo("data", command, "data/raw/2016", exit_code=6)
        assert "data/raw/2016" in answer.stderr


def test_a_revision_goes_and_comes(project: Path, mlo: Mlo, monkeypatch: pytest.MonkeyPatch) -> None:
    mlo("data", "push", "--rev", "v1")
    there = clone(project, monkeypatch)
    assert mlo("data", "pull", exit_code=None).exit_code != 0
    mlo("data", "pull", "--rev", "v1", "--force")
    assert (there / "data/raw/2014/01.csv").read_text() == "2014,1\n"
    assert not (there / "two.csv").exists()


def test_all_tags_and_branches_are_fetched_without_touching_the_work_tree(
    project: Path, mlo: Mlo, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mlo("data", "push", "--all-branches", "--json").json["transfer"]["objects"] > 0
    assert mlo("data", "push", "--all-tags", "--json").json["transfer"]["objects"] == 3  # 01.csv, 2014, raw
    assert mlo("data", "push", "--all-branches", "--all-tags", "--json").json["transfer"]["objects"] == 0
    there = clone(project, monkeypatch)
    fetched = mlo("data", "fetch", "--all-branches", "--all-tags", "--json").json
    assert fetched["transfer"]["objects"] == len(far(project))
    assert not (there / "data/raw/2014").exists()
    shutil.rmtree(project.parent / "far")
    mlo("data", "checkout", "--rev", "v1")
    assert (there / "data/raw/2014/01.csv").read_text() == "2014,1\n"
    mlo("data", "checkout")
    assert (there / "data/raw/2014/01.csv").read_text() == "2014,1,changed\n"


def test_a_dry_run_moves_nothing(project: Path, mlo: Mlo, monkeypatch: pytest.MonkeyPatch) -> None:
    said = mlo("data", "push", "--dry-run").stdout
    assert said.startswith("would push to origin")
    assert far(project) == set()
    mlo("data", "push", "-j", "2")
    there = clone(project, monkeypatch)
    for command in ("pull", "fetch"):
        said = mlo("data", command, "--dry-run", "data/raw/2014").stdout
        assert said.startswith(f"would {command} from origin")
    assert not (there / "data/raw/2014").exists()
    assert not (there / ".mlo/cache/packs").exists()


def test_branches_are_not_known_outside_git(here: Path, mlo: Mlo) -> None:
    (here / "mlo.yaml").write_text("name: x\nremotes: {origin: ../far}\n")
    (here.parent / "far").mkdir()
    assert "git" in mlo("data", "push", "--all-branches", exit_code=None).stderr


def test_damage_on_the_remote_is_named_with_the_way_out(
    project: Path, mlo: Mlo, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlo("data", "push")
    [pack] = (project.parent / "far/packs").glob("*.pack")
    data = pack.read_bytes()
    at = data.index(b"2015,3\n")
    pack.chmod(0o644)
    pack.write_bytes(data[:at] + b"2015,4\n" + data[at + 7 :])
    clone(project, monkeypatch)
    answer = mlo("data", "pull", exit_code=7)
    assert "data/raw/2015/03.csv" in answer.stderr
    assert f"packs/{pack.name}" in answer.stderr
    pack.unlink()
    monkeypatch.chdir(project)
    mlo("data", "push")
    monkeypatch.chdir(project.parent / "clone")
    mlo("data", "pull")
    assert Path("data/raw/2015/03.csv").read_text() == "2015,3\n"
