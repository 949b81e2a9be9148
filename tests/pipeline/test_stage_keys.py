"""What each key of a stage does: parameters in files, cwd, persist, when, frozen, secrets, checks and the others."""

from __future__ import annotations

import hashlib
import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from pipeline_kit import Notes, run, statuses, workspace, write_project

from mlops_cli.core.errors import MloError, NotFound, ProjectError, Refused, StageFailed, UsageError
from mlops_cli.core.pipeline.results import stage_key
from mlops_cli.core.project.load import find_root
from mlops_cli.core.workflows.plan import RunRequest, why_stage
from mlops_cli.core.workflows.run import plan_run, run_pipeline
from mlops_cli.core.workflows.status import project_status

PYTHON = sys.executable


def reasons(folder: Path, stage: str) -> list[str]:
    return [reason.text for reason in why_stage(workspace(folder), stage).reasons]


# -- params ----------------------------------------------------------------------------------------------------------

FILES = {
    "params.yaml": "train: {depth: 3, lr: 1e-3}\nseed: 1\n",
    "conf.toml": "[net]\nwidth = 8\n",
    "p.json": '{"k": [1, 2]}',
}


def files_project(here: Path, *params: str) -> None:
    for name, text in FILES.items():
        (here / name).write_text(text)
    write_project(here, {"t": {"cmd": "echo $MLO_PARAMS > o", "params": list(params), "outs": ["o"]}}, {"seed": 7})


def test_values_of_files_arrive_in_the_shape_they_have_there(here: Path) -> None:
    files_project(here, "seed", "params.yaml:train.depth", "conf.toml:net", "p.json:k")
    result = run(here)
    assert json.loads((here / "o").read_text()) == {"seed": 7, "train": {"depth": 3}, "net": {"width": 8}, "k": [1, 2]}
    assert result.params == {"seed": 7, "params.yaml:train.depth": 3, "conf.toml:net.width": 8, "p.json:k": [1, 2]}


def test_a_whole_file_is_its_name_with_a_colon(here: Path) -> None:
    files_project(here, "params.yaml:")
    result = run(here)
    assert json.loads((here / "o").read_text()) == {"train": {"depth": 3, "lr": 0.001}, "seed": 1}
    names = {"params.yaml:train.depth": 3, "params.yaml:train.lr": 0.001, "params.yaml:seed": 1}
    assert result.params == names


def test_only_the_named_key_of_a_file_counts(here: Path) -> None:
    files_project(here, "params.yaml:train.depth")
    run(here)
    (here / "params.yaml").write_text("train: {depth: 3, lr: 5}\nmore: 1\n")
    assert statuses(run(here)) == {"t": "cached"}
    (here / "params.yaml").write_text("train: {depth: 4}\n")
    (reason,) = why_stage(workspace(here), "t").reasons
    assert (reason.kind, reason.name, reason.old, reason.new) == ("param", "params.yaml:train.depth", 3, 4)
    assert reason.text == "param params.yaml:train.depth: 3 -> 4"
    (decision,) = run(here, dry=True).plan
    assert (decision.action, decision.reasons) == ("run", (reason,))
    assert statuses(run(here)) == {"t": "ran"}


def test_an_override_of_a_file_is_refused_with_what_to_do(here: Path) -> None:
    files_project(here, "params.yaml:train.depth")
    with pytest.raises(UsageError, match=r"a file is never rewritten") as caught:
        run(here, overrides={"params.yaml:train.depth": "4"})
    assert caught.value.hint == "move train.depth into params of mlo.yaml, and read it there"
    assert (here / "params.yaml").read_text() == FILES["params.yaml"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("params.yaml:train.dept", None, "train.dept, which params.yaml does not have"),
        ("gone.yaml:x", None, "gone.yaml, which does not exist"),
        ("../out.yaml:x", None, "../out.yaml"),
        ("bad.yaml:x", "a: [", "bad.yaml"),
        ("bad.json:x", "{", "bad.json"),
        ("bad.toml:x", "x = ", "bad.toml"),
        ("list.yaml:x", "- 1", "holds no mapping"),
        ("nan.yaml:x", "x: .nan", "NaN"),
        ("when.yaml:x", "x: 2020-01-01", None),
        ("bytes.yaml:x", "x: !!binary aGk=", "bytes.yaml"),
        ("latin.yaml:x", b"x: \xff", "latin.yaml"),
    ],
)
def test_a_file_that_cannot_give_the_value_is_named_before_anything_runs(
    here: Path, name: str, text: str | bytes | None, says: str | None
) -> None:
    files_project(here, name)
    if text is not None:
        (here / name.partition(":")[0]).write_bytes(text if isinstance(text, bytes) else text.encode())
    if says is None:
        run(here)
        return
    with pytest.raises(ProjectError) as caught:
        run(here)
    assert says in caught.value.message
    assert not (here / "o").exists()


