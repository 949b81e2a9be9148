"""Stages side by side: what one machine lets run at once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline_kit import run, statuses, workspace, write_project

from mlops_cli.core.errors import StageFailed
from mlops_cli.core.pipeline.admission import THREAD_VARIABLES, Admission, Machine, Slot
from mlops_cli.core.pipeline.graph import Node, build_graph
from mlops_cli.core.pipeline.watching import State, Unwatched
from mlops_cli.core.project.stages import Resources, Stage
from mlops_cli.core.workflows.plan import RunRequest
from mlops_cli.core.workflows.run import run_pipeline

GIB = 2**30
MACHINE = Machine(cpus=4, gpus=("0", "GPU-b"), memory=8 * GIB)


def nodes(*stages: Stage) -> list[Node]:
    named = {f"s{place}": stage for place, stage in enumerate(stages)}
    return list(build_graph(named, root=Path("/nowhere")).nodes.values())


def wants(**fields: Any) -> Stage:
    mutex = fields.pop("mutex", [])
    return Stage(cmd="true", resources=Resources(**fields), mutex=mutex)


def admitted(stages: list[Stage], jobs: int = 8, machine: Machine = MACHINE) -> list[Slot | None]:
    admission = Admission(machine, jobs)
    return [admission.admit(node) for node in nodes(*stages)]


# -- admission -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stages", "jobs", "expected"),
    [
        ([wants(), wants(), wants()], 2, 2),
        ([wants(gpus=1), wants(gpus=1), wants(gpus=1)], 8, 2),
        ([wants(gpus=2), wants(gpus=1)], 8, 1),
        ([wants(memory="5GiB"), wants(memory="4GiB")], 8, 1),
        ([wants(memory="4GiB"), wants(memory="4GiB")], 8, 2),
        ([wants(cpus=3), wants(cpus=2)], 8, 1),
        ([wants(cpus=3), wants(cpus=1)], 8, 2),
        ([wants(mutex="db"), wants(mutex=["db", "x"])], 8, 1),
        ([wants(mutex="db"), wants(mutex="x")], 8, 2),
    ],
)
def test_how_many_run_at_once(stages: list[Stage], jobs: int, expected: int) -> None:
    assert sum(slot is not None for slot in admitted(stages, jobs)) == expected


def test_gpus_are_handed_out_by_the_names_that_cuda_knows() -> None:
    one, other, none = admitted([wants(gpus=1), wants(gpus=1), wants()])
    assert one == Slot(1, ("0",))
    assert other == Slot(1, ("GPU-b",))
    assert none is not None
    assert none.gpus is None
    assert one.variables({})["CUDA_VISIBLE_DEVICES"] == "0"
    assert "CUDA_VISIBLE_DEVICES" not in none.variables({})


@pytest.mark.parametrize(
    ("said", "expected"),
    [("0,1", ("0", "1")), ("", ()), ("-1", ()), ("2,-1,3", ("2",)), ("GPU-a, MIG-b", ("GPU-a", "MIG-b"))],
)
def test_the_gpus_of_this_machine_are_those_that_may_be_used(said: str, expected: tuple[str, ...]) -> None:
    assert Machine.here({"CUDA_VISIBLE_DEVICES": said}).gpus == expected


def test_threads_are_divided_and_what_somebody_set_stays() -> None:
    (slot, asked) = admitted([wants(), wants(cpus=3)], jobs=2)
    assert slot is not None and asked is not None  # noqa: PT018 - for the type checker
    assert slot.variables({"OMP_NUM_THREADS": "7"}) == {
        name: "2" for name in THREAD_VARIABLES if name != "OMP_NUM_THREADS"
    }
    assert asked.variables({})["OMP_NUM_THREADS"] == "3"
    (alone,) = admitted([wants()], jobs=1)
    assert alone == Slot()  # nothing to divide


STAGES = st.builds(
    lambda cpus, gpus, memory, mutex: wants(
        cpus=cpus, gpus=gpus, memory=f"{memory}GiB" if memory else None, mutex=mutex
    ),
    st.one_of(st.none(), st.integers(1, 4)),
    st.integers(0, 2),
    st.integers(0, 8),
    st.lists(st.sampled_from("ab"), max_size=2, unique=True),
)


@settings(deadline=None)
@given(st.lists(STAGES, min_size=1, max_size=8), st.integers(1, 5), st.lists(st.integers(0, 20), max_size=20))
def test_whoever_comes_and_goes_no_more_is_given_than_there_is(
    stages: list[Stage], jobs: int, moves: list[int]
) -> None:
    admission = Admission(MACHINE, jobs)
    waiting, running = nodes(*stages), dict[str, tuple[Node, Slot]]()
    for move in [*moves, *range(40)]:
        if running and move % 3 == 0:
            admission.leave(running.pop(sorted(running)[move % len(running)])[0].name)
        elif waiting:
            node = waiting[move % len(waiting)]
            slot = admission.admit(node)
            assert slot is not None or running  # what may run alone never waits
            if slot is not None:
                waiting.remove(node)
                running[node.name] = (node, slot)
        at_once = [node.stage for node, _ in running.values()]
        assert len(at_once) <= jobs
        given_gpus = Counter(name for _, slot in running.values() for name in slot.gpus or ())
        assert set(given_gpus.values()) <= {1}
        assert all(len(slot.gpus or ()) == node.stage.resources.gpus for node, slot in running.values())
        mutexes = Counter(name for stage in at_once for name in stage.mutexes)
        assert set(mutexes.values()) <= {1}
        if len(at_once) > 1:
            memory = sum(int((stage.resources.memory or "0GiB")[:-3]) for stage in at_once)
            assert memory <= 8
    assert not waiting


# -- with processes ----------------------------------------------------------------------------------------------------

# Each waits until it has met the other, so it only ends if both run at once.
MEET = "touch {me}.here; while [ ! -e {other}.here ]; do sleep 0.01; done; echo > {me}"


def meeting(me: str, other: str, **more: Any) -> dict[str, Any]:
    return {"cmd": MEET.format(me=me, other=other), "outs": [me], "timeout": "60s", **more}


def test_ready_stages_run_side_by_side(here: Path) -> None:
    write_project(here, {"a": meeting("a", "b"), "b": meeting("b", "a")})
    assert statuses(run(here, jobs=2)) == {"a": "ran", "b": "ran"}


# Fails if it is not alone: a folder is made by one.
ALONE = "mkdir held && sleep 0.05 && rmdir held && echo > ${item}"


@pytest.mark.parametrize("reason", [{"mutex": "db"}, {"resources": {"gpus": 1}}, {"resources": {"memory": "{all}MiB"}}])
def test_who_needs_the_same_thing_waits_its_turn(here: Path, reason: dict[str, Any]) -> None:
    most = Machine.here({}).memory * 2 // 3 // 2**20
    if "resources" in reason and "memory" in reason["resources"]:
        reason = {"resources": {"memory": f"{most}MiB"}}
    write_project(here, {"t": {"foreach": ["a", "b", "c"], "cmd": ALONE, "outs": ["${item}"], **reason}})
    opened = workspace(here, CUDA_VISIBLE_DEVICES="0")
    assert set(statuses(run_pipeline(opened, RunRequest(jobs=3))).values()) == {"ran"}


def test_side_by_side_gives_what_one_after_the_other_gives(here: Path, tmp_path: Path) -> None:
    stages = {
        "a": {"foreach": list(range(6)), "cmd": "echo ${item} > a${item}", "outs": ["a${item}"]},
        "b": {
            "foreach": list(range(6)),
            "cmd": "cat a${item} a0 > b${item}",
            "deps": ["a${item}", "a0"],
            "outs": ["b${item}"],
        },
        "c": {"cmd": "cat b* > c", "deps": [f"b{place}" for place in range(6)], "outs": ["c"]},
    }
    other = tmp_path / "other"
    other.mkdir()
    for folder, jobs in ((here, 1), (other, 4)):
        write_project(folder, stages)
        assert set(statuses(run(folder, jobs=jobs)).values()) == {"ran"}
    assert (here / "mlo.lock").read_bytes() == (other / "mlo.lock").read_bytes()


def test_a_failure_lets_what_runs_end_and_starts_nothing_more(here: Path) -> None:
    stages = {
        "bad": {"cmd": "while [ ! -e slow.here ]; do sleep 0.01; done; exit 1", "outs": ["x"]},
        "slow": {"cmd": "touch slow.here; while [ ! -e told ]; do sleep 0.01; done; echo > slow", "outs": ["slow"]},
        "then": {"cmd": "echo > then", "outs": ["then"]},
    }
    write_project(here, stages)
    with pytest.raises(StageFailed):
        run_pipeline(workspace(here), RunRequest(jobs=2), watcher=_Telling(here / "told"))
    (last,) = workspace(here).runs.list(limit=1)
    assert {it.name: it.status for it in last.stages} == {"bad": "failed", "slow": "ran"}


class _Telling(Unwatched):
    """Touches a file once the run knows of a failure."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def turned(self, name: str, state: State, why: str) -> None:
        if state == "failed":
            self._path.touch()


def test_several_failures_are_all_named(here: Path) -> None:
    write_project(here, {"t": {"foreach": ["a", "b"], "cmd": "exit 3", "outs": ["${item}"]}})
    with pytest.raises(StageFailed) as caught:
        run(here, jobs=2, keep_going=True)
    assert "t@a" in caught.value.message
    assert "t@b" in caught.value.message
