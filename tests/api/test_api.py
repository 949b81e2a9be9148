"""`import mlops_cli as mlo`: what a script sees, inside `mlo run` and outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlops_cli as mlo
from mlops_cli import api
from mlops_cli.core.errors import NotFound, ProjectError, UsageError
from mlops_cli.core.models.errors import ModelUnsupported, ModelUntrusted
from mlops_cli.core.tracking.errors import NotANumber, ParamChanged, ParamMissing
from mlops_cli.core.tracking.records import Run
from mlops_cli.core.tracking.spool import read_spool
from mlops_cli.core.workflows.workspace import Workspace

YAML = "name: tiny\nparams: {seed: 7, model: {depth: 3}}\nmodel: {name: tiny, path: out/model}\n"
INSIDE = "ab" * 16


@pytest.fixture(autouse=True)
def fresh_session(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test is a script of its own."""
    session = api._Session()
    monkeypatch.setattr(api, "_session", session)
    yield
    if session._own is not None:
        session.end(session._own, failed=False)


@pytest.fixture
def project(here: Path) -> Path:
    (here / "mlo.yaml").write_text(YAML)
    return here


@pytest.fixture
def stage(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As `mlo run` starts a stage's process; returns its spool."""
    spool = project / ".mlo" / "spool" / INSIDE / "train"
    variables = {
        "MLO_RUN_ID": INSIDE,
        "MLO_STAGE": "train",
        "MLO_ROOT": str(project),
        "MLO_SPOOL": str(spool),
        "MLO_PARAMS": json.dumps({"seed": 11, "model": {"depth": 5}}),
        "MLO_MODEL_PATH": "out/model",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return spool


def runs_of(folder: Path) -> list[Run]:
    return Workspace.find(folder, dict(os.environ)).runs.list()


@dataclass
class Script:
    """A script in a process of its own, in the project's folder."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls, folder: Path, text: str) -> Script:
        return cls(
            subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(text)],
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )

    def end(self) -> tuple[int, str]:
        """The exit code and what it said on stderr."""
        _, shown = self.process.communicate()
        return self.process.returncode, shown


def probe(code: str) -> str:
    """What a fresh Python prints; without coverage in it, which imports sqlite3 itself."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ).stdout


# -- what importing costs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import mlops_cli", ["numpy", "pandas", "msgspec", "sqlite3", "mlops_cli.api"]),
        ("import mlops_cli as mlo; mlo.log_metric", ["numpy", "pandas", "sklearn", "pyarrow", "git", "rich", "typer"]),
        ("from mlops_cli import *", ["numpy", "pandas", "sklearn", "pyarrow", "git"]),
    ],
)
def test_importing_mlo_imports_nothing_heavy(code: str, absent: list[str]) -> None:
    assert probe(f"{code}\nimport sys\nprint([m for m in {absent!r} if m in sys.modules])") == "[]\n"


def test_logging_metrics_needs_neither_numpy_nor_a_database(stage: Path) -> None:
    code = (
        "import sys, mlops_cli as mlo; mlo.params(); mlo.log_metric('a', 1); mlo.set_tag('c', 3);"
        "print([m for m in ('numpy', 'sqlite3', 'pandas', 'git', 'importlib.metadata') if m in sys.modules])"
    )
    assert probe(code) == "[]\n"
    assert read_spool(stage).tags == {"c": "3"}


def test_every_name_of_the_api_is_there_and_documented() -> None:
    for name in mlo.__all__:
        found = getattr(mlo, name)
        assert name == "__version__" or found.__doc__, name
    assert set(mlo.__all__) == set(dir(mlo))
    with pytest.raises(AttributeError, match="no attribute 'log_metrik'"):
        mlo.log_metrik  # type: ignore[attr-defined]


# -- parameters ----------------------------------------------------------------------------------------------


def test_parameters_outside_a_run_are_the_projects(project: Path) -> None:
    assert mlo.params() == {"seed": 7, "model": {"depth": 3}}


def test_parameters_inside_a_run_are_those_of_the_stage(stage: Path) -> None:
    assert mlo.params() == {"seed": 11, "model": {"depth": 5}}
    with pytest.raises(ParamMissing, match="stage train"):
        mlo.params()["model"]["rate"]


def test_without_a_project_there_are_no_parameters(here: Path) -> None:
    with pytest.raises(ProjectError, match=r"no mlo\.yaml") as caught:
        mlo.params()
    assert caught.value.__notes__ == [f"hint: {caught.value.hint}"]


# -- inside mlo run ------------------------------------------------------------------------------------------