def test_a_file_of_parameters_may_be_what_a_stage_wrote(here: Path) -> None:
    stages = {
        "use": {"cmd": "echo $MLO_PARAMS > o", "params": ["best.json:depth"], "outs": ["o"]},
        "tune": {"cmd": "cat grid.txt > best.json", "deps": ["grid.txt"], "outs": ["best.json"]},
    }
    (here / "grid.txt").write_text('{"depth": 5, "x": 1}')
    write_project(here, stages)
    assert statuses(run(here)) == {"tune": "ran", "use": "ran"}
    assert (here / "o").read_text() == '{"depth":5}\n'
    (here / "grid.txt").write_text('{"depth": 5, "x": 2}')
    assert statuses(run(here)) == {"tune": "ran", "use": "cached"}  # the value is as it was
    (here / "grid.txt").write_text('{"depth": 6, "x": 2}')
    assert [(it.stage, it.action) for it in run(here, dry=True).plan] == [("tune", "run"), ("use", "run")]
    assert statuses(run(here, "use")) == {"tune": "ran", "use": "ran"}
    for name in ("best.json", "o"):
        (here / name).unlink()
    assert [(it.stage, it.action) for it in run(here, dry=True).plan] == [("tune", "restored"), ("use", "run")]
    assert statuses(run(here)) == {"tune": "restored", "use": "restored"}


def test_the_script_reads_them_with_mlo_params(here: Path) -> None:
    files_project(here, "params.yaml:train.depth", "seed")
    (here / "s.py").write_text("import mlops_cli as mlo\nopen('o', 'w').write(str(mlo.params()))\n")
    write_project(
        here,
        {"t": {"cmd": [PYTHON, "s.py"], "params": ["params.yaml:train.depth", "seed"], "outs": ["o"]}},
        {"seed": 7},
    )
    run(here)
    assert (here / "o").read_text() == "{'seed': 7, 'train': {'depth': 3}}"


# -- cmd, cwd --------------------------------------------------------------------------------------------------------


def test_a_command_that_is_a_list_is_run_as_it_stands(here: Path) -> None:
    script = "import sys; open('o', 'w').write(repr(sys.argv[1:]))"
    write_project(here, {"t": {"cmd": [PYTHON, "-c", script, "$HOME", "a b", "*"], "outs": ["o"]}})
    run(here)
    assert (here / "o").read_text() == "['$HOME', 'a b', '*']"


def test_paths_are_the_projects_wherever_the_command_runs(here: Path) -> None:
    (here / "sub").mkdir()
    (here / "sub" / "in").write_text("x\n")
    stage = {"cmd": "cat in > out; pwd > ../where", "cwd": "sub", "deps": ["sub/in"], "outs": ["sub/out", "where"]}
    write_project(here, {"t": stage})
    run(here)
    assert (here / "sub" / "out").read_text() == "x\n"
    assert Path((here / "where").read_text().strip()).samefile(here / "sub")
    assert statuses(run(here)) == {"t": "cached"}
    (here / "other").mkdir()
    write_project(here, {"t": {**stage, "cwd": "other", "cmd": "cat ../sub/in > ../sub/out; pwd > ../where"}})
    assert "the folder it runs in changed" in reasons(here, "t")


@pytest.mark.parametrize("cwd", ["gone", "file", "../"])
def test_a_folder_that_is_none_is_refused(here: Path, cwd: str) -> None:
    (here / "file").write_text("")
    write_project(here, {"t": {"cmd": "true", "cwd": cwd, "outs": ["o"]}})
    with pytest.raises(MloError) as caught:
        run(here)
    assert cwd.rstrip("/") in caught.value.message


# -- persist ---------------------------------------------------------------------------------------------------------

COUNTER = {"cmd": "echo $X >> log.txt", "deps": ["in"], "persist": ["log.txt"]}


