"""Every command of the README, typed as it stands there."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import site
import subprocess
import sys
import venv
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
from dying import unmeasured

from mlops_cli.cli.table import COMMANDS
from mlops_cli.core.project.settings import load
from mlops_cli.core.remotes.open import open_remote

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
LIMIT_S = 500


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def environ(**more: str) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**unmeasured(), "PATH": path, **more}


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
    loop = blocks("bash")[0]
    assert len(re.findall(r"^(?:cp .*&& )?mlo ", loop, re.MULTILINE)) == 11
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


def test_files_are_compared_without_a_model_as_it_is_typed(tmp_path: Path) -> None:
    block = blocks("bash")[2]
    for name, month in (("march", "03"), ("april", "04"), ("may", "05")):
        shutil.copy(ROOT / "examples" / "flights" / "months" / f"2013-{month}.parquet", tmp_path / f"{name}.parquet")
    done = subprocess.run(
        ["bash", "-e", "-c", block], cwd=tmp_path, env=environ(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "april.parquet against march.parquet" in done.stdout
    assert (tmp_path / "may.html").exists()
    assert not (tmp_path / ".mlo").exists()


def test_a_dvc_project_moves_over_as_it_is_typed(tmp_path: Path) -> None:
    """One that nobody needs DVC to make: a file, and what DVC writes beside it."""
    _, move, _ = blocks("bash")
    project = tmp_path / "project"
    (project / ".dvc").mkdir(parents=True)
    (project / ".dvc" / "config").touch()
    data = b"a,b\n1,2\n"
    (project / "raw.csv").write_bytes(data)
    out = {"md5": hashlib.md5(data).hexdigest(), "path": "raw.csv", "hash": "md5"}
    (project / "raw.csv.dvc").write_text(json.dumps({"outs": [out]}))
    cut = {"cmd": "cut -d, -f1 raw.csv > a.csv", "deps": ["raw.csv"], "outs": ["a.csv"]}
    (project / "dvc.yaml").write_text(json.dumps({"stages": {"cut": cut}}))
    done = subprocess.run(
        ["bash", "-e", "-c", move], cwd=project, env=environ(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (project / "mlo.yaml").exists()
    assert "raw.csv" in (project / "mlo.lock").read_text()
    assert "cut" in done.stdout


def test_the_settings_shown_are_good_ones(tmp_path: Path) -> None:
    (tmp_path / "mlo.yaml").write_text("name: x\n" + "\n".join(blocks("yaml")))
    project = load(tmp_path, {}).project
    assert (project.serve.sla_ms, project.serve.workers) == (50, 2)
    assert project.remote("partners").trust == "shared"
    for name in project.remotes:
        assert open_remote(name, project.remote(name), root=tmp_path).name == name


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
    """With its subcommands and options; several subcommands may follow a group."""
    spans = {span.removeprefix("mlo ") for span in re.findall(r"`(mlo [^`]+)`", README)}
    known = {row.name: row for row in COMMANDS}
    for span in sorted(spans):
        name, *words = span.split()
        assert name in known, span
        found: Any = typer.main.get_command(import_module(known[name].module).app)
        below = getattr(found, "commands", {})
        named = [word for word in words if re.fullmatch("[a-z][a-z-]*", word)]
        if below and len(below) > 1:
            assert set(named) <= below.keys(), span
        command = below[named[0]] if named and named[0] in below else found
        options = {option for param in command.params for option in param.opts}
        assert {word for word in words if word.startswith("-")} <= options, span


def test_every_data_command_is_in_the_readme() -> None:
    (row,) = re.findall(r"^\| data \| `mlo data ([a-z ]+)`", README, re.MULTILINE)
    found: Any = typer.main.get_command(import_module("mlops_cli.cli.commands.data").app)
    assert set(row.split()) == found.commands.keys()
