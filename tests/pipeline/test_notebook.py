"""Notebooks as stages, each with a real kernel."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import Mlo
from notebook_kit import code, text, write_notebook
from pipeline_kit import run, statuses, workspace, write_project

from mlops_cli.core.errors import ProjectError, StageFailed
from mlops_cli.core.pipeline.process import marked

pytestmark = pytest.mark.slow

DONE = "open('out.txt', 'w').write('done')"


def project(folder: Path, *cells: str | dict[str, Any], params: dict[str, Any] | None = None, **stage: Any) -> Path:
    """A stage `n` that runs n.ipynb and writes out.txt."""
    write_notebook(folder / "n.ipynb", *cells)
    names = stage.pop("params", list(params or {}))
    write_project(folder, {"n": {"notebook": "n.ipynb", "outs": ["out.txt"], "params": names, **stage}}, params)
    return folder


def reports(folder: Path) -> dict[str, bytes]:
    """The artifacts of the last run, by name."""
    here = workspace(folder)
    artifacts = here.runs.get("latest").artifacts
    return {name: here.store.read(entry.name) for name, entry in artifacts.items()}


def failure(folder: Path) -> StageFailed:
    with pytest.raises(StageFailed) as caught:
        run(folder)
    assert not (folder / "out.txt").exists()
    return caught.value


def started() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mlops_cli", "run"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def kernels() -> list[int]:
    """The processes of the stage in this project; another test may have one of its own."""
    return marked({"MLO_STAGE": "n", "MLO_ROOT": str(Path.cwd())})


# -- what works ----------------------------------------------------------------------------------------------


def test_a_notebook_gets_its_parameters_logs_metrics_and_leaves_reports(here: Path) -> None:
    (here / "work").mkdir()
    (here / "work" / "beside.py").write_text("WORD = 'from the folder of the stage'\n")
    project(
        here,
        text("# Training"),
        code("alpha = 0.1\nmodel = {'depth': 1}\nname = None", "parameters"),
        "import mlops_cli as mlo\nimport beside, os, sys\nprint(beside.WORD, os.getcwd())",
        "mlo.log_metric('auc', alpha + model['depth'])\nmlo.params()['alpha']",
        "open('../out.txt', 'w').write(f'{alpha} {model} {name} {sys.executable}')",
        params={"alpha": 0.5, "model": {"depth": 3, "unread": 1}, "name": 'a "word" of é\n'},
        cwd="work",
    )
    (here / "mlo.yaml").write_text((here / "mlo.yaml").read_text().replace("- model\n", "- model.depth\n"))
    assert statuses(run(here)) == {"n": "ran"}
    assert (here / "out.txt").read_text() == f"0.5 {{'depth': 3}} a \"word\" of é\n {sys.executable}"
    made = reports(here)
    assert sorted(made) == ["logs/n.log", "reports/n.html", "reports/n.ipynb"]
    assert f"from the folder of the stage {here / 'work'}" in made["logs/n.log"].decode()
    page = made["reports/n.html"].decode()
    assert page.startswith("<!doctype html>")
    assert "Training" in page
    assert "from the folder of the stage" in page
    assert "<script" not in page
    assert "http" not in page.split("</style>")[1]
    executed = json.loads(made["reports/n.ipynb"])
    assert [cell["execution_count"] for cell in executed["cells"] if cell["cell_type"] == "code"] == [1, 2, 3, 4, 5]
    assert workspace(here).runs.get("latest").metrics == {"auc": 3.5}
    # Saved with outputs and other metadata it is the same computation.
    shutil.copyfile(here / "n.ipynb", here / "before.ipynb")
    executed["cells"] = [
        cell for cell in executed["cells"] if "injected-parameters" not in cell["metadata"].get("tags", [])
    ]
    (here / "n.ipynb").write_text(json.dumps(executed))
    assert statuses(run(here)) == {"n": "cached"}
    assert reports(here)["reports/n.html"] == made["reports/n.html"]
    # Another parameter is another one, and the notebook itself is never written.
    before = (here / "n.ipynb").read_bytes()
    assert statuses(run(here, overrides={"alpha": "0.7"})) == {"n": "ran"}
    assert (here / "out.txt").read_text().startswith("0.7 ")
    assert (here / "n.ipynb").read_bytes() == before


def test_the_kernel_is_the_python_of_the_stage_and_not_what_the_user_installed(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Path(os.environ["HOME"])
    for folder in (home / ".local/share/jupyter/kernels/python3", home / "Library/Jupyter/kernels/python3"):
        folder.mkdir(parents=True)
        wrong = {"argv": ["/bin/false", "{connection_file}"], "display_name": "wrong", "language": "python"}
        (folder / "kernel.json").write_text(json.dumps(wrong))
    startup = home / ".ipython/profile_default/startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("STARTED = True\n")
    (here / "json.py").write_text("")  # no module of the stage's folder may break Jupyter in the runner
    project(here, "import sys\nassert 'STARTED' not in globals()", "open('out.txt', 'w').write(sys.executable)")
    run(here)
    assert (here / "out.txt").read_text() == sys.executable


def test_output_comes_while_a_cell_still_runs(here: Path) -> None:
    """The cell waits for what the test writes once it has seen the cell's first line."""
    project(
        here,
        "import os, time\nprint('first line')\nwhile not os.path.exists('go'):\n    time.sleep(0.05)",
        DONE,
        timeout="120s",
    )
    process = started()
    assert process.stdout is not None
    for line in process.stdout:
        if b"first line" in line:
            (here / "go").touch()
            break
    process.stdout.read()
    process.stdout.close()
    assert process.wait() == 0