def counted(here: Path, stage: dict[str, Any] = COUNTER, **more: Any) -> None:
    if not (here / "in").exists():
        (here / "in").write_text("1")
    write_project(here, {"t": stage}, **more)


def lines(here: Path) -> int:
    return len((here / "log.txt").read_text().splitlines())


@pytest.mark.parametrize("link", ["copy", "hardlink", "symlink"])
def test_what_persists_stays_and_the_cache_is_not_harmed(here: Path, link: str) -> None:
    counted(here, cache={"link": [link]})
    run(here)
    (here / "log.txt").unlink()
    run(here)  # now it is a link into the cache, where that is how files are placed
    store = workspace(here).store
    first = workspace(here).read_lock().stages["t"].outs["log.txt"]
    (here / "in").write_text("2")
    assert statuses(run(here)) == {"t": "ran"}
    assert lines(here) == 2
    from mlops_cli.core.base.digest import Digest

    assert store.read(Digest.parse(first.digest)) == b"\n"


def test_a_folder_that_persists_can_be_written_to(here: Path) -> None:
    stage = {"cmd": "mkdir -p d && echo $$ >> d/log && touch d/$(ls d | wc -l)", "deps": ["in"], "persist": ["d"]}
    (here / "in").write_text("1")
    write_project(here, {"t": stage}, cache={"link": ["hardlink"]})
    run(here)
    (here / "in").write_text("2")
    run(here)
    assert len((here / "d" / "log").read_text().splitlines()) == 2
    assert all(path.stat().st_mode & stat.S_IWUSR for path in (here / "d").iterdir())


def test_after_a_failure_what_persists_is_as_before(here: Path) -> None:
    counted(here)
    run(here)
    (here / "in").write_text("2")
    write_project(here, {"t": {**COUNTER, "cmd": "echo $X >> log.txt; exit 3"}})
    with pytest.raises(StageFailed):
        run(here)
    assert lines(here) == 1
    counted(here)
    run(here)
    assert lines(here) == 2


