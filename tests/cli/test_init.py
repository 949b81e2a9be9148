from pathlib import Path
from typing import Any


def test_init_makes_a_project_that_reads(here: Path, mlo: Any) -> None:
    (here / ".gitignore").write_text("*.pyc")
    answer = mlo("init", "--json").json
    assert answer["name"] == "project"
    assert answer["written"] == ["mlo.yaml", ".gitignore"]
    assert (here / ".gitignore").read_text() == "*.pyc\n/.mlo/\n"
    mlo("doctor")


def test_init_never_touches_a_project_that_is_there(here: Path, mlo: Any) -> None:
    (here / "mlo.yaml").write_text("name: mine\n")
    assert "exists already" in mlo("init", exit_code=5).stderr
    assert (here / "mlo.yaml").read_text() == "name: mine\n"
    assert not (here / ".gitignore").exists()


def test_init_takes_no_link_for_an_absent_file_and_a_gitignore_of_any_encoding(here: Path, mlo: Any) -> None:
    (here / "mlo.yaml").symlink_to("elsewhere")
    assert "exists already" in mlo("init", exit_code=5).stderr
    (here / "mlo.yaml").unlink()
    (here / ".gitignore").write_bytes(b"caf\xe9\n")
    mlo("init")
    assert (here / ".gitignore").read_bytes() == b"caf\xe9\n/.mlo/\n"


def test_init_refuses_a_name_that_cannot_be_one(here: Path, mlo: Any) -> None:
    assert "is not a name" in mlo("init", "--name", "a b", exit_code=2).stderr
    assert list(here.iterdir()) == []


def test_init_works_in_a_folder_named_by_an_option(here: Path, mlo: Any) -> None:
    (here / "My data!").mkdir()
    assert mlo("init", "-C", "My data!", "--json").json["name"] == "My-data"
    assert (here / "My data!" / "mlo.yaml").exists()
