"""Every command of the README, typed as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
LIMIT_S = 500


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def environ(**more: str) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, **more}


def test_the_two_set_up_commands_are_the_ones_tested_here() -> None:
    (block,) = blocks("console")
    assert [line.partition("#")[0].strip() for line in block.splitlines()] == [
        "$ pip install . && mlo demo",
        "$ pip install '.[test]' && pytest",
    ]


@pytest.mark.slow
def test_the_first_command_installs_a_wheel_that_plays_the_demo(tmp_path: Path) -> None:
    """In a fresh environment and an empty folder; the dependencies come from this one, so no network is needed."""
    folder = tmp_path / "environment"
    venv.create(folder, with_pip=True)
    (packages,) = folder.glob("lib/python3*/site-packages")
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    source = tmp_path / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "__pycache__", "tests"))
    shutil.copytree(ROOT / "examples", source / "examples", dirs_exist_ok=True)  # its dot files as well
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "."]
    subprocess.run(pip, cwd=source, check=True, capture_output=True)
    shutil.rmtree(source)
    empty = tmp_path / "empty"
    empty.mkdir()
    done = subprocess.run(
        [folder / "bin" / "mlo", "demo"], cwd=empty, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10/10" in done.stdout
    assert (empty / "flights" / ".github" / "workflows" / "mlo.yml").exists()


@pytest.mark.slow
def test_the_loop_works_as_it_is_typed(tmp_path: Path) -> None:
    loop, *others = blocks("bash")
    assert others == []
    assert len(re.findall(r"^(?:cp .*&& )?mlo ", loop, re.MULTILINE)) == 10
    folder = tmp_path / "flights"
    shutil.copytree(ROOT / "examples" / "flights", folder, ignore=shutil.ignore_patterns(".mlo", "data"))
    (folder / "data" / "raw").mkdir(parents=True)
    for month in ("01", "02", "03"):
        shutil.copy(folder / "months" / f"2013-{month}.parquet", folder / "data" / "raw")
    holdout = "python prepare.py --holdout months/2013-07.parquet data/holdout/2013-07.parquet\n"
    script = f"set -e\ntrap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n{holdout}{loop}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environ(MLO_SERVE_PORT="0"),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "flights@2 promoted" in done.stdout
    assert "drift: temp" in done.stdout
    assert "points back at version 1" in done.stdout


@pytest.mark.slow
def test_the_three_lines_of_a_training_script_work_outside_a_run(tmp_path: Path) -> None:
    (block,) = blocks("python")
    (tmp_path / "mlo.yaml").write_text("name: x\nparams: {seed: 7}\n")
    before = "import pandas as pd\nfrom sklearn.linear_model import LogisticRegression\n"
    before += "X = pd.DataFrame({'a': [0.0, 1.0, 2.0, 3.0]})\nmodel = LogisticRegression().fit(X, [0, 0, 1, 1])\n"
    (tmp_path / "train.py").write_text(before + block)
    subprocess.run([sys.executable, "train.py"], cwd=tmp_path, env=environ(), check=True, capture_output=True)
    listed = subprocess.run(
        [sys.executable, "-m", "mlops_cli", "runs", "list"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "0.71" in listed.stdout


def test_every_file_the_readme_links_to_is_there() -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_command_the_readme_names_exists() -> None:
    from mlops_cli.cli.table import COMMANDS

    known = {row.name for row in COMMANDS}
    assert set(re.findall(r"`mlo ([a-z]+)", README)) <= known