def test_a_retry_goes_on_from_what_stood_there_before_and_not_from_half_a_try(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlops_cli.core.pipeline.stage.RETRY_S", 0.0)
    counted(here)
    run(here)
    (here / "in").write_text("2")
    counted(
        here, {**COUNTER, "cmd": "echo $X >> log.txt; [ -e ../again ] || { touch ../again; exit 1; }", "retries": 1}
    )
    run(here)
    assert lines(here) == 2


def test_a_result_that_hangs_on_what_stood_before_is_not_taken_from_the_cache(here: Path) -> None:
    counted(here)
    run(here)
    for text, count in (("2", 2), ("1", 3)):  # back to the first inputs, but not to the first log
        (here / "in").write_text(text)
        assert statuses(run(here)) == {"t": "ran"}
        assert lines(here) == count
    (here / "log.txt").unlink()
    assert statuses(run(here)) == {"t": "restored"}  # what mlo.lock says of it is its result
    assert lines(here) == 3


def test_to_persist_or_not_is_part_of_the_key(here: Path) -> None:
    counted(here)
    run(here)
    write_project(here, {"t": {"cmd": COUNTER["cmd"], "deps": ["in"], "outs": ["log.txt"]}})
    assert "which outputs persist changed" in reasons(here, "t")


# -- when ------------------------------------------------------------------------------------------------------------

GATED = {
    "eval": {"cmd": 'echo "{\\"auc\\": $(cat score)}" > m.json', "deps": ["score"], "metrics": ["m.json"]},
    "far": {"cmd": "cp m.json copy.json", "deps": ["m.json"], "outs": ["copy.json"]},
    "deploy": {"cmd": "echo yes > deployed", "deps": ["copy.json"], "outs": ["deployed"], "when": "auc >= floor"},
    "after": {"cmd": "cat deployed > told", "deps": ["deployed"], "outs": ["told"]},
}


def gated(here: Path, score: str = "0.9", **change: Any) -> None:
    (here / "score").write_text(score)
    write_project(here, {**GATED, "deploy": {**GATED["deploy"], **change}}, {"floor": 0.8})


def test_a_condition_is_asked_of_the_metrics_upstream_however_far(here: Path) -> None:
    gated(here)
    assert statuses(run(here)) == dict.fromkeys(GATED, "ran")
    gated(here, "0.5")
    result = run(here)
    assert statuses(result) == {"eval": "ran", "far": "ran", "deploy": "skipped", "after": "skipped"}
    assert result.status == "finished"
    # What it made before stays, and so does what the lock says of it.
    assert (here / "deployed").read_text() == "yes\n"
    assert {"deploy", "after"} <= workspace(here).read_lock().stages.keys()


def test_a_plan_says_what_is_skipped_and_why(here: Path) -> None:
    gated(here, "0.5")
    plan = {it.stage: it for it in run(here, dry=True).plan}
    assert plan["deploy"].action == "run"
    assert "then it is known whether auc >= floor" in plan["deploy"].text
    run(here)
    plan = {it.stage: it for it in run(here, dry=True).plan}
    assert {name: it.action for name, it in plan.items()} == {
        "eval": "cached",
        "far": "cached",
        "deploy": "skipped",
        "after": "skipped",
    }
    assert plan["deploy"].text == "not auc >= floor: auc is 0.5, floor is 0.8"
    assert plan["deploy"].reasons[0].new == {"auc": 0.5, "floor": 0.8}
    assert plan["after"].text == "deploy is skipped"
    found = project_status(workspace(here))
    assert [it.action for it in found.stages][2:] == ["skipped", "skipped"]
    assert found.clean
    assert why_stage(workspace(here), "deploy").action == "skipped"


def test_a_record_says_that_a_stage_was_skipped(here: Path) -> None:
    gated(here, "0.5")
    result = run(here)
    recorded = workspace(here).runs.get(result.run)
    assert {it.name: (it.status, it.outs, it.key) for it in recorded.stages}["deploy"] == ("skipped", {}, "")
    assert recorded.status == "finished"


def test_metrics_of_cached_and_restored_stages_count_as_well(here: Path) -> None:
    gated(here, "0.5")
    run(here)
    gated(here, "0.9")
    run(here)
    (here / "m.json").unlink()
    (here / "score").write_text("0.5")
    assert statuses(run(here))["deploy"] == "skipped"  # all restored
    assert statuses(run(here))["deploy"] == "skipped"  # all cached


def test_metrics_of_stages_upstream_that_were_not_asked_for_count_as_they_last_were(here: Path) -> None:
    gated(here, "0.5")
    run(here)
    assert statuses(run(here, "deploy", alone=True)) == {"deploy": "skipped"}
    gated(here, "0.5", when="auc >= 0.4")
    assert statuses(run(here, "deploy", alone=True)) == {"deploy": "ran"}


def test_metrics_of_stages_that_do_not_stand_above_do_not_count(here: Path) -> None:
    """Side by side, it would hang on who ends first."""
    gated(here)
    write_project(here, {**GATED, "deploy": {**GATED["deploy"], "deps": ["score"]}}, {"floor": 0.8})
    assert statuses(run(here))["deploy"] == "skipped"
    (decision,) = [it for it in run(here, dry=True).plan if it.stage == "deploy"]
    assert "auc is not known here (metrics of what it depends on count)" in decision.text


@pytest.mark.parametrize("when", ["aux > 0", "not aux > 0", "aux == aux", "floor / 0 > 1", "'x' > 1"])
def test_what_is_missing_or_no_number_never_passes(here: Path, when: str) -> None:
    gated(here, when=when)
    assert statuses(run(here))["deploy"] == "skipped"


def test_a_condition_on_a_parameter_follows_an_override(here: Path) -> None:
    gated(here)
    assert statuses(run(here, overrides={"floor": "0.95"}))["deploy"] == "skipped"
    assert statuses(run(here))["deploy"] == "ran"


def test_a_condition_that_changed_its_mind_restores(here: Path) -> None:
    gated(here)
    run(here)
    gated(here, when="auc > 1")
    run(here)
    gated(here)
    assert statuses(run(here)) == dict.fromkeys(GATED, "cached")


def test_force_does_not_run_what_is_skipped(here: Path) -> None:
    gated(here, "0.5")
    assert statuses(run(here, "deploy", force=True))["deploy"] == "skipped"


# -- frozen ----------------------------------------------------------------------------------------------------------

ICE = {
    "up": {"cmd": "cat in > up.txt", "deps": ["in"], "outs": ["up.txt"]},
    "ice": {"cmd": "cat up.txt > ice.txt", "deps": ["up.txt"], "outs": ["ice.txt"], "frozen": True},
    "down": {"cmd": "cat ice.txt > down.txt", "deps": ["ice.txt"], "outs": ["down.txt"]},
}


def frozen(here: Path, *, is_frozen: bool = True) -> None:
    (here / "in").write_text("1")
    write_project(here, {**ICE, "ice": {**ICE["ice"], "frozen": is_frozen}})


def test_a_frozen_stage_stays_as_it_is_and_asks_for_nothing(here: Path) -> None:
    frozen(here, is_frozen=False)
    run(here)
    frozen(here)
    (here / "in").write_text("2")
    assert statuses(run(here, "down")) == {"ice": "cached", "down": "cached"}
    (here / "in").unlink()
    assert statuses(run(here, "down")) == {"ice": "cached", "down": "cached"}
    (here / "ice.txt").unlink()
    assert statuses(run(here, "down")) == {"ice": "restored", "down": "cached"}
    (decision, *_) = run(here, "down", dry=True).plan
    assert decision.text == "it is frozen"


def test_what_stands_at_a_frozen_stage_is_what_others_read(here: Path) -> None:
    frozen(here)
    (here / "ice.txt").write_text("by hand\n")
    assert statuses(run(here, "down")) == {"ice": "cached", "down": "ran"}
    assert (here / "down.txt").read_text() == "by hand\n"
    (here / "ice.txt").write_text("by hand again\n")
    assert statuses(run(here, "down")) == {"ice": "cached", "down": "ran"}
    lock = workspace(here).read_lock()
    assert lock.stages["ice"].outs["ice.txt"].size == len("by hand again\n")


def test_a_frozen_stage_that_has_nothing_says_how_to_get_it(here: Path) -> None:
    frozen(here)
    with pytest.raises(ProjectError, match=r"ice is frozen, and ice.txt is not here") as caught:
        run(here, "down")
    assert "mlo run --force ice" in str(caught.value.hint)


def test_only_force_by_its_name_runs_a_frozen_stage_with_what_it_depends_on(here: Path) -> None:
    frozen(here, is_frozen=False)
    run(here)
    frozen(here)
    assert statuses(run(here, force=True)) == {"up": "ran", "ice": "cached", "down": "ran"}
    (here / "in").write_text("2")
    assert statuses(run(here, "ice", force=True)) == {"up": "ran", "ice": "ran"}
    assert (here / "ice.txt").read_text() == "2"


def test_a_frozen_stage_needs_no_deps_no_params_no_secrets_and_no_gpu(here: Path) -> None:
    write_project(
        here,
        {
            "ice": {
                "cmd": "true",
                "deps": ["nowhere"],
                "params": ["gone.yaml:x"],
                "outs": ["ice.txt"],
                "secrets": ["NO_SUCH"],
                "resources": {"gpus": 99},
                "frozen": True,
            }
        },
    )
    (here / "ice.txt").write_text("x")
    assert statuses(run(here)) == {"ice": "cached"}


def test_a_frozen_stage_below_a_skipped_one_stays_as_it_is(here: Path) -> None:
    frozen(here)
    write_project(here, {**ICE, "up": {**ICE["up"], "when": "1 > 2"}})
    (here / "ice.txt").write_text("x")
    assert statuses(run(here)) == {"up": "skipped", "ice": "cached", "down": "ran"}


# -- deterministic, pass_env, resources --------------------------------------------------------------------------------


@pytest.mark.parametrize(("deterministic", "notes"), [(True, 1), (False, 0)])
def test_another_output_from_the_same_inputs_is_pointed_out_unless_that_is_meant(
    here: Path, deterministic: bool, notes: int
) -> None:
    write_project(here, {"t": {"cmd": "date +%N > o", "outs": ["o"], "deterministic": deterministic}})
    run(here)
    again = workspace(here)
    run_pipeline(again, RunRequest(force=True))
    progress = again.progress
    assert isinstance(progress, Notes)
    assert sum("came out differently" in line for line in progress.lines) == notes


def test_a_variable_that_is_passed_counts_and_no_other_arrives(here: Path) -> None:
    write_project(here, {"t": {"cmd": "echo $SEEN-$UNSEEN > o", "outs": ["o"], "pass_env": ["SEEN"]}})
    request = RunRequest()
    run_pipeline(workspace(here, SEEN="1", UNSEEN="2"), request)
    assert (here / "o").read_text() == "1-\n"
    assert statuses(run_pipeline(workspace(here, SEEN="1", UNSEEN="3"), request)) == {"t": "cached"}
    assert statuses(run_pipeline(workspace(here, SEEN="2"), request)) == {"t": "ran"}
    (decision,) = plan_run(workspace(here, SEEN="3"), request).plan
    assert decision.text == "a variable of pass_env changed (SEEN)"


@pytest.mark.parametrize(
    ("resources", "says"),
    [
        ({"gpus": 2}, "wants 2 GPUs, and this machine has 1"),
        ({"memory": "900000GB"}, "wants 900000GB of memory"),
        ({"cpus": 99999}, "wants 99999 CPUs"),
    ],
)
def test_more_than_the_machine_has_is_refused_before_anything_runs(
    here: Path, resources: dict[str, Any], says: str
) -> None:
    first = {"cmd": "touch ran", "outs": ["ran"]}
    write_project(here, {"first": first, "t": {"cmd": "true", "outs": ["o"], "resources": resources}})
    for act in (run_pipeline, plan_run):
        with pytest.raises(ProjectError) as caught:
            act(workspace(here, CUDA_VISIBLE_DEVICES="0"), RunRequest())
        assert says in caught.value.message
    assert not (here / "ran").exists()


def test_what_is_up_to_date_or_restored_needs_no_gpu_and_no_secret(here: Path) -> None:
    stage = {"cmd": "echo $CUDA_VISIBLE_DEVICES > o", "outs": ["o"], "resources": {"gpus": 1}, "secrets": ["TOKEN"]}
    write_project(here, {"t": stage})
    run_pipeline(workspace(here, CUDA_VISIBLE_DEVICES="GPU-7,GPU-8", TOKEN="hunter2"), RunRequest())
    assert (here / "o").read_text() == "GPU-7\n"
    bare = workspace(here, CUDA_VISIBLE_DEVICES="")
    assert statuses(run_pipeline(bare, RunRequest())) == {"t": "cached"}
    (here / "o").unlink()
    assert statuses(run_pipeline(bare, RunRequest())) == {"t": "restored"}
    with pytest.raises(ProjectError, match="secret"):
        run_pipeline(bare, RunRequest(force=True))


# -- secrets ---------------------------------------------------------------------------------------------------------

SECRET = 'hunter2-Zq9/ä"x'


def test_a_secret_is_nowhere_but_in_the_stage(here: Path) -> None:
    script = (
        "import os, sys, json\n"
        "s = os.environ['TOKEN']\n"
        "sys.stdout.write('half: ' + s[:5]); sys.stdout.flush()\n"
        "sys.stdout.write(s[5:] + '\\n' + json.dumps({'t': s}) + '\\n')\n"
        "print(os.environ['MLO_PARAMS'])\n"
        "open('o', 'w').write(str(len(s)))\n"
        "sys.exit(len(sys.argv) > 1)\n"
    )
    (here / "s.py").write_text(script)
    stage = {"cmd": [PYTHON, "s.py"], "deps": ["s.py"], "params": ["p"], "outs": ["o"], "secrets": ["TOKEN"]}
    write_project(here, {"t": stage}, {"p": "plain"})
    heard = _Heard()
    run_pipeline(workspace(here, TOKEN=SECRET), RunRequest(), watcher=heard)
    assert (here / "o").read_text() == str(len(SECRET))
    assert b"half: ***\n" in heard.text
    assert b'{"t": "***"}' in heard.text
    assert b'{"p":"plain"}' in heard.text
    write_project(here, {"t": {**stage, "cmd": [PYTHON, "s.py", "fail"]}}, {"p": "plain"})
    with pytest.raises(StageFailed) as caught:
        run_pipeline(workspace(here, TOKEN=SECRET), RunRequest())
    assert "half: ***" in caught.value.message
    assert SECRET not in caught.value.message
    forms = [SECRET.encode(), json.dumps(SECRET)[1:-1].encode(), SECRET[:7].encode()]
    for path in [*here.rglob("*"), *here.glob(".*/**/*")]:
        if path.is_file():
            data = path.read_bytes()
            assert not any(form in data for form in forms), path


class _Heard:
    listens = True

    def __init__(self) -> None:
        self.text = b""

    def planned(self, names: Any, jobs: int) -> None: ...
    def turned(self, name: str, state: str, why: str) -> None: ...
    def over(self) -> None: ...

    def printed(self, name: str, block: bytes) -> None:
        self.text += block


def test_a_secret_that_is_absent_stops_the_run_before_it_starts(here: Path) -> None:
    write_project(
        here,
        {"first": {"cmd": "touch ran", "outs": ["ran"]}, "t": {"cmd": "true", "outs": ["o"], "secrets": ["TOKEN"]}},
    )
    for environ in ({}, {"TOKEN": ""}):
        with pytest.raises(ProjectError, match=r"t needs the secret TOKEN, which is not in the environment"):
            run_pipeline(workspace(here, **environ), RunRequest())
    assert not (here / "ran").exists()


def test_another_secret_is_no_reason_to_run_again(here: Path) -> None:
    write_project(here, {"t": {"cmd": "true > o", "outs": ["o"], "secrets": ["TOKEN"]}})
    run_pipeline(workspace(here, TOKEN="first"), RunRequest())
    assert statuses(run_pipeline(workspace(here, TOKEN="second"), RunRequest())) == {"t": "cached"}


# -- checks ----------------------------------------------------------------------------------------------------------


def test_a_check_before_that_fails_touches_nothing(here: Path) -> None:
    (here / "in.csv").write_text("a\n1\n")
    (here / "o").write_text("mine")
    (here / "before.yaml").write_text("data: in.csv\nchecks: [{column: a, between: [5, 9]}]\n")
    stage = {"cmd": "touch ran; true > o", "deps": ["in.csv"], "outs": ["o"], "checks": {"before": ["before.yaml"]}}
    write_project(here, {"t": stage})
    with pytest.raises(Refused) as caught:
        run(here, force=True)
    assert caught.value.exit_code == 3
    assert (here / "o").read_text() == "mine"
    assert not (here / "ran").exists()
    (here / "in.csv").write_text("a\n7\n")
    assert statuses(run(here, force=True)) == {"t": "ran"}


def test_checks_may_stand_on_both_sides(here: Path) -> None:
    (here / "in.csv").write_text("a\n1\n")
    (here / "rows.yaml").write_text("data: in.csv\nchecks: [{column: a, between: [0, 9]}]\n")
    (here / "out.yaml").write_text("data: out.csv\nchecks: [{column: a, between: [5, 9]}]\n")
    checks = {"before": ["rows.yaml"], "after": ["out.yaml"]}
    write_project(here, {"t": {"cmd": "cp in.csv out.csv", "deps": ["in.csv"], "outs": ["out.csv"], "checks": checks}})
    with pytest.raises(Refused):
        run(here)
    assert not (here / "out.csv").exists()


# -- what does not go together -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "says"),
    [
        ("{deps: [x]}", "the key cmd is missing"),
        ("{cmd: '', outs: [x]}", "cmd"),
        ("{cmd: a, notebook: b.ipynb}", "has both cmd and notebook"),
        ("{notebook: b.ipynb, launch: {torchrun: {processes: 2}}}", "not with a notebook"),
        ("{cmd: a, secrets: [X], pass_env: [X]}", "names X under pass_env and under secrets"),
        ("{cmd: a, env: {}}", "env names no environment"),
        ("{cmd: a, env: {lock: l, docker: d}}", "env names lock and docker"),
        ("{cmd: a, env: {python: 3.11, lock: l}}", "env.python"),
        ("{cmd: a, whn: x}", "unknown key whn"),
        ("{cmd: a, retries: -1}", "retries"),
        ("{cmd: a, timeout: soon}", "timeout"),
        ("{cmd: a, resources: {gpus: -1}}", "resources.gpus"),
        ("{cmd: a, resources: {memory: much}}", "resources.memory"),
        ("{cmd: a, launch: {torchrun: {processes: 0}}}", "processes"),
        ("{cmd: [], outs: [x]}", "cmd"),
        ("{cmd: a, pass_env: ['A B']}", "pass_env"),
    ],
)
def test_keys_that_do_not_go_together_are_named_with_their_line(here: Path, stage: str, says: str) -> None:
    (here / "mlo.yaml").write_text(f"name: kit\nstages:\n  t: {stage}\n")
    assert find_root(here) == here
    with pytest.raises(ProjectError) as caught:
        workspace(here)
    assert says in caught.value.message
    assert caught.value.message.startswith("mlo.yaml:3:")