@pytest.mark.parametrize("how", ["import sys\nsys.exit(0)", "exit()"])
def test_exit_in_the_last_cell_is_an_end(here: Path, how: str) -> None:
    project(here, DONE, how, text("words"), "")
    assert statuses(run(here)) == {"n": "ran"}


# -- what fails ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([DONE, "1 / 0", "print('never')"], "cell 2 of 3 failed: ZeroDivisionError: division by zero"),
        ([DONE, "import sys\nsys.exit(0)", "print('never')"], "cell 2 of 3 ended it by sys.exit()"),
        ([DONE, "exit()", "print('never')"], "cell 2 of 3 ended it by exit()"),
        ([DONE, "import os\nos._exit(0)"], "the kernel was gone in cell 2 of 2"),
        ([DONE, "input('word')"], "StdinNotImplementedError"),
    ],
)
def test_a_notebook_that_did_not_run_to_its_end_failed(here: Path, cells: list[str], said: str) -> None:
    project(here, *cells)
    error = failure(here)
    assert said in error.message
    assert "never" not in error.message.replace("print('never')", "")
    made = reports(here)  # of the failed run, to look at; there is no result
    assert "reports/n.ipynb" in made
    assert "reports/n.html" in made
    assert run(here, dry=True).plan[0].action == "run"
    assert kernels() == []


def test_a_cell_that_may_raise_may(here: Path) -> None:
    project(here, code("1 / 0", "raises-exception"), DONE)
    assert statuses(run(here)) == {"n": "ran"}


def test_a_parameter_that_would_not_arrive_stops_everything_before_it_starts(here: Path) -> None:
    project(here, code("beta = 1", "parameters"), DONE, params={"alpha": 1})
    (here / "out.txt").write_text("mine")
    with pytest.raises(ProjectError, match="does not define alpha"):
        run(here, force=True)
    assert (here / "out.txt").read_text() == "mine"


def test_a_notebook_that_is_edited_while_it_runs_gives_no_result(here: Path) -> None:
    project(
        here,
        "import json\nd = json.load(open('n.ipynb'))\nd['cells'][0]['source'] = ['print(1)']",
        "json.dump(d, open('n.ipynb', 'w'))",
        DONE,
    )
    assert "n.ipynb changed while stage n" in failure(here).message


