"""Names that are no UTF-8, on terminals and pipes that may not even be that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def odd(here: Path, mlo: Any) -> Path:
    """A project with a data file whose name is not UTF-8, changed since it was added."""
    mlo("init")
    (here / "raw").mkdir()
    file = Path(os.fsdecode(bytes(here / "raw") + b"/a\xff"))
    file.write_text("1")
    mlo("data", "add", "raw")
    file.write_text("22")
    return here


def test_json_spells_a_name_out_that_is_not_utf_8(odd: Path, mlo: Any) -> None:
    assert [change["path"] for change in mlo("data", "status", "--json").json["changes"]] == ["raw/a\\udcff"]
    assert mlo("data", "checkout", "--force", "--json").json["restored"][0]["changes"]["updated"] == ["a\\udcff"]


@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii:strict"])
def test_text_does_so_where_the_terminal_cannot_show_it(odd: Path, encoding: str) -> None:
    environ = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "mlops_cli", "data", "status"]
    answer = subprocess.run(command, cwd=odd, env=environ, capture_output=True, text=True, check=True)
    assert "modified    raw/a\\udcff" in answer.stdout


def test_a_project_in_a_folder_whose_name_is_not_utf_8_runs(here: Path, mlo: Any) -> None:
    folder = os.fsdecode(bytes(here) + b"/n\xff")
    os.mkdir(folder)
    Path(folder, "mlo.yaml").write_text("name: p\nstages: {one: {cmd: echo 1 > o, outs: [o]}}\n")
    mlo("run", "-C", folder)
    assert mlo("runs", "show", "latest", "-C", folder, "--json").json["run"]["command"].endswith("n\\udcff'")