@pytest.mark.parametrize("when", ["auc >=", "open('x')", "a ; b", "(" * 30 + "a" + ")" * 30])
def test_a_condition_that_does_not_parse_is_named(here: Path, when: str) -> None:
    write_project(here, {"t": {"cmd": "true", "when": when}})
    with pytest.raises(ProjectError, match="stage t: when does not parse"):
        run(here)


def test_a_missing_dep_of_a_stage_that_was_not_asked_for_says_who_makes_it(here: Path) -> None:
    frozen(here)
    with pytest.raises(NotFound, match=r"down reads ice.txt, which does not exist; ice makes it") as caught:
        run(here, "down", alone=True)
    assert caught.value.hint == "mlo run down brings all that it reads up to date first"


# -- what an earlier version wrote -------------------------------------------------------------------------------------

# The sha256 of this text, by FORMAT.md; a stage without new keys has the key that it had before there were any.
CANONICAL = (
    '{"cmd":"cat in.txt > o","deps":{"in.txt":"xxh128:b5f4b6c80a91b5b0a1a87c2f1ebd1b34"},"outs":["o"],'
    '"params":{"lr":0.5},"pass_env":{"SEEN":null},"version":1}'
)
OLD_KEY = "39595f765f31ba98f564b23b57bc76ec0e7784875162a7f0bb994cde66fb4691"  # pragma: allowlist secret