def test_retries_start_with_no_report_of_the_attempt_before(here: Path) -> None:
    project(
        here,
        "import os\nfirst = not os.path.exists('tried')\nopen('tried', 'w').close()",
        "if first:\n    os.kill(os.getppid(), 9)\n    import time; time.sleep(60)",
        DONE,
        retries=1,
    )
    assert statuses(run(here)) == {"n": "ran"}
    assert b"cell-2" in reports(here)["reports/n.ipynb"]


# -- nothing is left -----------------------------------------------------------------------------------------


HANG = "import subprocess, time\nsubprocess.Popen(['sleep', '600'])\nprint('hangs', flush=True)\ntime.sleep(600)"


def test_on_a_timeout_the_kernel_and_what_it_started_end(here: Path) -> None:
    project(here, HANG, timeout="15s")
    error = failure(here)
    assert "ran longer than its timeout of 15s" in error.message
    assert kernels() == []


def test_when_the_runner_is_killed_its_kernel_ends(here: Path) -> None:
    project(here, "import os, time\nos.kill(os.getppid(), 9)", "time.sleep(600)")
    assert "killed by signal 9" in failure(here).message
    assert kernels() == []


def test_after_mlo_was_killed_the_next_run_ends_the_kernel(here: Path) -> None:
    project(here, HANG)
    process = started()
    assert process.stdout is not None
    for line in process.stdout:
        if b"hangs" in line:
            break
    left = kernels()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert len(left) >= 3  # the runner, its kernel, and what that started
    project(here, DONE)
    assert statuses(run(here)) == {"n": "ran"}
    assert not set(left) & set(kernels())
    assert sorted(path.name for path in (here / ".mlo" / "running").iterdir()) == []


def test_interrupted_it_ends_with_its_kernel_and_leaves_what_it_had(here: Path) -> None:
    project(here, "print('before')", HANG)
    process = started()
    assert process.stdout is not None
    for line in process.stdout:
        if b"hangs" in line:
            break
    process.send_signal(signal.SIGINT)
    process.stdout.read()
    process.stdout.close()
    assert process.wait() == 130
    assert kernels() == []
    assert b"before" in reports(here)["reports/n.ipynb"]


# -- secrets -------------------------------------------------------------------------------------------------


def test_secrets_stand_in_no_report(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", 's3<cr>&t\nsecond "line"')
    monkeypatch.setenv("PLAIN", "visible")
    project(
        here,
        "import os, sys, time\ntoken = os.environ['TOKEN'].splitlines()[0]\nprint(token, os.environ['TOKEN'])",
        "for letter in token:\n    print(letter, end='', flush=True)\n    time.sleep(0.25)",
        "token",
        "from IPython.display import HTML\ndisplay(HTML(f'<b>{token}</b>'))",
        "display({'application/json': {token: [token]}}, raw=True)",
        "print(os.environ['PLAIN'])",
        DONE,
        "raise ValueError(token)",
        secrets=["TOKEN"],
        pass_env=["PLAIN"],
    )
    error = failure(here)
    made = reports(here)
    for name, data in made.items():
        for word in (b"s3<cr>&t", b"s3&lt;cr&gt;&amp;t", b"second"):
            assert word not in data, (name, word)
        assert b"***" in data, name
        assert b"visible" in data
    assert "s3<cr>&t" not in error.message


def test_a_missing_package_changes_nothing(here: Path, mlo: Mlo, monkeypatch: pytest.MonkeyPatch) -> None:
    project(here, DONE)
    (here / "out.txt").write_text("mine")
    monkeypatch.setattr("mlops_cli.core.pipeline.notebook.PACKAGES", ("papermill", "no_such_package"))
    answer = mlo("run", "--force", exit_code=5)
    assert "pip install 'mlops-cli[notebook]'" in answer.stderr
    assert (here / "out.txt").read_text() == "mine"
