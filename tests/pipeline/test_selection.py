"""Which stages a run looks at, and what may be asked of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline_kit import run, statuses, workspace, write_project

from mlops_cli.core.errors import MloError, NotFound, ProjectError, StageFailed, UsageError
from mlops_cli.core.pipeline.graph import Graph, build_graph
from mlops_cli.core.project.stages import Stage
from mlops_cli.core.workflows.asking import request_from

# prepare -> train -> evaluate -> report; prepare -> profile
STAGES: dict[str, dict[str, Any]] = {
    "prepare": {"cmd": "tr a-z A-Z < in.txt > p.txt", "deps": ["in.txt"], "outs": ["p.txt"]},
    "train": {"cmd": "sort p.txt > m.txt", "deps": ["p.txt"], "outs": ["m.txt"]},
    "evaluate": {"cmd": "wc -l < m.txt > e.txt", "deps": ["m.txt"], "outs": ["e.txt"]},
    "report": {"cmd": "cat e.txt > r.txt", "deps": ["e.txt"], "outs": ["r.txt"]},
    "profile": {"cmd": "cat p.txt > f.txt", "deps": ["p.txt"], "outs": ["f.txt"]},
}


def project(here: Path, **changes: Mapping[str, Any]) -> None:
    (here / "in.txt").write_text("b\na\n")
    write_project(here, {name: {**stage, **changes.get(name, {})} for name, stage in STAGES.items()})


# -- laws ------------------------------------------------------------------------------------------------------------


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    count = draw(st.integers(1, 8))
    stages = {}
    for place in range(count):
        above = draw(st.sets(st.integers(0, place - 1))) if place else set()
        name = f"s{place}"
        stages[name] = Stage(
            cmd="true", outs=[name], deps=[f"s{other}" for other in sorted(above)], frozen=draw(st.integers(0, 4)) == 0
        )
    return build_graph(stages, root=Path("/nowhere"))


def below(graph: Graph, names: set[str]) -> set[str]:
    """By the definition: whatever has a way down from one of the names."""
    found = set(names)
    while True:
        more = {name for name, node in graph.nodes.items() if found & set(node.upstream)} - found
        if not more:
            return found
        found |= more


def above(graph: Graph, names: set[str]) -> set[str]:
    found = set(names)
    while True:
        melted = (graph.nodes[name] for name in found if not graph.nodes[name].stage.frozen)
        more = {name for node in melted for name in node.upstream} - found
        if not more:
            return found
        found |= more


@settings(deadline=None)
@given(graphs(), st.data())
def test_selection_is_what_its_definition_says(graph: Graph, data: st.DataObject) -> None:
    some = st.sets(st.sampled_from(sorted(graph.nodes)), max_size=3)
    names, since, until = data.draw(some), data.draw(some), data.draw(some)
    chosen = [node.name for node in graph.select(sorted(names), since=sorted(since), until=sorted(until))]
    asked = names | until or set(graph.nodes)
    expected = above(graph, asked) & (below(graph, since) if since else set(graph.nodes))
    assert set(chosen) == expected
    assert chosen == [name for name in graph.nodes if name in expected]  # upstream first
    alone = {node.name for node in graph.select(sorted(names), alone=True)}
    assert alone == (names or set(graph.nodes))
    everything = {node.name for node in graph.select(sorted(names), thawed=graph.nodes)}
    assert {other for name in everything for other in graph.nodes[name].upstream} <= everything


@settings(deadline=None)
@given(graphs(), st.data())
def test_what_stands_above_a_stage_is_closed_and_does_not_hold_it(graph: Graph, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(graph.nodes)))
    found = graph.above(name)
    assert name not in found
    assert set(graph.nodes[name].upstream) <= set(found)
    assert all(set(graph.nodes[other].upstream) <= set(found) for other in found)
    assert found == [other for other in graph.nodes if other in found]


# -- from, until, single -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "options", "expected"),
    [
        ((), {}, ["prepare", "train", "evaluate", "report", "profile"]),
        (("train",), {}, ["prepare", "train"]),
        ((), {"since": ("train",)}, ["train", "evaluate", "report"]),
        ((), {"until": ("train",)}, ["prepare", "train"]),
        ((), {"since": ("train",), "until": ("evaluate",)}, ["train", "evaluate"]),
        (("report",), {"since": ("evaluate",)}, ["evaluate", "report"]),
        (("profile",), {"since": ("train",)}, []),
        (("train", "profile"), {"alone": True}, ["train", "profile"]),
        (("train",), {"until": ("profile",)}, ["prepare", "train", "profile"]),
    ],
)
def test_what_is_looked_at(here: Path, named: tuple[str, ...], options: dict[str, Any], expected: list[str]) -> None:
    project(here)
    run(here)
    assert sorted(statuses(run(here, *named, **options))) == sorted(expected)


def test_from_starts_with_what_stands_there(here: Path) -> None:
    project(here)
    run(here)
    (here / "in.txt").write_text("c\n")
    assert set(statuses(run(here, since=("train",))).values()) == {"cached"}
    assert set(statuses(run(here)).values()) == {"ran"}


@pytest.mark.parametrize("field", ["stages", "since", "until", "accept"])
def test_an_unknown_name_gets_the_nearest_one(here: Path, field: str) -> None:
    project(here)
    with pytest.raises(NotFound, match="there is no stage trian") as caught:
        if field == "stages":
            run(here, "trian")
        else:
            run(here, **{field: ("trian",)})
    assert caught.value.hint == "did you mean train?"
    assert not (here / "p.txt").exists()


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ({"single": True}, "--single runs the stages that are named"),
        ({"single": True, "stages": ["a"], "since": ["b"]}, "--single and --from contradict"),
        ({"single": True, "stages": ["a"], "until": ["b"]}, "--single and --until contradict"),
        ({"dry": True, "pull": True}, "--dry changes nothing"),
        ({"params": ["a"]}, "is not name=value"),
        ({"params": ["a=1", "a=2"]}, "given twice"),
    ],
)
def test_options_that_contradict_each_other_are_wrong_usage(typed: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        request_from(typed)
    assert says in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_code == 2


# -- accept ------------------------------------------------------------------------------------------------------------


def test_accepting_a_cosmetic_edit_runs_nothing_and_writes_the_lock(here: Path) -> None:
    project(here)
    run(here)
    project(here, prepare={"cmd": "tr a-z A-Z  <in.txt  >p.txt"})
    assert [it.action for it in run(here, dry=True).plan] == ["run"] * 5
    assert {it.action for it in run(here, accept=("prepare",), dry=True).plan} == {"cached"}
    assert set(statuses(run(here, accept=("prepare",))).values()) == {"cached"}
    assert workspace(here).read_lock().stages["prepare"].cmd == "tr a-z A-Z  <in.txt  >p.txt"
    assert set(statuses(run(here)).values()) == {"cached"}


def test_accepting_outputs_that_were_changed_takes_these(here: Path) -> None:
    project(here)
    run(here)
    (here / "p.txt").write_text("Z\nY\n")
    found = statuses(run(here, accept=("prepare",)))
    assert found == {"prepare": "cached", "train": "ran", "evaluate": "ran", "report": "cached", "profile": "ran"}
    assert (here / "m.txt").read_text() == "Y\nZ\n"
    assert set(statuses(run(here)).values()) == {"cached"}
    (here / "p.txt").unlink()
    run(here)
    assert (here / "p.txt").read_text() == "Z\nY\n"  # kept as the result it is


def test_what_an_accepted_stage_logged_stays_with_its_outputs(here: Path) -> None:
    stage = {"cmd": 'echo "{\\"auc\\": 0.9}" > m.json', "deps": ["in.txt"], "metrics": ["m.json"]}
    (here / "in.txt").write_text("1")
    write_project(here, {"t": stage})
    first = run(here)
    (here / "in.txt").write_text("2")
    second = run(here, accept=("t",))
    assert second.metrics == first.metrics == {"auc": 0.9}
    assert second.stages[0].run == first.run


def test_what_an_accepted_stage_logged_by_the_api_is_there_in_later_runs(here: Path) -> None:
    script = "import mlops_cli as mlo\nmlo.log_metric('loss', 0.5)\nopen('o', 'w').write('x')\n"
    (here / "t.py").write_text(script)
    write_project(
        here,
        {
            "t": {"cmd": "python t.py", "deps": ["t.py"], "outs": ["o"]},
            "e": {"cmd": "cp o p", "deps": ["o"], "outs": ["p"]},
        },
    )
    run(here)
    (here / "t.py").write_text(f"{script}# the same\n")
    assert run(here, accept=("t",)).metrics == {"loss": 0.5}
    assert run(here).metrics == {"loss": 0.5}


def test_outputs_that_are_not_there_cannot_be_accepted(here: Path) -> None:
    project(here)
    with pytest.raises(ProjectError, match=r"train cannot be accepted: m.txt does not exist") as caught:
        run(here, accept=("train",))
    assert caught.value.hint == "mlo run train"
    run(here)
    (here / "m.txt").unlink()
    with pytest.raises(ProjectError, match="cannot be accepted"):
        run(here, accept=("train",))


def test_a_stage_may_be_accepted_that_never_ran(here: Path) -> None:
    project(here)
    (here / "p.txt").write_text("by hand\n")
    found = statuses(run(here, accept=("prepare",)))
    assert (found["prepare"], found["train"]) == ("cached", "ran")
    assert (here / "m.txt").read_text() == "by hand\n"


@pytest.mark.parametrize(
    ("named", "options", "says"),
    [
        (("train",), {"accept": ("report",)}, "report is not among the stages asked for"),
        (("train",), {"accept": ("train",), "force": True}, "say one of the two|--force runs it"),
        ((), {"accept": ("train",), "force": True}, "--force runs it"),
    ],
)
def test_what_cannot_be_accepted_here_is_wrong_usage(
    here: Path, named: tuple[str, ...], options: dict[str, Any], says: str
) -> None:
    project(here)
    with pytest.raises(UsageError, match=says):
        run(here, *named, **options)


def test_a_group_is_accepted_as_one(here: Path) -> None:
    stage = {"foreach": ["a", "b"], "cmd": "echo ${item} > ${item}.txt", "outs": ["${item}.txt"]}
    write_project(here, {"t": stage})
    run(here)
    write_project(here, {"t": {**stage, "cmd": "echo ${item}  > ${item}.txt"}})
    assert statuses(run(here, accept=("t",))) == {"t@a": "cached", "t@b": "cached"}


# -- force, no cache, keep going ---------------------------------------------------------------------------------------


def test_force_is_for_the_named_stages_alone(here: Path) -> None:
    project(here)
    run(here)
    assert statuses(run(here, "train", force=True)) == {"prepare": "cached", "train": "ran"}
    found = statuses(run(here, since=("evaluate",), force=True))
    assert found == {"evaluate": "ran", "report": "ran"}
    assert {it.action for it in run(here, force=True, dry=True).plan} == {"run"}


def test_without_the_cache_nothing_comes_back_but_what_stands_is_left(here: Path) -> None:
    project(here)
    run(here)
    assert set(statuses(run(here, from_cache=False)).values()) == {"cached"}
    (here / "m.txt").unlink()
    (decision,) = [it for it in run(here, from_cache=False, dry=True).plan if it.stage == "train"]
    assert decision.action == "run"
    assert "nothing is taken from the run cache" in decision.text
    found = statuses(run(here, from_cache=False))
    assert found == {**dict.fromkeys(STAGES, "cached"), "train": "ran"}


def test_going_on_after_a_failure_leaves_out_only_what_stands_below(here: Path) -> None:
    project(here, train={"cmd": "exit 1"})
    with pytest.raises(StageFailed):
        run(here, keep_going=True)
    (last,) = workspace(here).runs.list(limit=1)
    assert {it.name: it.status for it in last.stages} == {"prepare": "ran", "train": "failed", "profile": "ran"}
    assert (here / "f.txt").exists()
    project(here)
    found = statuses(run(here, accept=("prepare",), from_cache=False, keep_going=True))
    assert found == {"prepare": "cached", "profile": "cached", "train": "ran", "evaluate": "ran", "report": "ran"}


def test_an_error_of_the_request_changes_nothing(here: Path) -> None:
    project(here)
    run(here)
    before = {path: path.read_bytes() for path in here.iterdir() if path.is_file()}
    for options in ({"accept": ("nothing",)}, {"until": ("x",)}, {"overrides": {"no": "1"}}):
        with pytest.raises(MloError):
            run(here, **options)
    assert {path: path.read_bytes() for path in here.iterdir() if path.is_file()} == before