def test_a_key_is_the_sha256_of_the_text_that_the_format_says() -> None:
    key = stage_key(
        "cat in.txt > o",
        deps={"in.txt": "xxh128:b5f4b6c80a91b5b0a1a87c2f1ebd1b34"},
        params={"lr": 0.5},
        outs=("o",),
        pass_env={"SEEN": None},
        facts={},
    )
    assert key == hashlib.sha256(CANONICAL.encode()).hexdigest() == OLD_KEY


def test_keys_that_do_not_change_what_comes_out_are_not_in_it(here: Path) -> None:
    (here / "in.txt").write_text("x")
    plain = {"cmd": "cat in.txt > o", "deps": ["in.txt"], "params": ["lr"], "outs": ["o"]}
    write_project(here, {"t": plain}, {"lr": 0.5})
    run(here)
    (here / "c.yaml").write_text("data: in.csv\nchecks: [{column: a, between: [0, 9]}]\n")
    (here / "in.csv").write_text("a\n1\n")
    more = {
        "timeout": "1h",
        "retries": 3,
        "mutex": "db",
        "resources": {"cpus": 1, "memory": "1MiB"},
        "deterministic": False,
        "when": "lr > 0",
        "checks": {"before": ["c.yaml"]},
    }
    write_project(here, {"t": plain | more}, {"lr": 0.5})
    assert statuses(run(here)) == {"t": "cached"}
    assert sha256_of(here, "t") == hashlib.sha256(canonical(here).encode()).hexdigest()


