"""What a run ran on, and whether its process still lives."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from mlops_cli.core.base.distributions import installed, requirement_lines
from mlops_cli.core.tracking.environment import describe_environment
from mlops_cli.core.tracking.names import run_name
from mlops_cli.core.tracking.processes import born, is_alive


def test_the_environment_names_python_processor_and_packages() -> None:
    found = describe_environment()
    assert found["python"] == sys.version.split()[0]
    assert found["cpu"]["count"] >= 1
    assert found["cpu"]["model"]
    assert found["packages"]["numpy"] == metadata.version("numpy")
    assert found["packages"]["scikit-learn"] == metadata.version("scikit-learn")


def test_packages_are_those_that_importlib_finds() -> None:
    expected = {
        str(found.metadata["Name"]).lower().replace("_", "-").replace(".", "-"): found.version
        for found in metadata.distributions()
        if found.metadata["Name"]
    }
    assert installed(sys.path).packages == dict(sorted(expected.items()))


def test_the_first_folder_of_the_path_counts(tmp_path: Path) -> None:
    for folder, version in (("a", "1.0"), ("b", "2.0")):
        (tmp_path / folder / f"My_Package-{version}.dist-info").mkdir(parents=True)
    (tmp_path / "a" / "older-0.5-py3.11.egg-info").mkdir()
    folders = [str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path / "absent")]
    assert installed(folders).packages == {"my-package": "1.0", "older": "0.5"}


def test_what_came_from_an_address_is_named_by_it(tmp_path: Path) -> None:
    said = {
        "plain-1.0": None,
        "edited-2.0": {"url": "file:///home/ada/edited", "dir_info": {"editable": True}},
        "cloned-3.0": {
            "url": "https://example.org/cloned.git",
            "vcs_info": {"vcs": "git", "commit_id": "0" * 40},
            "subdirectory": "python",
        },
        "torn-4.0": "{",
        "odd-5.0": ["url"],
    }
    for name, document in said.items():
        folder = tmp_path / f"{name}.dist-info"
        folder.mkdir()
        if document is not None:
            text = document if isinstance(document, str) else json.dumps(document)
            (folder / "direct_url.json").write_text(text)
    found = installed([str(tmp_path)])
    assert requirement_lines(found.packages, found.urls) == [
        f"cloned @ git+https://example.org/cloned.git@{'0' * 40}#subdirectory=python",
        "edited @ file:///home/ada/edited",
        "odd==5.0",
        "plain==1.0",
        "torn==4.0",
    ]


def test_the_lines_are_those_of_uv_pip_freeze() -> None:
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("needs uv")
    listed = subprocess.run(
        [uv, "pip", "freeze", "--python", sys.executable], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    found = installed(sys.path)
    lines = requirement_lines(found.packages, found.urls)
    plain = {line for line in listed if "==" in line}  # uv writes editable ones as -e ADDRESS
    assert plain <= set(lines)
    assert {line.removeprefix("-e ") for line in listed if line.startswith("-e ")} <= set(found.urls.values())


def test_blas_is_what_numpy_says_it_was_built_with() -> None:
    import numpy as np

    numpy_blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    assert installed(sys.path).blas["numpy"] == f"{numpy_blas['name']} {numpy_blas['version']}"


@pytest.mark.parametrize(
    ("library", "name"),
    [
        ("libopenblas64_p-r0-0cf96a72.3.23.dev.so", "openblas64_p 0.3.23"),
        ("libscipy_openblas64_-32a4b2a6.so", "scipy_openblas64_"),
        ("libgfortran-040039e1-0352e75f.so.5.0.0", None),
    ],
)
def test_without_that_the_bundled_library_names_it(tmp_path: Path, library: str, name: str | None) -> None:
    for folder in ("numpy", "numpy.libs"):
        (tmp_path / folder).mkdir()
    (tmp_path / "numpy.libs" / library).touch()
    assert installed([str(tmp_path)]).blas == ({"numpy": name} if name else {})


def test_mkl_is_named_by_its_distribution(tmp_path: Path) -> None:
    (tmp_path / "mkl-2024.2.1.dist-info").mkdir()
    assert installed([str(tmp_path)]).blas == {"mkl": "2024.2.1"}


def test_gpus_and_their_driver_are_read_where_the_driver_tells_of_them(tmp_path: Path) -> None:
    assert "gpu" not in describe_environment(tmp_path / "absent")
    (tmp_path / "gpus/0000:01:00.0").mkdir(parents=True)
    (tmp_path / "gpus/0000:01:00.0/information").write_text(
        "Model: \t\t NVIDIA A100-SXM4-40GB\nIRQ:   \t\t 17\nGPU UUID: \t GPU-5f1c\n"
    )
    for said in (
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023",
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  535.129.03  Release Build  (dvs-builder@U16)",
    ):
        (tmp_path / "version").write_text(f"{said}\nGCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n")
        assert describe_environment(tmp_path)["gpu"] == {"driver": "535.129.03", "models": ["NVIDIA A100-SXM4-40GB"]}


def test_describing_the_environment_imports_nothing_heavy() -> None:
    code = (
        "import sys; from mlops_cli.core.tracking.environment import describe_environment; describe_environment();"
        "print([m for m in ('numpy', 'pandas', 'sklearn', 'importlib.metadata', 'subprocess') if m in sys.modules])"
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
    assert answer.stdout == "[]\n"


def test_this_process_lives_and_one_that_ended_does_not() -> None:
    assert is_alive(os.getpid(), born(os.getpid()))
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert not is_alive(child.pid)
    assert not is_alive(0)
    assert not is_alive(-1)


def test_a_zombie_has_ended() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert not is_alive(child) or not Path("/proc/self/stat").exists()
    os.waitpid(child, 0)


def test_a_run_has_a_name_of_two_words_that_its_id_chooses() -> None:
    assert run_name("0" * 32) == run_name("0" * 32)
    names = {run_name(f"{number * 7919:032x}") for number in range(2000)}
    assert len(names) > 1000
    assert all(name.count("-") == 1 for name in names)
