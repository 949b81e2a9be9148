"""`foreach`, `matrix` and `${...}`: one stage of mlo.yaml as many."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from command_line import Mlo
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pipeline_kit import run, statuses, workspace, write_project

from mlops_cli.cli.complete import stages
from mlops_cli.core.errors import ProjectError, UsageError
from mlops_cli.core.project.expand import MAX_STAGES, expand, group_of
from mlops_cli.core.project.stages import Stage
from mlops_cli.core.workflows.dag import describe_dag
from mlops_cli.core.workflows.plan import RunRequest, assemble, why_stage
from mlops_cli.core.workflows.status import project_status

NAMES = st.text("abcXYZ019._-", min_size=1, max_size=8)
SCALARS = st.one_of(NAMES, st.integers(-99, 99), st.booleans(), st.floats(-5, 5, allow_nan=False))


def expanded(params: Mapping[str, Any] | None = None, /, **stages: dict[str, Any]) -> dict[str, Stage]:
    made = {name: msgspec.convert({"cmd": "true", **fields}, Stage) for name, fields in stages.items()}
    return expand(made, params or {})


# -- what comes of it ------------------------------------------------------------------------------------------------


def test_a_list_gives_a_stage_for_each_item() -> None:
    made = expanded(train={"foreach": ["a", 2, True, 0.5], "cmd": "echo ${item}", "outs": ["m/${item}"]})
    assert {name: (stage.cmd, stage.outs) for name, stage in made.items()} == {
        "train@a": ("echo a", ["m/a"]),
        "train@2": ("echo 2", ["m/2"]),
        "train@true": ("echo true", ["m/true"]),
        "train@0.5": ("echo 0.5", ["m/0.5"]),
    }


def test_a_mapping_names_its_items() -> None:
    made = expanded(
        train={"foreach": {"us": {"lr": 0.1}, "eu": {"lr": 1}}, "cmd": "t ${key} ${item.lr}", "deps": ["${key}.csv"]}
    )
    assert [stage.cmd for stage in made.values()] == ["t us 0.1", "t eu 1"]
    assert made["train@eu"].deps == ["eu.csv"]


def test_items_that_are_mappings_are_called_by_their_places() -> None:
    made = expanded(train={"foreach": [{"depth": 3}, {"depth": 5}], "cmd": "t ${ item.depth }"})
    assert {name: stage.cmd for name, stage in made.items()} == {"train@0": "t 3", "train@1": "t 5"}


def test_a_matrix_is_a_product_in_the_order_of_the_file() -> None:
    made = expanded(
        train={"matrix": {"model": ["tree", "net"], "seed": [1, 2]}, "cmd": "t ${item.model} ${item.seed} > ${key}"}
    )
    assert {name: stage.cmd for name, stage in made.items()} == {
        "train@tree-1": "t tree 1 > tree-1",
        "train@tree-2": "t tree 2 > tree-2",
        "train@net-1": "t net 1 > net-1",
        "train@net-2": "t net 2 > net-2",
    }
    assert all(stage.matrix is None for stage in made.values())


def test_an_axis_of_mappings_is_called_by_its_places() -> None:
    made = expanded(train={"matrix": {"m": [{"d": 1}, {"d": 2}], "s": [7]}, "cmd": "t ${item.m.d}"})
    assert {name: stage.cmd for name, stage in made.items()} == {"train@m0-7": "t 1", "train@m1-7": "t 2"}


def test_items_and_values_come_from_params() -> None:
    params = {"seeds": [1, 2], "model": {"lr": 0.1, "kinds": {"a": 1}}}
    made = expanded(
        params,
        one={"foreach": "${params.seeds}", "cmd": ["t", "--lr=${params.model.lr}", "${item}"]},
        two={"foreach": "${params.model.kinds}"},
        three={"matrix": {"s": "${params.seeds}"}, "when": "x > ${params.model.lr}"},
        plain={"cmd": "t ${params.seeds.1}"},
    )
    assert list(made) == ["one@1", "one@2", "two@a", "three@1", "three@2", "plain"]
    assert made["one@2"].cmd == ["t", "--lr=0.1", "2"]
    assert made["three@1"].when == "x > 0.1"
    assert made["plain"].cmd == "t 2"


@pytest.mark.parametrize(
    "text", ["${HOME}", "${item}", "${key}", "${items}", "${item-default}", "$item", "${params-x}", "$(date)", "${#x}"]
)
def test_what_is_the_shells_stays_as_it_is(text: str) -> None:
    assert expanded(plain={"cmd": f"echo {text}"})["plain"].cmd == f"echo {text}"


def test_within_foreach_variables_of_the_shell_stay_too() -> None:
    assert expanded(t={"foreach": ["a"], "cmd": "echo ${HOME}/${item} ${key}"})["t@a"].cmd == "echo ${HOME}/a ${key}"


def test_a_filled_in_text_is_not_filled_again() -> None:
    assert expanded({"x": "${params.x} ${item}"}, t={"cmd": "echo ${params.x}"})["t"].cmd == "echo ${params.x} ${item}"


def test_every_text_of_a_stage_is_filled_and_the_plots_too() -> None:
    fields = {
        "foreach": ["a"],
        "cwd": "${item}",
        "metrics": ["${item}.json"],
        "plots": [{"path": "${item}.csv", "x": "${item}"}],
        "checks": {"before": ["${item}.yaml"]},
        "mutex": "gpu-${item}",
        "params": ["${item}.lr"],
        "persist": ["${item}.db"],
    }
    stage = expanded(t=fields)["t@a"]
    assert (stage.cwd, stage.metrics, stage.plot_paths, stage.checks_before) == ("a", ["a.json"], ["a.csv"], ["a.yaml"])
    assert (stage.mutex, stage.params, stage.persist) == ("gpu-a", ["a.lr"], ["a.db"])


# -- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stages", "says"),
    [
        ({"t": {"foreach": ["a b", "a_b"]}}, "two stages are called t@a_b"),
        ({"t": {"foreach": ["a"]}, "t@a": {}}, "two stages are called t@a"),
        ({"t@a": {}, "t": {"foreach": ["a"]}}, "two stages are called t@a"),
        ({"t": {"foreach": [1, 1]}}, "two stages are called t@1"),
        ({"t": {"foreach": []}}, "goes through nothing"),
        ({"t": {"foreach": {}}}, "goes through nothing"),
        ({"t": {"matrix": {"a": []}}}, "goes through nothing"),
        ({"t": {"matrix": {}}}, "goes through nothing"),
        ({"t": {"foreach": "a, b"}}, "which is no list"),
        ({"t": {"foreach": "${params.nothing}"}}, "there is no nothing"),
        ({"t": {"foreach": "${params.lr}"}}, "goes through nothing"),
        ({"t": {"matrix": {"a": "${params.model}"}}}, "not a list"),
        ({"t": {"foreach": ["a"], "matrix": {"a": [1]}}}, "both foreach and matrix"),
        ({"t": {"cmd": "echo ${params.modle.lr}"}}, "there is no modle; there is lr, model"),
        ({"t": {"cmd": "echo ${params.model}"}}, "not a text or a number"),
        ({"t": {"foreach": [{"a": 1}], "cmd": "echo ${item}"}}, "not a text or a number"),
        ({"t": {"foreach": [{"a": 1}], "cmd": "echo ${item.b}"}}, "there is no b; there is a"),
        ({"t": {"foreach": [""], "outs": ["${item}"]}}, "with its values filled in"),
        ({"t": {"matrix": {"a": list(range(200)), "b": list(range(200))}}}, f"more than {MAX_STAGES:,} stages"),
        ({"t": {"matrix": {name: list(range(1000)) for name in "abcdef"}}}, f"more than {MAX_STAGES:,} stages"),
    ],
)
def test_what_cannot_be_written_out_is_named(stages: dict[str, Any], says: str) -> None:
    with pytest.raises(ProjectError) as caught:
        expanded({"lr": 0.1, "model": {"lr": 1}}, **stages)
    assert says in caught.value.message
    assert caught.value.hint


# -- laws ------------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(SCALARS, min_size=1, max_size=6))
def test_a_list_gives_as_many_stages_as_items_or_names_a_clash(items: list[Any]) -> None:
    try:
        made = expanded(t={"foreach": items, "cmd": "echo ${item}"})
    except ProjectError:
        with pytest.raises(ProjectError, match="two stages are called"):
            expanded(t={"foreach": items})
        return
    assert len(made) == len(items)
    assert all(group_of(name) == "t" and re.fullmatch(r"[A-Za-z0-9._@-]+", name) for name in made)
    # Names tell the items apart, and the order is the file's.
    assert [stage.cmd for stage in made.values()] == [
        f"echo {item if isinstance(item, str) else msgspec.json.encode(item).decode()}" for item in items
    ] or any(isinstance(item, float) for item in items)  # two writers of JSON write floats in two ways


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text("xyz", min_size=1, max_size=3), st.lists(st.integers(0, 99), min_size=1, max_size=3), max_size=4
    )
)
def test_a_matrix_is_the_cartesian_product(axes: dict[str, list[int]]) -> None:
    assume(axes and all(len(set(values)) == len(values) for values in axes.values()))
    command = " ".join(f"${{item.{axis}}}" for axis in axes)
    made = expanded(t={"matrix": axes, "cmd": command})
    assert len(made) == math.prod(map(len, axes.values()))
    assert [stage.cmd for stage in made.values()] == [
        " ".join(map(str, chosen)) for chosen in itertools.product(*axes.values())
    ]


PIECES = st.lists(
    st.sampled_from([*"${}.- ax", "item", "key", "params", "${", "$$", "é", "\n"]), min_size=1, max_size=20
)


@settings(deadline=None)
@given(PIECES.map("".join))
def test_text_without_references_comes_out_as_it_went_in(text: str) -> None:
    assume(not re.search(r"\$\{\s*(item|key|params)", text))
    assert expanded(t={"cmd": text, "foreach": ["a"]})["t@a"].cmd == text


@settings(deadline=None)
@given(st.dictionaries(NAMES, SCALARS, min_size=1, max_size=4))
def test_writing_out_leaves_what_was_read_alone_and_repeats_itself(items: dict[str, Any]) -> None:
    template = msgspec.convert({"cmd": "${key} ${item}", "foreach": items}, Stage)
    before = msgspec.to_builtins(template)
    once = expand({"t": template}, {})
    assert expand({"t": template}, {}) == once
    assert msgspec.to_builtins(template) == before
    assert expand(once, {}) == once  # what is written out holds no templates any more


# -- in a project ----------------------------------------------------------------------------------------------------

GROUP = {
    "prepare": {"cmd": "echo data > data.txt", "outs": ["data.txt"]},
    "train": {
        "foreach": "${params.kinds}",
        "cmd": "cat data.txt > ${item}.model; echo ${params.lr} >> ${item}.model",
        "deps": ["data.txt"],
        "outs": ["${item}.model"],
    },
    "join": {"cmd": "cat *.model > all.txt", "deps": ["a.model", "b.model"], "outs": ["all.txt"]},
}
PARAMS = {"kinds": ["a", "b"], "lr": 0.5}


def test_the_name_of_a_group_means_all_of_it(here: Path) -> None:
    write_project(here, GROUP, PARAMS)
    assert statuses(run(here, "train")) == {"prepare": "ran", "train@a": "ran", "train@b": "ran"}
    assert statuses(run(here, "train@b")) == {"prepare": "cached", "train@b": "cached"}
    assert statuses(run(here, "train", alone=True)) == {"train@a": "cached", "train@b": "cached"}
    assert statuses(run(here)) == {"prepare": "cached", "train@a": "cached", "train@b": "cached", "join": "ran"}
    forced = statuses(run(here, "train", force=True))
    assert forced == {"prepare": "cached", "train@a": "ran", "train@b": "ran"}


def test_members_are_stages_in_every_answer(here: Path) -> None:
    write_project(here, GROUP, PARAMS)
    run(here)
    names = ["prepare", "train@a", "train@b", "join"]
    assert [stage.name for stage in describe_dag(workspace(here)).stages] == names
    assert [stage.stage for stage in project_status(workspace(here)).stages] == names
    assert sorted(workspace(here).read_lock().stages) == sorted(names)
    assert why_stage(workspace(here), "train@a").command == "cat data.txt > a.model; echo 0.5 >> a.model"
    with pytest.raises(UsageError, match=r"train stands for 2 stages: train@a, train@b"):
        why_stage(workspace(here), "train")


def test_an_override_reaches_what_it_is_filled_into(here: Path) -> None:
    write_project(here, GROUP, PARAMS)
    run(here)
    lock = (here / "mlo.lock").read_bytes()
    result = run(here, overrides={"lr": "0.25"})
    assert statuses(result) == {"prepare": "cached", "train@a": "ran", "train@b": "ran", "join": "ran"}
    assert (here / "a.model").read_text() == "data\n0.25\n"
    assert (here / "mlo.lock").read_bytes() == lock
    assert statuses(run(here)) == {
        "prepare": "cached",
        "train@a": "restored",
        "train@b": "restored",
        "join": "restored",
    }


def test_an_override_of_the_items_makes_other_stages_of_this_run_alone(here: Path) -> None:
    write_project(here, {"prepare": GROUP["prepare"], "train": GROUP["train"]}, PARAMS)
    run(here)
    result = run(here, overrides={"kinds": "[a, c]"})
    assert statuses(result) == {"prepare": "cached", "train@a": "cached", "train@c": "ran"}
    assert sorted(workspace(here).read_lock().stages) == ["prepare", "train@a", "train@b"]


def test_a_member_that_went_leaves_the_lock_and_gitignore(here: Path) -> None:
    write_project(here, {"prepare": GROUP["prepare"], "train": GROUP["train"]}, PARAMS)
    run(here)
    assert "/b.model" in (here / ".gitignore").read_text()
    write_project(here, {"prepare": GROUP["prepare"], "train": GROUP["train"]}, {**PARAMS, "kinds": ["a"]})
    run(here)
    assert sorted(workspace(here).read_lock().stages) == ["prepare", "train@a"]
    assert "b.model" not in (here / ".gitignore").read_text()
    assert (here / "b.model").exists()  # files are the user's


def test_other_commands_know_the_outputs_of_members(here: Path, mlo: Mlo) -> None:
    write_project(here, GROUP, PARAMS)
    mlo("run")
    assert stages("train") == ["train", "train@a", "train@b"]
    (here / "a.model").write_text("mine")
    changes = mlo("data", "status", "--json").json["changes"]
    assert [(it["path"], it["state"]) for it in changes] == [("a.model", "modified")]
    (here / "a.model").unlink()
    mlo("data", "checkout", "a.model")
    assert (here / "a.model").read_text() == "data\n0.5\n"
    assert "train@a" in mlo("data", "add", "a.model", exit_code=None).stderr
    assert "up to date" in mlo("status").stdout


def test_a_renamed_member_is_restored_by_its_key(here: Path) -> None:
    stage = {"foreach": {"x": "a"}, "cmd": "echo ${item} > ${item}.txt", "outs": ["${item}.txt"]}
    write_project(here, {"t": stage})
    run(here)
    write_project(here, {"t": {**stage, "foreach": {"y": "a"}}})
    assert statuses(run(here)) == {"t@y": "cached"}
    assert list(workspace(here).read_lock().stages) == ["t@y"]


def test_two_members_with_one_output_are_named(here: Path) -> None:
    write_project(here, {"t": {"foreach": ["a", "b"], "cmd": "true", "outs": ["same"]}})
    with pytest.raises(ProjectError, match=r"same is an output of two stages: t@a and t@b"):
        assemble(workspace(here), RunRequest())


def test_a_member_may_read_what_another_group_makes(here: Path) -> None:
    write_project(
        here,
        {
            "score": {
                "foreach": ["a", "b"],
                "cmd": "wc -l ${item}.txt > ${item}.n",
                "deps": ["${item}.txt"],
                "outs": ["${item}.n"],
            },
            "make": {"foreach": ["a", "b"], "cmd": "echo > ${item}.txt", "outs": ["${item}.txt"]},
        },
    )
    assert statuses(run(here, "score@b")) == {"make@b": "ran", "score@b": "ran"}
