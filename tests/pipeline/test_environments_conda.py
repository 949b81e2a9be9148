"""conda environments of stages.

The program on PATH that stands for micromamba, mamba or conda keeps to their interface: it makes a prefix of a file.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from environments_kit import made, opened, program

from mlops_cli.core.errors import ProjectError
from mlops_cli.core.pipeline.environments_made import conda_command, find_conda

FILE = "environment.yml"
CONDA = f"""
echo "$@" >> "$CALLS"
[ "$1" != env ] || shift
while [ $# -gt 0 ]; do [ "$1" != --prefix ] || prefix=$2; shift; done
mkdir -p "$prefix/bin" "$prefix/conda-meta" "$prefix/lib/python3.11/site-packages/small-1.0.dist-info"
touch "$prefix/conda-meta/libsmall-dev-2.0-h1_0.json" "$prefix/conda-meta/history"
ln -s {sys.executable} "$prefix/bin/python"
[ ! -e "$FAIL" ] || {{ echo "PackagesNotFoundError: nothing provides small"; exit 1; }}
"""


@pytest.fixture
def shell(here: Path, tmp_path: Path) -> dict[str, str]:
    (here / FILE).write_text("dependencies: [python=3.11, libsmall-dev]\n")
    program(tmp_path / "bin/micromamba", CONDA)
    path = f"{tmp_path / 'bin'}:/usr/bin:/bin"
    return {**os.environ, "PATH": path, "CALLS": str(tmp_path / "calls"), "FAIL": str(tmp_path / "fail")}


def test_an_environment_is_made_of_its_file(here: Path, tmp_path: Path, shell: dict[str, str]) -> None:
    environment = opened(here, shell, conda=FILE)
    (prefix,) = made(here)
    assert (tmp_path / "calls").read_text() == f"create --yes --prefix {prefix} --file {here / FILE}\n"
    seen = environment.variables({**shell, "VIRTUAL_ENV": "/another", "PYTHONHOME": "/x"})
    assert seen["PATH"].startswith(f"{prefix}/bin:")
    assert (seen["CONDA_PREFIX"], seen["PYTHONNOUSERSITE"]) == (str(prefix), "1")
    assert not {"VIRTUAL_ENV", "PYTHONHOME"} & seen.keys()
    described = environment.describe()
    assert described["conda"] == {"libsmall-dev": "2.0-h1_0"}
    assert described["packages"] == {"small": "1.0"}
    assert opened(here, shell, conda=FILE).key == environment.key
    assert (tmp_path / "calls").read_text().count("create") == 1


def test_what_a_package_does_when_it_is_activated_is_done(here: Path, shell: dict[str, str]) -> None:
    environment = opened(here, shell, conda=FILE)
    scripts = made(here)[0] / "etc/conda/activate.d"
    scripts.mkdir(parents=True)
    (scripts / "small.sh").write_text("export SMALL_DATA=there\n")
    for command in ("echo $SMALL_DATA", ["sh", "-c", "echo $SMALL_DATA; echo 'a b' >&2"]):
        wrapped = environment.wrap(command, root=here, folder=here, told={}, title="x")
        assert isinstance(wrapped, str)
        seen = environment.variables(shell)
        done = subprocess.run(["sh", "-c", wrapped], env=seen, capture_output=True, text=True, check=True)
        assert done.stdout == "there\n"


def test_a_failure_is_said_with_its_last_lines(here: Path, tmp_path: Path, shell: dict[str, str]) -> None:
    (tmp_path / "fail").touch()
    with pytest.raises(
        ProjectError, match=r"(?s)environment.yml could not be made: micromamba failed.*nothing provides"
    ):
        opened(here, shell, conda=FILE)
    assert made(here) == []


def test_without_any_of_them_it_says_so(here: Path, tmp_path: Path) -> None:
    (here / FILE).write_text("dependencies: []\n")
    with pytest.raises(ProjectError, match="micromamba, mamba or conda") as caught:
        opened(here, {"PATH": str(tmp_path)}, conda=FILE)
    assert caught.value.exit_code == 5


def test_which_of_them_is_taken_and_how_it_is_called(tmp_path: Path) -> None:
    for name in ("conda", "mamba", "micromamba"):
        found = program(tmp_path / name, "")
        assert find_conda({"PATH": str(tmp_path)}) == str(found)
    prefix, file = tmp_path / "p", tmp_path / "f.yml"
    tail = ["--prefix", str(prefix), "--file", str(file)]
    assert conda_command("/a/conda", prefix, file, explicit=False) == ["/a/conda", "env", "create", *tail]
    assert conda_command("/a/conda", prefix, file, explicit=True) == ["/a/conda", "create", "--yes", *tail]
    assert conda_command("/a/micromamba", prefix, file, explicit=False) == ["/a/micromamba", "create", "--yes", *tail]