def test_everything_logged_in_a_stage_goes_to_its_spool(stage: Path, project: Path) -> None:
    (project / "notes.txt").write_text("notes")
    mlo.log_param("lr", 0.1)
    mlo.log_params({"layers": (1, 2)})
    mlo.log_metric("loss", np.float32(0.5))
    mlo.log_metrics({"loss": 0.4, "auc": 0.7}, step=9)
    mlo.set_tag("kind", "test")
    mlo.set_tags({"n": 1})
    mlo.log_artifact("notes.txt")
    mlo.log_artifact(project / "notes.txt", name="deep/other.txt")
    mlo.log_figure("<svg/>", "roc")
    logged = read_spool(stage)
    assert logged.params == {"lr": 0.1, "layers": [1, 2]}
    assert [(point.key, point.value, point.step) for point in logged.metrics] == [
        ("loss", 0.5, 0),
        ("loss", 0.4, 9),
        ("auc", 0.7, 9),
    ]
    assert logged.tags == {"kind": "test", "n": "1"}
    assert set(logged.artifacts) == {"notes.txt", "deep/other.txt", "roc.svg"}


def test_start_run_inside_is_the_current_run_and_does_not_end_it(stage: Path) -> None:
    with mlo.start_run("ignored") as run:
        assert run.id == INSIDE
        assert run.name == "train"
    mlo.set_tag("after", "1")
    assert read_spool(stage).tags == {"after": "1"}
    assert not (stage.parent.parent / INSIDE / "script").exists()


def test_the_clock_of_the_run_is_mlo_now(stage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLO_NOW", "2013-05-01T12:00:00Z")
    mlo.log_metric("a", 1)
    assert read_spool(stage).metrics[0].time_ms == 1367409600000


def test_values_without_a_step_make_a_curve(stage: Path) -> None:
    for value in (0.9, 0.5, 0.7):
        mlo.log_metric("loss", value)
    mlo.log_metric("other", 1)
    mlo.log_metric("loss", 0.1, step=10)
    mlo.log_metric("loss", 0.2)
    assert [(it.key, it.step) for it in read_spool(stage).metrics] == [
        ("loss", 0),
        ("loss", 1),
        ("loss", 2),
        ("other", 0),
        ("loss", 10),
        ("loss", 11),
    ]


def test_a_model_goes_to_model_path_with_the_sha256_of_each_file(stage: Path, project: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    rows = np.array([[0.0], [1.0], [2.0], [3.0]])
    signature = mlo.log_model(LogisticRegression().fit(rows, [0, 0, 1, 1]), example=rows)
    logged = read_spool(stage).model
    assert logged is not None
    assert (logged.path, logged.entry, logged.signature) == ("out/model", None, signature)
    assert set(logged.files) == {"mlo-model.json", "model.skops", "example.parquet"}
    assert mlo.load_model("out/model").predict({"x0": [3.0]}).labels.tolist() == [1]


def test_a_model_can_go_elsewhere_in_the_project_but_not_outside(stage: Path, project: Path) -> None:
    from sklearn.linear_model import LinearRegression

    fitted = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
    mlo.log_model(fitted, path="other")
    assert (project / "other" / "model.skops").is_file()
    with pytest.raises(UsageError, match="outside the project"):
        mlo.log_model(fitted, path="../away")
    with pytest.raises(ProjectError, match="folder of its own"):
        mlo.log_model(fitted, path=".")


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: mlo.log_metric("loss", "0.5"), NotANumber),
        (lambda: mlo.log_metric("loss", None), NotANumber),
        (lambda: mlo.log_metric("", 1), UsageError),
        (lambda: mlo.log_metric("loss", 1, step=0.5), UsageError),  # type: ignore[arg-type]
        (lambda: mlo.log_param("a\nb", 1), UsageError),
        (lambda: mlo.log_artifact("absent.txt"), NotFound),
        (lambda: mlo.log_artifact("mlo.yaml", name="../x"), UsageError),
        (lambda: mlo.log_figure({}, "x"), UsageError),
        (lambda: mlo.log_model({}, example=[[1]]), ModelUnsupported),
        (lambda: mlo.load_model("absent"), NotFound),
        (lambda: mlo.load_model("flights@"), UsageError),
    ],
)
def test_a_wrong_argument_is_said_at_once_with_a_hint_and_logs_nothing(stage: Path, call: Any, error: Any) -> None:
    with pytest.raises(error) as caught:
        call()
    assert caught.value.hint
    assert caught.value.__notes__ == [f"hint: {caught.value.hint}"]
    logged = read_spool(stage)
    assert (logged.params, logged.metrics, logged.artifacts) == ({}, (), {})


