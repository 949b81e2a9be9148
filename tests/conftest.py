"""Fixtures that every room's tests share."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlops_cli.cli.main import main


@dataclass(frozen=True)
class Answer:
    """What a command printed."""

    stdout: str
    stderr: str
    exit_code: int

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


Mlo = Callable[..., Answer]


@pytest.fixture(autouse=True)
def quiet_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No MLO_* variable, no git or mlo configuration of the machine's user reaches a test."""
    for name in list(os.environ):
        if name.startswith(("MLO_", "GIT_")) and name != "MLO_REQUIRE_ALL":
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("MLO_ACTOR", "Ada <ada@example.org>")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder that is the working directory."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def mlo(capfd: pytest.CaptureFixture[str]) -> Mlo:
    """Run one mlo command line in this process, through the real main(); no failure passes unseen.

    `mlo("data", "add", "raw")` expects exit code 0; `exit_code=None` accepts any.
    """

    def run(*arguments: str | Path, exit_code: int | None = 0) -> Answer:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        answer = Answer(out, err, code)
        if exit_code is not None:
            assert code == exit_code, f"mlo {' '.join(map(str, arguments))} answered {code}\n{out}\n{err}"
        return answer

    return run
