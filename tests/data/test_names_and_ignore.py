"""Which paths may be data, and mlo's own block of .gitignore."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.core.base.records import Entry
from mlops_cli.core.data.ignore import BEGIN, END, edit_ignored, ignored_line
from mlops_cli.core.data.names import chosen, inside, lock_name, owner_of, refuse_outputs, refuse_overlap
from mlops_cli.core.errors import NotFound, ProjectError, UsageError
from mlops_cli.core.project.lock import Lock, StageLock
from mlops_cli.core.project.schema import Project, Stage

E1 = Entry("xxh128:" + "0" * 32, "file", 1)
LOCK = Lock(
    data={"data/raw": E1, "data/test.csv": E1, "other": E1}, stages={"train": StageLock("k", "c", outs={"model": E1})}
)


def test_a_path_is_called_by_its_way_from_the_root(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for path in (Path("data/raw"), tmp_path / "data/raw", tmp_path / "data/../data/./raw"):
        assert lock_name(tmp_path, path) == "data/raw"


def test_a_root_reached_through_a_link_is_the_same_root(tmp_path: Path) -> None:
    (tmp_path / "real/data").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    assert lock_name(tmp_path / "link", tmp_path / "real/data/raw") == "data/raw"
    assert lock_name(tmp_path / "real", tmp_path / "link/data/raw") == "data/raw"


OUTSIDE = ("..", "../data", "/etc", ".")
OWN = (".git", ".git/config", ".mlo/cache", "sub/.GIT/x", "mlo.yaml", "mlo.lock", ".gitignore")
ODD = ("odd\udcff", "new\nline", "back\\slash")


@pytest.mark.parametrize("path", [*OUTSIDE, *OWN, *ODD])
def test_what_cannot_be_data_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(UsageError) as caught:
        lock_name(tmp_path, Path(path))
    assert caught.value.hint


def test_a_parent_that_leads_out_of_the_project_is_refused(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project/big").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="leads out"):
        lock_name(tmp_path / "project", Path("big/data"))


def test_the_owner_is_the_entry_itself_or_above() -> None:
    assert owner_of("data/raw/a/b", LOCK.data) == "data/raw"
    assert owner_of("data/raw", LOCK.data) == "data/raw"
    assert owner_of("data/rawer", LOCK.data) is None
    assert inside("data/raw/a/b", "data/raw") == b"a/b"
    assert inside("data/raw", "data/raw") == b""


@pytest.mark.parametrize("path", ["model", "model/weights", "out", "metrics.json", "plots/roc.csv"])
def test_outputs_of_stages_cannot_be_added(path: str) -> None:
    stage = Stage(cmd="c", outs=["model", "out/train.csv"], metrics=["metrics.json"], plots=["plots/roc.csv"])
    with pytest.raises(ProjectError, match="stage train"):
        refuse_outputs(path, Project(name="x", stages={"train": stage}))
    refuse_outputs("models", Project(name="x", stages={"train": stage}))


def test_a_folder_that_holds_an_entry_cannot_be_added() -> None:
    with pytest.raises(ProjectError, match="data/raw") as caught:
        refuse_overlap("data", LOCK)
    assert "mlo data rm data/raw data/test.csv" in str(caught.value.hint)
    refuse_overlap("data/raw", LOCK)


def test_paths_choose_entries() -> None:
    assert set(chosen([], LOCK)) == {"data/raw", "data/test.csv", "other", "model"}
    assert chosen(["data"], LOCK) == {"data/raw": [], "data/test.csv": []}
    assert chosen(["data/raw/a", "data/raw/b"], LOCK) == {"data/raw": [b"a", b"b"]}
    assert chosen(["data/raw/a", "data/raw"], LOCK) == {"data/raw": []}
    assert chosen(["model"], LOCK) == {"model": []}
    with pytest.raises(NotFound, match="nothing"):
        chosen(["nothing"], LOCK)


def test_the_block_is_sorted_and_the_rest_untouched(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("*.pyc\n\n# mine\n/build\n")
    assert edit_ignored(tmp_path, add=["data/raw", "data/a"])
    lines = [BEGIN, "/data/a", "/data/raw", END]
    assert (tmp_path / ".gitignore").read_text() == "*.pyc\n\n# mine\n/build\n\n" + "\n".join(lines) + "\n"
    assert not edit_ignored(tmp_path, add=["data/raw"])
    with (tmp_path / ".gitignore").open("a") as file:
        file.write("/after\n")
    edit_ignored(tmp_path, remove=["data/a", "data/raw"])
    assert (tmp_path / ".gitignore").read_text() == "*.pyc\n\n# mine\n/build\n\n/after\n"


def test_line_endings_and_odd_bytes_stay(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_bytes(b"caf\xe9\r\n")
    edit_ignored(tmp_path, add=["data"])
    assert (tmp_path / ".gitignore").read_bytes() == f"caf\xe9\r\n\r\n{BEGIN}\r\n/data\r\n{END}\r\n".encode("latin-1")


def test_a_torn_block_is_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text(f"{BEGIN}\n/data\n")
    with pytest.raises(ProjectError, match="1 begin, 0 end"):
        edit_ignored(tmp_path, add=["other"])
    assert (tmp_path / ".gitignore").read_text() == f"{BEGIN}\n/data\n"


@given(
    names=st.sets(st.text("ab #!*?[]\\ü .", min_size=1, max_size=5).filter(lambda n: n.strip("."))), keep=st.booleans()
)
def test_adding_and_removing_is_no_change(
    tmp_path_factory: pytest.TempPathFactory, names: set[str], keep: bool
) -> None:
    root = tmp_path_factory.mktemp("ignore")
    if keep:
        (root / ".gitignore").write_text("mine\n")
    edit_ignored(root, add=names)
    edit_ignored(root, remove=names)
    text = (root / ".gitignore").read_text() if (root / ".gitignore").exists() else ""
    assert text.strip() == ("mine" if keep else "")


@pytest.mark.parametrize("name", ["plain", "st*ar", "que?ry", "[set]", "#hash", "!bang", "sp ace ", "ü", "a/b", "#"])
def test_git_ignores_that_path_and_nothing_else(tmp_path: Path, name: str) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    edit_ignored(tmp_path, add=[name])
    others = ["plainer", "stXar", "queXry", "s", "sub/plain", "hash", "bang", "sp ace", "b"]

    def ignored(path: str) -> bool:
        asked = subprocess.run(["git", "-C", str(tmp_path), "check-ignore", "-q", "--", path], check=False)
        return asked.returncode == 0

    assert ignored(name)
    assert not [other for other in others if ignored(other)]
    assert ignored_line(name).startswith("/")


def test_what_is_not_kept_goes_unless_a_user_wrote_it(tmp_path: Path) -> None:
    edit_ignored(tmp_path, add=["data/raw", "gone", "out [1]"])
    text = (tmp_path / ".gitignore").read_text()
    (tmp_path / ".gitignore").write_text("/mine\n" + text.replace(END, f"*.tmp\n{END}"))
    assert edit_ignored(tmp_path, add=["new"], keep=["data/raw", "out [1]"])
    lines = (tmp_path / ".gitignore").read_text().split("\n")
    assert lines == ["/mine", BEGIN, "*.tmp", "/data/raw", "/new", "/out \\[1]", END, ""]
