"""Environments of locked packages: made once, used by many, never half, and clear about why they cannot be had."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from environments_kit import made, need_uv, offline, opened, program, wheel, without_uv
from pipeline_kit import Notes

from mlops_cli.core.errors import MloError, NotFound, ProjectError
from mlops_cli.core.pipeline import environments_made
from mlops_cli.core.pipeline.command import Opened

LOCK = "requirements.lock"
OWN = ".".join(map(str, sys.version_info[:2]))


@pytest.fixture
def shell(tmp_path: Path, here: Path) -> dict[str, str]:
    """A project with a lock of one small package, and the variables of a shell that has no index."""
    wheel(tmp_path / "wheels", "small", "1.0")
    (here / LOCK).write_text("small==1.0\n")
    return offline(tmp_path / "wheels")


@pytest.fixture(params=["uv", pytest.param("pip", marks=pytest.mark.slow)])
def either(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: dict[str, str]
) -> dict[str, str]:
    """The same where uv is, and where it is not."""
    if request.param == "uv":
        need_uv()
        return shell
    monkeypatch.setattr(environments_made.importlib.util, "find_spec", lambda name: None)
    return without_uv(tmp_path, shell)


def python(environment: Opened, shell: dict[str, str], code: str) -> str:
    """What the environment's python prints, found on PATH as a stage finds it."""
    return subprocess.run(
        ["sh", "-c", f'python -c "{code}"'],
        env=environment.variables(shell),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def test_a_lock_is_installed_and_first_on_path(here: Path, either: dict[str, str]) -> None:
    environment = opened(here, {**either, "PYTHONHOME": "/nowhere"}, lock=LOCK, python=OWN)
    seen = environment.variables({**either, "PYTHONHOME": "/nowhere"})
    assert "PYTHONHOME" not in seen
    assert Path(seen["VIRTUAL_ENV"]) == made(here)[0]
    assert python(environment, either, "import small, sys; print(small.VERSION, sys.prefix)") == f"1.0 {made(here)[0]}"
    described = environment.describe()
    assert described["packages"]["small"] == "1.0"
    assert described["python"] == ".".join(map(str, sys.version_info[:3]))
    environment.close()


def test_it_is_made_once_for_one_lock(here: Path, shell: dict[str, str]) -> None:
    notes = Notes()
    first = opened(here, shell, lock=LOCK, notes=notes)
    second = opened(here, shell, lock=LOCK, notes=notes)
    assert first.key == second.key
    assert len(made(here)) == 1
    assert [line for line in notes.lines if "making" in line] == [
        f"making the environment of Python {'.'.join(map(str, sys.version_info[:3]))}, {LOCK}"
    ]
    (here / LOCK).write_text("small==1.0 # another\n")
    assert opened(here, shell, lock=LOCK).key != first.key


def test_a_python_that_is_not_there_is_said_with_what_to_do(here: Path, either: dict[str, str]) -> None:
    with pytest.raises(ProjectError, match=r"3\.99") as caught:
        opened(here, either, lock=LOCK, python="3.99")
    assert caught.value.hint is not None
    assert "install" in caught.value.hint
    assert made(here) == []


def test_a_package_that_the_index_lacks_is_said_with_the_log(here: Path, either: dict[str, str]) -> None:
    (here / LOCK).write_text("small==1.0\nabsent==2.0\n")
    with pytest.raises(
        ProjectError, match=r"(?s)requirements\.lock could not be made: .* install failed.*absent"
    ) as caught:
        opened(here, either, lock=LOCK)
    assert caught.value.exit_code == 5
    assert caught.value.hint is not None
    log = Path(caught.value.hint.rpartition(" ")[2])
    assert "absent" in log.read_text()
    assert made(here) == []


def test_a_wrong_hash_is_refused(here: Path, shell: dict[str, str]) -> None:
    (here / LOCK).write_text(f"small==1.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(ProjectError) as caught:
        opened(here, shell, lock=LOCK)
    assert caught.value.hint is not None
    assert "what the index gives is not what the lock says" in caught.value.hint


def test_only_what_the_lock_names_is_installed_and_what_lacks_is_told(
    here: Path, tmp_path: Path, either: dict[str, str]
) -> None:
    wheel(tmp_path / "wheels", "large", "1.0", needs=("small",))
    (here / LOCK).write_text("large==1.0\n")
    notes = Notes()
    environment = opened(here, either, lock=LOCK, notes=notes)
    assert "small" not in environment.describe()["packages"]
    assert any("does not name all that its packages need" in line and "small" in line for line in notes.lines)
    said = environment.explain("ModuleNotFoundError: No module named 'small'")
    assert said is not None
    assert "small" in said


def test_what_an_import_that_fails_means(here: Path, shell: dict[str, str]) -> None:
    environment = opened(here, shell, lock=LOCK)
    assert environment.explain("ValueError: nothing of the kind") is None
    said = environment.explain("ModuleNotFoundError: No module named 'mlops_cli'")
    assert said is not None
    assert "must name mlops-cli" in said


def test_a_lock_that_is_absent_or_a_folder_is_an_error(here: Path, shell: dict[str, str]) -> None:
    with pytest.raises(NotFound, match="which does not exist"):
        opened(here, shell, lock="other.lock")
    (here / "folder.lock").mkdir()
    with pytest.raises(ProjectError, match="is a folder"):
        opened(here, shell, lock="folder.lock")
    with pytest.raises(MloError, match="not a path inside"):
        opened(here, shell, lock="../requirements.lock")


# -- never half, never another's -----------------------------------------------------------------------------------

SLOW_UV = """
case "$*" in
  *--version*) exec {uv} "$@";;
  *"pip install"*) touch "$MARK"; while [ -e "$MARK" ] && [ ! -e "$GO" ]; do sleep 0.05; done; exec {uv} "$@";;
  *) exec {uv} "$@";;
esac
"""
OPEN = """
import json, os, sys
from pathlib import Path
from mlops_cli.core.base.progress import Silent
from mlops_cli.core.pipeline.environments import open_environment
from mlops_cli.core.project.stages import Environment
root = Path(sys.argv[1])
opened = open_environment(
    Environment(lock="requirements.lock"), root=root, cache=root / ".mlo/cache", environ=os.environ, progress=Silent()
)
print(json.dumps([opened.key, opened.variables({})["VIRTUAL_ENV"]]), flush=True)
"""


def slow(tmp_path: Path, shell: dict[str, str]) -> dict[str, str]:
    """A uv that says that it is about to install, and waits for leave."""
    program(tmp_path / "slow/uv", SLOW_UV.format(uv=need_uv()))
    more = {"MARK": str(tmp_path / "mark"), "GO": str(tmp_path / "go")}
    return {**shell, **more, "PATH": f"{tmp_path / 'slow'}:{shell['PATH']}"}


def until(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def start(here: Path, environ: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", OPEN, str(here)], env=environ, stdout=subprocess.PIPE, text=True)


def test_what_a_killed_mlo_left_half_built_is_made_anew(here: Path, tmp_path: Path, shell: dict[str, str]) -> None:
    environ = slow(tmp_path, shell)
    killed = start(here, environ)
    until(tmp_path / "mark")
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    (half,) = made(here)
    assert (half / "bin/python").exists()  # it looks like one
    environment = opened(here, shell, lock=LOCK)
    assert made(here) != [half]
    assert len(made(here)) == 1
    assert python(environment, shell, "import small; print(small.VERSION)") == "1.0"
    folder = environments_made.MARK, str(half.parent)
    assert environments_made.end_marked(dict([folder])) == 0  # nor is an installer left


def test_two_that_want_it_at_once_wait_for_each_other(here: Path, tmp_path: Path, shell: dict[str, str]) -> None:
    environ = slow(tmp_path, shell)
    first = start(here, environ)
    until(tmp_path / "mark")
    second = start(here, environ)
    (tmp_path / "go").touch()
    answers = [json.loads(process.communicate(timeout=120)[0]) for process in (first, second)]
    assert answers[0] == answers[1]
    assert made(here) == [Path(answers[0][1])]


def test_threads_share_one_too(here: Path, shell: dict[str, str]) -> None:
    found: list[Opened] = []
    threads = [threading.Thread(target=lambda: found.append(opened(here, shell, lock=LOCK))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({environment.variables(shell)["VIRTUAL_ENV"] for environment in found}) == 1
    assert len(found) == 4


def test_an_interrupt_ends_the_installer(here: Path, tmp_path: Path, shell: dict[str, str]) -> None:
    from mlops_cli.core.pipeline.environments import open_environment
    from mlops_cli.core.pipeline.interrupts import Stop
    from mlops_cli.core.project.stages import Environment

    environ, stop, raised = slow(tmp_path, shell), Stop(), []

    def wait() -> None:
        try:
            open_environment(
                Environment(lock=LOCK),
                root=here,
                cache=here / ".mlo/cache",
                environ=environ,
                progress=Notes(),
                stop=stop,
            )
        except KeyboardInterrupt as error:
            raised.append(error)

    threads = [threading.Thread(target=wait) for _ in range(2)]  # one that makes it, one that waits for that
    for thread in threads:
        thread.start()
    until(tmp_path / "mark")
    stop.ask()
    for thread in threads:
        thread.join(30)
    assert len(raised) == 2
    assert made(here) == []


def remove_package(folder: Path) -> None:
    shutil.rmtree(next(folder.glob("lib/python*/site-packages/small-1.0.dist-info")))


def add_package(folder: Path) -> None:
    (next(folder.glob("lib/python*/site-packages")) / "other-1.0.dist-info").mkdir()


def remove_python(folder: Path) -> None:
    (folder / "bin/python").unlink()
    (folder / "bin/python").symlink_to("/nonexistent/python")


def tear_marker(folder: Path) -> None:
    marker = folder.parent / "ready.json"
    marker.write_bytes(marker.read_bytes()[:40])


@pytest.mark.parametrize("harm", [remove_package, add_package, remove_python, tear_marker, shutil.rmtree])
def test_one_that_is_not_what_it_was_is_made_anew(here: Path, shell: dict[str, str], harm: object) -> None:
    opened(here, shell, lock=LOCK).close()
    (before,) = made(here)
    harm(before)  # type: ignore[operator]
    environment = opened(here, shell, lock=LOCK)
    assert made(here) != [before]
    assert python(environment, shell, "import small; print(small.VERSION)") == "1.0"


def test_a_file_that_went_missing_is_found_when_a_stage_fails_of_it(here: Path, shell: dict[str, str]) -> None:
    environment = opened(here, shell, lock=LOCK)
    next(made(here)[0].glob("lib/python*/site-packages/small.py")).unlink()
    said = environment.explain("ModuleNotFoundError: No module named 'small'")
    assert said is not None
    assert "small.py is missing" in said
    environment.close()
    assert python(opened(here, shell, lock=LOCK), shell, "import small; print(small.VERSION)") == "1.0"


def test_nobody_rebuilds_it_under_a_stage_that_runs_in_it(here: Path, shell: dict[str, str]) -> None:
    running = opened(here, shell, lock=LOCK)
    (folder,) = made(here)
    add_package(folder)
    notes, found = Notes(), []
    other = threading.Thread(target=lambda: found.append(opened(here, shell, lock=LOCK, notes=notes)))
    other.start()
    while not any("waiting" in line for line in notes.lines):
        assert other.is_alive()
        time.sleep(0.01)
    assert made(here) == [folder]
    running.close()
    other.join(60)
    assert found
    assert made(here) != [folder]


def test_a_project_that_moved_makes_its_own(here: Path, shell: dict[str, str]) -> None:
    opened(here, shell, lock=LOCK).close()
    there = here.with_name("moved")
    os.rename(here, there)
    environment = opened(there, shell, lock=LOCK)
    assert Path(environment.variables(shell)["VIRTUAL_ENV"]).is_relative_to(there)


def test_a_lock_that_names_the_project_itself_is_made_for_each_copy(
    here: Path, tmp_path: Path, shell: dict[str, str]
) -> None:
    wheel(here / "wheels", "small", "1.0")
    other = here.with_name("other")
    for root in (here, other):
        root.mkdir(exist_ok=True)
        (root / LOCK).write_text("./wheels/small-1.0-py3-none-any.whl\n")
    wheel(other / "wheels", "small", "1.0", code="print('the other')")
    cache = tmp_path / "shared"
    first, second = (opened(root, shell, lock=LOCK, cache=cache) for root in (here, other))
    assert first.key != second.key
    assert python(second, shell, "import small") == "the other"
    assert second.describe()["urls"]["small"].startswith("file://")


def test_the_shell_around_does_not_lead_installers_astray(here: Path, tmp_path: Path, either: dict[str, str]) -> None:
    hostile = {
        "PIP_TARGET": str(tmp_path / "target"),
        "PIP_USER": "1",
        "PIP_REQUIRE_VIRTUALENV": "1",
        "UV_SYSTEM_PYTHON": "1",
        "VIRTUAL_ENV": str(tmp_path / "another"),
        "PYTHONPATH": str(tmp_path / "path"),
        "PYTHONHOME": str(tmp_path / "home"),
    }
    environment = opened(here, {**either, **hostile}, lock=LOCK)
    assert python(environment, either, "import small; print(small.VERSION)") == "1.0"
    assert not (tmp_path / "target").exists()
