"""Stages that torchrun starts: the command, what is refused, and that only rank 0 logs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from pipeline_kit import run, statuses, workspace, write_project

from mlops_cli.core.errors import ExtraMissing, ProjectError, StageFailed
from mlops_cli.core.pipeline.process import marked
from mlops_cli.core.pipeline.torchrun import divided, explain_torch, torchrun_command
from mlops_cli.core.project.stages import Launch, Stage, Torchrun

TORCH = os.environ.get("MLO_TORCH_PYTHON")  # read here: no MLO_* variable reaches a test
RUN = "-m torch.distributed.run --standalone --nproc-per-node=2"


def command(cmd: str | list[str], processes: int = 2) -> str | list[str]:
    return torchrun_command(Stage(cmd=cmd, launch=Launch(torchrun=Torchrun(processes=processes))), "train")


@pytest.mark.parametrize(
    ("cmd", "expected"),
    [
        ("python train.py --x 1", f"python {RUN} train.py --x 1"),
        ("  python3   train.py", f"python3 {RUN} train.py"),
        ("python3.12 train.py", f"python3.12 {RUN} train.py"),
        ("/opt/x/bin/python train.py", f"/opt/x/bin/python {RUN} train.py"),
        ("python -u train.py", f"python {RUN} train.py"),
        ("python -m pkg.train --x 1", f"python {RUN} -m pkg.train --x 1"),
        ("train.py --x 1", f"python {RUN} train.py --x 1"),
        ("./bin/train.py", f"python {RUN} ./bin/train.py"),
        ("python 'my train.py' \"$HOME\" 'a b;c'", f"python {RUN} 'my train.py' \"$HOME\" 'a b;c'"),
        ("python train.py > log.txt", f"python {RUN} train.py > log.txt"),
        ("python train.py \\\n  --x 1", f"python {RUN} train.py \\\n  --x 1"),
        ("python train.py -c config.yaml", f"python {RUN} train.py -c config.yaml"),
    ],
)
def test_a_line_is_started_by_torchrun(cmd: str, expected: str) -> None:
    assert command(cmd) == expected


def test_a_list_is_started_by_torchrun() -> None:
    assert command(["python", "-u", "train.py", "a b"], 4) == [
        *("python", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=4"),
        *("train.py", "a b"),
    ]
    assert command(["./train.py"]) == ["python", *RUN.split(), "./train.py"]
    assert command(["python", "-m", "pkg"]) == ["python", *RUN.split(), "-m", "pkg"]


@pytest.mark.parametrize(
    ("cmd", "said"),
    [
        ("sh train.sh", "cmd is sh"),
        ("python", "cmd is python"),
        ("python -m", "cmd is python -m"),
        ("python -u", "cmd is python -u"),
        ("python -c 'print(1)'", "cannot pass -c on"),
        ("python -cprint(1)", "cannot pass -c"),
        ("python -O train.py", "cannot pass -O on"),
        ("python -X dev train.py", "cannot pass -X on"),
        ("python a.py && python b.py", "has &&"),
        ("python a.py; echo done", "has ;"),
        ("python a.py | tee log", r"has \|"),
        ("python a.py &", "has &"),
        ("python a.py\npython b.py", "a second line"),
        ("X=1 python a.py", "cmd is X=1"),
        ("'python' a.py", "cmd is"),
        ("python 'a.py", "does not read"),
        ("torchrun train.py", "cmd is torchrun"),
        (["bash", "train.sh"], "cmd is bash"),
        (["python", "-c", "1"], "cannot pass -c"),
        (["python"], "cmd is python"),
        (["python", "-m"], "cmd is python -m"),
    ],
)
def test_what_is_not_one_script_is_refused(cmd: str | list[str], said: str) -> None:
    with pytest.raises(ProjectError, match=said) as caught:
        command(cmd)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("/usr/bin/python: No module named torch.distributed", True),
        ("ModuleNotFoundError: No module named 'torch'", True),
        ("Error while finding module specification for 'torch.distributed.run' (No module named 'torch')", True),
        ("ModuleNotFoundError: No module named 'torchvision'", False),
        ("", False),
    ],
)
def test_a_failure_without_torch_says_what_to_install(lines: str, said: bool) -> None:
    assert (explain_torch(lines) is not None) is said


def test_the_threads_of_a_stage_are_shared_by_its_processes() -> None:
    environ = {"OMP_NUM_THREADS": "4", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "8"}
    assert divided(environ, {"OMP_NUM_THREADS", "MKL_NUM_THREADS"}, 2) == {
        "OMP_NUM_THREADS": "2",
        "MKL_NUM_THREADS": "1",
    }


# -- stages --------------------------------------------------------------------------------------------------


def launched(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch, **stage: Any) -> None:
    (folder / "train.py").write_text(script)
    stage = {"cmd": "python train.py", "deps": ["train.py"], "launch": {"torchrun": {"processes": 2}}} | stage
    write_project(folder, {"train": stage}, {"alpha": 0.5})
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `torch` whose launcher starts the processes with the variables that torch gives them, and nothing else."""
    package = folder / "lib" / "torch" / "distributed"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "run.py").write_text(
        "import os, subprocess, sys\n"
        "assert sys.argv[1] == '--standalone', sys.argv\n"
        "count = int(sys.argv[2].removeprefix('--nproc-per-node='))\n"
        "told = lambda rank: {**os.environ, 'RANK': str(rank), 'LOCAL_RANK': str(rank), 'WORLD_SIZE': str(count)}\n"
        "command = [sys.executable, '-u', *sys.argv[3:]]\n"
        "ranks = [subprocess.Popen(command, env=told(rank)) for rank in range(count)]\n"
        "sys.exit(max(rank.wait() for rank in ranks))\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(folder / "lib"), os.environ.get("PYTHONPATH")))))


LOGS = """
import os
import mlops_cli as mlo
rank = int(os.environ["RANK"])
with mlo.start_run() as active:
    mlo.log_param("rank", rank)
    mlo.log_params({"more": rank})
    mlo.log_metric("loss", rank + 0.25)
    mlo.log_metrics({"auc": rank + 0.5})
    mlo.set_tag("tag", rank)
    mlo.set_tags({"tags": rank})
    mlo.log_artifact("train.py", f"copy-{rank}.py")
    mlo.log_figure(b"<svg xmlns='http://www.w3.org/2000/svg'/>", f"f{rank}.svg")
open(f"rank{rank}.txt", "w").write(f"{mlo.params()['alpha']} {active.id} {os.environ['WORLD_SIZE']}")
"""


def test_only_rank_0_logs_and_all_read_the_parameters(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(here, monkeypatch)
    launched(here, LOGS, monkeypatch, outs=["rank0.txt", "rank1.txt"], params=["alpha"])
    made = run(here)
    assert statuses(made) == {"train": "ran"}
    assert (here / "rank0.txt").read_text() == (here / "rank1.txt").read_text() == f"0.5 {made.run} 2"
    record = workspace(here).runs.get("latest")
    assert record.metrics == {"loss": 0.25, "auc": 0.5}
    assert record.params == {"alpha": 0.5, "rank": 0, "more": 0}
    assert {name: record.tags[name] for name in ("tag", "tags")} == {"tag": "0", "tags": "0"}
    assert "copy-0.py" in record.artifacts
    assert not any("1" in name for name in record.artifacts)


def test_a_model_of_another_rank_is_not_written(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(here, monkeypatch)
    script = (
        "import os, numpy\nfrom sklearn.linear_model import LogisticRegression\nimport mlops_cli as mlo\n"
        "X = numpy.array([[0.0], [1.0]]); model = LogisticRegression().fit(X, [0, 1])\n"
        "rank = os.environ['RANK']\n"
        "said = mlo.log_model(model, X) if rank == '0' else mlo.log_model(model, X, path='elsewhere')\n"
        "open(f'said{rank}', 'w').write(said.task)\n"
    )
    launched(here, script, monkeypatch, outs=["model", "said0", "said1"])
    run(here)
    assert (here / "model").is_dir()
    assert not (here / "elsewhere").exists()
    assert (here / "said1").read_text() == "classification"


def logged_alone(here: Path) -> dict[str, float]:
    """What a stage that torchrun does not launch logs, whatever RANK says."""
    (here / "train.py").write_text("import mlops_cli as mlo; mlo.log_metric('loss', 1)")
    write_project(here, {"t": {"cmd": [sys.executable, "train.py"], "deps": ["train.py"], "pass_env": ["RANK"]}})
    return run(here).metrics


def test_a_rank_that_mlo_did_not_launch_logs(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert logged_alone(here) == {"loss": 1}


def test_an_mlo_inside_a_launched_stage_launches_anew(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage of its own that is not launched has one process, which logs."""
    monkeypatch.setenv("MLO_LAUNCH", "torchrun")
    monkeypatch.setenv("RANK", "1")
    assert logged_alone(here) == {"loss": 1}


def test_without_torch_nothing_is_touched(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = here / "bare"
    bare.mkdir()
    (bare / "python").write_text("#!/bin/sh\nexit 3\n")
    (bare / "python").chmod(0o755)
    launched(here, "", monkeypatch, cmd=f"{bare / 'python'} train.py", outs=["out.txt"])
    (here / "out.txt").write_text("mine")
    with pytest.raises(ExtraMissing, match="has no torch") as caught:
        run(here, force=True)
    assert caught.value.hint == "pip install torch in the environment of the stage"
    assert (here / "out.txt").read_text() == "mine"


# -- with torch itself ---------------------------------------------------------------------------------------

REAL = """
import os, torch, torch.distributed as dist
dist.init_process_group("gloo")
total = torch.tensor([float(dist.get_rank() + 1)])
dist.all_reduce(total)
if dist.get_rank() == 0:
    open("total.txt", "w").write(f"{total.item()} of {dist.get_world_size()}")
dist.destroy_process_group()
"""


HANGS = "import time, torch.distributed as dist\ndist.init_process_group('gloo')\ntime.sleep(600)\n"


@pytest.mark.torch
@pytest.mark.slow
def test_no_process_of_torch_outlives_the_timeout(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchrun gives each process a session of its own, which no signal to the stage's group reaches."""
    if TORCH is None:
        pytest.skip("needs torch: name a Python that has it in MLO_TORCH_PYTHON")
    launched(here, HANGS, monkeypatch, cmd=f"{TORCH} train.py", timeout="15s")
    with pytest.raises(StageFailed, match="ran longer than its timeout"):
        run(here)
    assert marked({"MLO_STAGE": "train", "MLO_ROOT": str(here)}) == []


@pytest.mark.torch
@pytest.mark.slow
def test_two_processes_of_torch_meet(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Left out even under MLO_REQUIRE_ALL: torch is a gigabyte, and all that is mlo's is tested above."""
    if TORCH is None:
        pytest.skip("needs torch: name a Python that has it in MLO_TORCH_PYTHON")
    launched(here, REAL, monkeypatch, cmd=f"{TORCH} train.py", outs=["total.txt"], timeout="5m")
    assert statuses(run(here)) == {"train": "ran"}
    assert (here / "total.txt").read_text() == "3.0 of 2"
