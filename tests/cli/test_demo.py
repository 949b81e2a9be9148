"""`mlo demo` where it must not start, and how it tells what went wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlops_cli.core.errors import Exit
from mlops_cli.core.workflows.demo import layout
from mlops_cli.core.workflows.demo.shell import DemoFailed, Shell, demo_environment
from mlops_cli.core.workflows.demo.traffic import requests_of


def test_a_folder_that_is_not_empty_is_refused_and_left_alone(here: Path, mlo: Any) -> None:
    (here / "flights").mkdir()
    (here / "flights" / "mine.txt").write_text("mine")
    answer = mlo("demo", exit_code=5)
    assert "flights is not empty" in answer.stderr
    assert "hint: name a new folder" in answer.stderr
    assert [path.name for path in (here / "flights").iterdir()] == ["mine.txt"]


def test_a_hidden_file_counts_as_well(here: Path, mlo: Any) -> None:
    (here / ".hidden").write_text("")
    mlo("demo", ".", exit_code=5)


def test_a_file_is_no_folder(here: Path, mlo: Any) -> None:
    (here / "flights").write_text("")
    assert "is a file" in mlo("demo", exit_code=5).stderr


def test_a_folder_that_cannot_be_made_is_the_machines_refusal(here: Path, mlo: Any) -> None:
    (here / "file").write_text("")
    answer = mlo("demo", "file/below", exit_code=None)
    assert answer.exit_code == 11
    assert "cannot lay out the demo" in answer.stderr or "Not a directory" in answer.stderr


def test_without_git_it_says_so_and_lays_out_nothing(here: Path, mlo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(here))
    assert "there is no git here" in mlo("demo", exit_code=5).stderr
    assert list(here.iterdir()) == []


def test_the_example_is_laid_out_whole_and_without_litter(tmp_path: Path) -> None:
    layout.lay_out(tmp_path / "flights")
    found = {
        path.relative_to(tmp_path / "flights").as_posix()
        for path in (tmp_path / "flights").rglob("*")
        if path.is_file()
    }
    assert {
        "mlo.yaml",
        "prepare.py",
        "train.py",
        "evaluate.py",
        "checks/train.yaml",
        ".gitignore",
        "README.md",
    } <= found
    assert {"mlo.ci.yaml", ".github/workflows/mlo.yml"} <= found
    assert len([name for name in found if name.startswith("months/")]) == 12
    assert not [name for name in found if "__pycache__" in name or name.startswith((".mlo/", "data/", "model/"))]


def test_settings_of_the_machine_do_not_reach_the_demo() -> None:
    environ = demo_environment(
        {"MLO_ENV": "ci", "GIT_DIR": "/x", "PATH": "/bin", "CONDA_PREFIX": "/conda", "HOME": "/h"}
    )
    assert "MLO_ENV" not in environ
    assert "GIT_DIR" not in environ
    assert "CONDA_PREFIX" not in environ
    assert environ["HOME"] == "/h"
    assert environ["PATH"].endswith(":/bin")


def test_rows_are_sent_without_the_answer_and_with_null_for_nothing() -> None:
    flights = requests_of(layout.example_folder() / "months" / "2013-04.parquet")
    assert len(flights) == 4000
    assert "arr_delay" not in flights[0]
    assert flights[0]["time_hour"] == "2013-04-01T09:00:00+00:00"
    assert any(flight["pressure"] is None for flight in flights)


class Quiet:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def step(self, number: int, of: int, title: str, text: str) -> None: ...

    def typed(self, command: str) -> None:
        self.lines.append(f"$ {command}")

    def answered(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = Shell(tmp_path, demo_environment({"PATH": "/usr/bin:/bin"}), Quiet())
    shell.doing = "step 2 (run the pipeline)"
    return shell


def test_a_step_that_goes_wrong_names_itself_and_the_command_to_run_again(shell: Shell) -> None:
    with shell.session(), pytest.raises(DemoFailed) as caught:
        shell.mlo("run")
    assert "step 2 (run the pipeline): `mlo run` answered 5, not 0: there is no mlo.yaml" in caught.value.message
    assert str(caught.value.hint).endswith("&& mlo run")
    assert caught.value.exit_code == Exit.PROJECT


def test_an_unexpected_success_is_a_failure_too(shell: Shell) -> None:
    with shell.session(), pytest.raises(DemoFailed) as caught:
        shell.mlo("--version", expect=3)
    assert caught.value.exit_code == Exit.BUG


def test_a_background_command_ends_with_the_session(shell: Shell, tmp_path: Path) -> None:
    with shell.session():
        process = shell._start(["sleep", "600"], None)
        assert process.poll() is None
    assert process.poll() is not None


def test_what_does_not_heed_ctrl_c_is_killed(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops_cli.core.workflows.demo.shell.DRAIN_S", 0.2)
    with shell.session():
        process = shell._start(["sh", "-c", "trap '' INT; echo up; exec sleep 600"], -1)
        assert process.stdout.readline() == "up\n"
    assert process.returncode == -9