def sha256_of(here: Path, stage: str) -> str:
    return workspace(here).read_lock().stages[stage].key


def canonical(here: Path) -> str:
    digest = workspace(here).read_lock().stages["t"].deps["in.txt"]
    document = {
        "version": 1,
        "cmd": "cat in.txt > o",
        "deps": {"in.txt": digest},
        "params": {"lr": 0.5},
        "outs": ["o"],
        "pass_env": {},
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def test_a_lock_without_facts_still_reads_and_holds(here: Path) -> None:
    """As the version before wrote it."""
    (here / "in.txt").write_text("x")
    write_project(here, {"t": {"cmd": "cat in.txt > o", "deps": ["in.txt"], "outs": ["o"]}})
    run(here)
    text = (here / "mlo.lock").read_text()
    assert "facts" not in text
    assert statuses(run(here)) == {"t": "cached"}
    assert (here / "mlo.lock").read_text() == text


def test_facts_of_a_stage_are_in_the_lock(here: Path) -> None:
    (here / "sub").mkdir()
    write_project(here, {"t": {"cmd": "true >> ../o", "cwd": "sub", "persist": ["o"]}})
    run(here)
    assert workspace(here).read_lock().stages["t"].facts == {"cwd": "sub", "persist": ["o"]}
    write_project(here, {"t": {"cmd": "true >> o", "persist": ["o"]}})
    assert {"the folder it runs in changed", "the command changed"} <= set(reasons(here, "t"))