def test_one_bad_metric_of_several_logs_none_of_them(stage: Path) -> None:
    with pytest.raises(NotANumber):
        mlo.log_metrics({"good": 1, "bad": "x"})
    mlo.log_metric("good", 2)
    assert [(it.key, it.step) for it in read_spool(stage).metrics] == [("good", 0)]


def test_a_parameter_has_one_value(stage: Path) -> None:
    mlo.log_param("lr", 0.1)
    mlo.log_param("lr", 0.1)
    mlo.log_param("seed", 11)
    mlo.log_params({"model.depth": 5, "odd": float("nan")})
    mlo.log_param("odd", float("nan"))
    with pytest.raises(ParamChanged, match=r"lr was logged as 0\.1 and is now 0\.2"):
        mlo.log_param("lr", 0.2)
    with pytest.raises(ParamChanged, match=r"model\.depth was logged as 5 and is now 6"):
        mlo.log_param("model.depth", 6)


def test_a_parameter_does_not_contradict_mlo_yaml(stage: Path) -> None:
    with pytest.raises(ParamChanged, match=r"seed stands in mlo\.yaml as 11 and is now 12"):
        mlo.log_param("seed", 12)


# -- outside mlo run -----------------------------------------------------------------------------------------


def test_start_run_opens_a_run_of_its_own(project: Path) -> None:
    with mlo.start_run("first try") as run:
        mlo.log_metric("loss", 0.5)
        assert repr(run) == f"<run {run.id[:8]} first try>"
    (found,) = runs_of(project)
    assert (found.id, found.name, found.status, found.metrics) == (run.id, "first try", "finished", {"loss": 0.5})
    assert found.actor == "Ada <ada@example.org>"
    assert found.environment["packages"]["numpy"] == np.__version__
    assert found.pid == os.getpid()


def test_an_exception_makes_the_run_failed_and_passes_on(project: Path) -> None:
    with pytest.raises(RuntimeError, match="boom"), mlo.start_run():
        mlo.log_metric("loss", 0.5)
        raise RuntimeError("boom")
    (found,) = runs_of(project)
    assert (found.status, found.metrics) == ("failed", {"loss": 0.5})


def test_runs_follow_each_other_but_do_not_nest(project: Path) -> None:
    with mlo.start_run("a"), pytest.raises(UsageError, match="still open"):
        mlo.start_run("b")
    with mlo.start_run("b"):
        pass
    assert sorted(run.name for run in runs_of(project)) == ["a", "b"]


def test_the_first_thing_logged_opens_a_run_by_itself(project: Path) -> None:
    mlo.log_metric("loss", 0.5)
    mlo.log_metric("loss", 0.4)
    (found,) = runs_of(project)
    assert (found.status, found.metrics) == ("running", {"loss": 0.4})
    with mlo.start_run("named"):
        pass
    assert sorted(run.status for run in runs_of(project)) == ["finished", "finished"]


def test_a_logged_model_stays_with_the_run_though_the_folder_changes(project: Path) -> None:
    from sklearn.linear_model import LinearRegression

    fitted = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
    with mlo.start_run() as run:
        mlo.log_model(fitted)
    again = LinearRegression().fit([[0.0], [1.0]], [0.0, 9.0])
    with mlo.start_run():
        mlo.log_model(again)
    workspace = Workspace.find(project, dict(os.environ))
    found = workspace.runs.get(run.id)
    assert found.model is not None
    assert found.model.entry is not None
    assert workspace.store.has(found.model.entry.name)
    assert mlo.load_model(f"runs:{run.id}").predict({"x0": [1.0]}).labels.tolist() == pytest.approx([1.0])
    assert mlo.load_model("out/model").predict({"x0": [1.0]}).labels.tolist() == pytest.approx([9.0])


def test_the_commit_and_the_patch_are_kept(project: Path) -> None:
    git = ["git", "-c", "user.name=Ada", "-c", "user.email=a@b.c"]
    (project / "train.py").write_text("print(1)\n")
    for arguments in (["init", "-q", "-b", "main"], ["add", "mlo.yaml", "train.py"], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *arguments], cwd=project, check=True)
    (project / "train.py").write_text("print(2)\n")
    with mlo.start_run():
        pass
    workspace = Workspace.find(project, dict(os.environ))
    (found,) = workspace.runs.list()
    sha = subprocess.run(["git", "rev-parse", "HEAD"], cwd=project, check=True, capture_output=True, text=True)
    assert (found.commit, found.branch, found.dirty) == (sha.stdout.strip(), "main", True)
    assert found.diff is not None
    from mlops_cli.core.base.digest import Digest

    assert b"+print(2)" in workspace.store.read(Digest.parse(found.diff))


