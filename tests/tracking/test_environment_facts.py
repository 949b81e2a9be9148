"""What a run ran on, and whether its process still lives."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from mlops_cli.core.tracking.environment import describe_environment, installed_packages
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
    assert installed_packages(sys.path) == dict(sorted(expected.items()))


def test_the_first_folder_of_the_path_counts(tmp_path: Path) -> None:
    for folder, version in (("a", "1.0"), ("b", "2.0")):
        (tmp_path / folder / f"My_Package-{version}.dist-info").mkdir(parents=True)
    (tmp_path / "a" / "older-0.5-py3.11.egg-info").mkdir()
    assert installed_packages([str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path / "absent")]) == {
        "my-package": "1.0",
        "older": "0.5",
    }


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
