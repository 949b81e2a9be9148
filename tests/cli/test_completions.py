import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "completions"
GENERATOR = runpy.run_path(str(FOLDER / "generate.py"))


@pytest.mark.parametrize(("shell", "name"), GENERATOR["FILES"].items())
def test_the_files_are_what_the_generator_makes(shell: str, name: str) -> None:
    assert (FOLDER / name).read_text() == GENERATOR["script"](shell)


def complete_in_bash(words: str, cwd: Path) -> list[str]:
    """What bash offers after `words`, by its own completion machinery."""
    script = (
        f"source {FOLDER / 'mlo.bash'}; COMP_WORDS=({words} ''); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); "
        '_mlo_completion mlo; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, cwd=cwd, env={**os.environ, "PATH": path}, check=True
    )
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("mlo", path=str(Path(sys.executable).parent)) is None, reason="mlo is not installed")
def test_bash_offers_commands_and_those_inside_a_group(tmp_path: Path) -> None:
    assert {"init", "run", "promote", "doctor"} <= set(complete_in_bash("mlo", tmp_path))
    assert {"add", "status", "checkout", "push"} <= set(complete_in_bash("mlo data", tmp_path))


def test_bash_is_not_offered_a_traceback_outside_a_project(tmp_path: Path) -> None:
    assert complete_in_bash("mlo doctor", tmp_path) == []


def test_bash_offers_what_the_project_holds(trained: Path) -> None:
    assert complete_in_bash("mlo run", trained) == ["prepare", "train", "evaluate"]
    assert set(complete_in_bash("mlo promote", trained)) == {"tiny@1", "tiny@production", "tiny@latest"}
    assert set(complete_in_bash("mlo run -P", trained)) == {"seed=", "depth="}
    assert "latest" in complete_in_bash("mlo runs show", trained)
    assert complete_in_bash("mlo rollback", trained) == ["tiny"]
    assert complete_in_bash("mlo promote tiny@1", trained) == ["production"]
    assert set(complete_in_bash("mlo why", trained)) >= {"train", "tiny@production"}


def test_a_project_that_cannot_be_read_offers_nothing_and_says_nothing(here: Path) -> None:
    (here / "mlo.yaml").write_text("nonsense: [")
    assert complete_in_bash("mlo run", here) == []