def test_a_pickle_loads_from_its_folder_only_once_this_project_logged_it(project: Path) -> None:
    from sklearn.linear_model import LinearRegression

    from mlops_cli.core.models.save import save_model

    fitted = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
    save_model(fitted, project / "stranger", pickle=True)
    with pytest.raises(ModelUntrusted, match="pickle"):
        mlo.load_model("stranger")
    with mlo.start_run():
        mlo.log_model(fitted, path="mine", pickle=True)
    assert mlo.load_model("mine").predict({"x0": [1.0]}).labels.tolist() == pytest.approx([1.0])


def test_outside_a_project_there_is_nothing_to_log_to(here: Path) -> None:
    with pytest.raises(ProjectError, match=r"no mlo\.yaml"):
        mlo.log_metric("a", 1)


# -- scripts of their own ------------------------------------------------------------------------------------


def test_kill_9_loses_nothing_that_was_logged(project: Path) -> None:
    (project / "fill.txt").write_text("kept")
    victim = Script.start(
        project,
        """
        import sys, time
        import mlops_cli as mlo
        mlo.start_run("victim")
        for step in range(500):
            mlo.log_metric("loss", 1 / (step + 1))
        mlo.log_param("lr", 0.1)
        mlo.log_artifact("fill.txt")
        print("logged", flush=True)
        time.sleep(60)
        """,
    )
    assert victim.process.stdout is not None
    assert victim.process.stdout.readline() == "logged\n"
    victim.process.send_signal(signal.SIGKILL)
    assert victim.end() == (-signal.SIGKILL, "")
    workspace = Workspace.find(project, dict(os.environ))
    (found,) = workspace.runs.list()
    assert (found.name, found.status, found.params) == ("victim", "killed", {"lr": 0.1})
    history = workspace.runs.metric_history(found.id, "loss")
    assert [point.step for point in history] == list(range(500))
    assert workspace.store.read(found.artifacts["fill.txt"].name) == b"kept"


def test_a_script_that_fails_shows_the_hint_and_its_run_is_failed(project: Path) -> None:
    code, shown = Script.start(
        project,
        """
        import mlops_cli as mlo
        mlo.log_metric("loss", 0.5)
        mlo.log_metric("loss", "oops")
        """,
    ).end()
    assert code == 1
    assert "metric loss is 'oops', a str and not a number" in shown
    assert "hint: log a number" in shown
    (found,) = runs_of(project)
    assert (found.status, found.metrics) == ("failed", {"loss": 0.5})


def test_a_script_that_ends_by_itself_is_finished(project: Path) -> None:
    lines = "import mlops_cli as mlo; mlo.log_metric('loss', 0.5); raise SystemExit(0)"
    assert Script.start(project, lines).end() == (0, "")
    (found,) = runs_of(project)
    assert found.status == "finished"
    assert found.name.count("-") == 1


def test_workers_of_a_pool_log_to_the_run_of_their_parent(project: Path) -> None:
    ended = Script.start(
        project,
        """
        import multiprocessing, os
        import mlops_cli as mlo

        def work(number):
            mlo.log_metric(f"m{number}", number)

        with mlo.start_run():
            mlo.set_tag("parent", "1")
            with multiprocessing.get_context("fork").Pool(2) as pool:
                pool.map(work, range(4))
        """,
    ).end()
    assert ended == (0, "")
    (found,) = runs_of(project)
    assert found.status == "finished"
    assert found.metrics == {"m0": 0.0, "m1": 1.0, "m2": 2.0, "m3": 3.0}


def test_eight_scripts_at_once_lose_nothing(project: Path) -> None:
    text = """
        import mlops_cli as mlo
        with mlo.start_run():
            for step in range(200):
                mlo.log_metrics({"a": step, "b": -step})
            mlo.set_tag("done", "yes")
        """
    scripts = [Script.start(project, text) for _ in range(8)]
    while any(script.process.poll() is None for script in scripts):
        runs_of(project)  # read while they write
    assert [script.end() for script in scripts] == [(0, "")] * 8
    workspace = Workspace.find(project, dict(os.environ))
    found = workspace.runs.list()
    assert [(run.status, run.metrics, run.tags) for run in found] == [
        ("finished", {"a": 199.0, "b": -199.0}, {"done": "yes"})
    ] * 8
    assert all(len(workspace.runs.metric_history(run.id, "a")) == 200 for run in found)
