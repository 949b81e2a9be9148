"""docker as the environment of a stage.

What is tested is the command line, which is docker's interface. Where stages run, the program on PATH that stands for
docker records how it was called and runs the command here; no daemon is needed.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from environments_kit import opened, program
from pipeline_kit import statuses, workspace, write_project

from mlops_cli.core.errors import ProjectError, StageFailed
from mlops_cli.core.pipeline.command import Opened
from mlops_cli.core.pipeline.environments_docker import DockerEnvironment, container_name
from mlops_cli.core.project.images import check_image
from mlops_cli.core.tracking.processes import is_alive
from mlops_cli.core.workflows.plan import RunRequest
from mlops_cli.core.workflows.run import run_pipeline

IMAGE = f"python@sha256:{'5f' * 32}"
# `docker run`: the options that take a value are passed over up to the image, and what comes after it is run.
DOCKER = """
echo "$@" >> "$DOCKER_CALLS"
case "$1" in
  kill) kill -KILL "$(cat "$DOCKER_CALLS.$2.pid")"; exit 0;;
  run) ;;
  *) exit 1;;
esac
shift
while :; do case "$1" in
  --rm|--init) shift;;
  --name) name=$2; shift 2;;
  -*) shift 2;;
  *) break;;
esac; done
shift
# The daemon is another process, and the container none of ours: no signal to the group of docker reaches it.
env -u MLO_RUN_ID -u MLO_STAGE setsid "$@" &
echo $! > "$DOCKER_CALLS.$name.pid"
wait $!
"""


@pytest.fixture
def docker(tmp_path: Path) -> dict[str, str]:
    program(tmp_path / "bin/docker", DOCKER)
    return {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "DOCKER_CALLS": str(tmp_path / "calls")}


@pytest.fixture
def environment(here: Path, docker: dict[str, str]) -> Opened:
    return opened(here, docker, docker=IMAGE)


def words(environment: Opened, root: Path, command: str | list[str] = "train", **told: str) -> list[str]:
    line = environment.wrap(command, root=root, folder=root / "sub", told=told, title="mlo-1-train")
    assert isinstance(line, list)
    return line


def test_the_command_line(here: Path, tmp_path: Path, environment: Opened) -> None:
    line = words(environment, here, "python train.py > out", MLO_RUN_ID="1", SECRET="hunter2")
    user = f"{os.getuid()}:{os.getgid()}"
    assert line == [
        *(str(tmp_path / "bin/docker"), "run", "--rm", "--init", "--name", "mlo-1-train"),
        *("-v", f"{here}:{here}", "-w", f"{here}/sub", "--user", user),
        *("-e", "MLO_RUN_ID", "-e", "PYTHONUNBUFFERED", "-e", "SECRET", "-e", "HOME=/tmp"),
        *(IMAGE, "sh", "-c", "python train.py > out"),
    ]


def test_a_list_is_not_given_to_a_shell(here: Path, environment: Opened) -> None:
    assert words(environment, here, ["python", "a b.py"])[-3:] == [IMAGE, "python", "a b.py"]


@pytest.mark.parametrize(
    ("visible", "option"),
    [("0", ["--gpus", "device=0"]), ("1,3", ["--gpus", '"device=1,3"']), ("", []), ("-1", [])],
)
def test_gpus_are_those_of_the_stage_and_numbered_anew_inside(
    here: Path, environment: Opened, visible: str, option: list[str]
) -> None:
    line = words(environment, here, CUDA_VISIBLE_DEVICES=visible)
    assert [word for word in line if word == "--gpus" or "device=" in word] == option
    assert "CUDA_VISIBLE_DEVICES" not in line


def test_a_home_that_is_passed_stays(here: Path, environment: Opened) -> None:
    line = words(environment, here, HOME="/home/ada")
    assert "HOME" in line
    assert "HOME=/tmp" not in line


def test_the_cache_and_the_spool_are_mounted_where_they_lie_elsewhere(
    here: Path, tmp_path: Path, docker: dict[str, str]
) -> None:
    (tmp_path / "cache").mkdir()
    environment = DockerEnvironment(IMAGE, cache=tmp_path / "cache", environ=docker)
    line = words(environment, here, MLO_SPOOL=str(tmp_path / "home/spool"))
    assert [line[place + 1] for place, word in enumerate(line) if word == "-v"] == [
        f"{here}:{here}",
        f"{tmp_path}/cache:{tmp_path}/cache:ro",
        f"{tmp_path}/home/spool:{tmp_path}/home/spool",
    ]
    inside = words(environment, tmp_path, MLO_SPOOL=str(tmp_path / "home/spool"))
    assert inside.count("-v") == 1
    with pytest.raises(ProjectError, match="colon"):
        words(environment, tmp_path / "a:b")


@pytest.mark.parametrize(
    "image", ["python:3.11", "python", "python@sha256:5f", "--privileged", f"-x@sha256:{'0' * 64}"]
)
def test_an_image_without_its_digest_is_refused(image: str) -> None:
    with pytest.raises(ProjectError, match="by its digest") as caught:
        check_image(image)
    assert caught.value.hint is not None
    assert "docker inspect" in caught.value.hint
    check_image(f"registry.example.org:5000/team/image:1.2@sha256:{'0a' * 32}")


def test_without_docker_it_says_so(here: Path, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="needs docker, which is not on PATH") as caught:
        opened(here, {"PATH": str(tmp_path)}, docker=IMAGE)
    assert caught.value.exit_code == 5


def test_what_needs_docker_is_refused_before_anything_runs(here: Path, tmp_path: Path, docker: dict[str, str]) -> None:
    stages = {
        "a": {"cmd": "echo > a.txt", "outs": ["a.txt"]},
        "b": {"cmd": "cat a.txt > b.txt", "deps": ["a.txt"], "outs": ["b.txt"], "env": {"docker": IMAGE}},
    }
    write_project(here, stages)
    without = tmp_path / "without"
    without.mkdir()
    for name in ("sh", "cat", "python", "git"):
        if (found := shutil.which(name)) is not None:
            (without / name).symlink_to(found)
    plain = {**docker, "PATH": str(without)}
    with pytest.raises(ProjectError, match="needs docker, which is not on PATH"):
        run_pipeline(workspace(here, **plain), RunRequest())
    assert not (here / "a.txt").exists()
    run_pipeline(workspace(here, **docker), RunRequest())
    again = run_pipeline(workspace(here, **plain), RunRequest())  # what is there needs nobody to make it
    assert statuses(again) == {"a": "cached", "b": "cached"}


def test_doctor_looks_for_what_environments_are_made_with(
    here: Path, tmp_path: Path, mlo: Any, docker: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def said() -> tuple[str, str]:
        found = {finding["subject"]: finding for finding in mlo("doctor", "--json", exit_code=None).json["findings"]}
        return (
            (found["environments"]["state"], found["environments"]["detail"]) if "environments" in found else ("", "")
        )

    write_project(here, {"a": {"cmd": "echo > a.txt", "outs": ["a.txt"]}})
    assert said() == ("", "")
    write_project(here, {"a": {"cmd": "echo > a.txt", "outs": ["a.txt"], "env": {"docker": IMAGE}}})
    monkeypatch.setenv("PATH", docker["PATH"])
    assert said() == ("ok", f"images by {tmp_path / 'bin/docker'}")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert said() == ("warning", "stages name images, and docker is not on PATH")
    write_project(here, {"a": {"cmd": "echo > a.txt", "outs": ["a.txt"]}}, env={"conda": "environment.yml"})
    assert said()[0] == "warning"
    assert "micromamba, mamba or conda" in said()[1]


def test_names_of_containers_are_such_as_docker_takes() -> None:
    assert container_name("mlo-0123-train") == "mlo-0123-train"
    assert container_name("mlo-0123-train@a") != container_name("mlo-0123-train-a")
    assert "@" not in container_name("mlo-0123-train@a")


def test_what_docker_says_is_explained(environment: Opened) -> None:
    said = environment.explain("docker: Cannot connect to the Docker daemon at unix:///var/run/docker.sock.")
    assert said is not None
    assert "docker info" in said
    assert environment.explain("Traceback (most recent call last):") is None


# -- stages --------------------------------------------------------------------------------------------------------


def test_a_stage_runs_in_it_and_the_run_says_so(here: Path, docker: dict[str, str]) -> None:
    write_project(
        here, {"a": {"cmd": "echo $WORD > a.txt", "outs": ["a.txt"], "pass_env": ["WORD"]}}, env={"docker": IMAGE}
    )
    space = workspace(here, **docker, WORD="word-7")
    result = run_pipeline(space, RunRequest())
    assert (here / "a.txt").read_text() == "word-7\n"
    (record,) = result.stages
    kept = space.runs.get(result.run)
    assert kept.environment["environments"] == {record.env: {"docker": IMAGE}}
    called = Path(docker["DOCKER_CALLS"]).read_text()
    assert f"--name mlo-{result.run[:12]}-a " in called
    assert "word-7" not in called
    assert statuses(run_pipeline(space, RunRequest())) == {"a": "cached"}


def test_a_stage_that_hangs_is_ended_where_it_runs(here: Path, tmp_path: Path, docker: dict[str, str]) -> None:
    hang = f"echo $$ > {tmp_path}/pid; exec sleep 600"
    write_project(here, {"a": {"cmd": hang, "outs": ["a.txt"], "timeout": "1s", "env": {"docker": IMAGE}}})
    with pytest.raises(StageFailed, match="timeout"):
        run_pipeline(workspace(here, **docker), RunRequest())
    assert "kill mlo-" in Path(docker["DOCKER_CALLS"]).read_text()
    assert not is_alive(int((tmp_path / "pid").read_text()))


def test_an_overlay_changes_the_environment_and_the_parameters(here: Path, docker: dict[str, str]) -> None:
    (here / "requirements.lock").write_text("")
    write_project(
        here,
        {
            "a": {
                "cmd": "echo $MLO_PARAMS > a.txt",
                "params": ["x"],
                "outs": ["a.txt"],
                "env": {"lock": "requirements.lock"},
            }
        },
        {"x": 1},
    )
    (here / "mlo.ci.yaml").write_text(
        f"params: {{x: 2}}\nstages: {{a: {{env: {{lock: null, docker: '{IMAGE}'}}, timeout: 5m}}}}\n"
    )
    from mlops_cli.core.workflows.workspace import Workspace

    space = Workspace.find(here, docker, environment="ci")
    result = run_pipeline(space, RunRequest())
    assert json.loads((here / "a.txt").read_text()) == {"x": 2}
    assert space.runs.get(result.run).environment["environments"][result.stages[0].env] == {"docker": IMAGE}
    (here / "mlo.ci.yaml").write_text(f"stages: {{a: {{env: {{docker: '{IMAGE}'}}}}}}\n")
    with pytest.raises(ProjectError, match="env names lock and docker") as caught:
        Workspace.find(here, docker, environment="ci")
    assert caught.value.hint is not None
    assert "lock: null" in caught.value.hint
