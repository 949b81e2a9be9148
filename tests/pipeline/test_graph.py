"""The graph: edges by paths, and every way in which mlo.yaml can contradict itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlops_cli.core.errors import NotFound, ProjectError
from mlops_cli.core.pipeline.graph import Graph, build_graph
from mlops_cli.core.project.schema import Stage


def graph(root: Path, data: tuple[str, ...] = (), **stages: dict[str, Any]) -> Graph:
    return build_graph({name: Stage(cmd="true", **fields) for name, fields in stages.items()}, root=root, data=data)


@pytest.mark.parametrize(
    ("out", "dep"),
    [("x", "x"), ("x", "x/part"), ("x/part", "x"), ("./x/", "x"), ("x", "x//part/./file"), ("x/a/b", "x/a")],
)
def test_a_dep_that_is_or_touches_an_output_makes_an_edge(tmp_path: Path, out: str, dep: str) -> None:
    made = graph(tmp_path, reader={"deps": [dep]}, writer={"outs": [out]})
    assert list(made.nodes) == ["writer", "reader"]
    assert made.nodes["reader"].upstream == ("writer",)


@pytest.mark.parametrize(("out", "dep"), [("x", "xy"), ("x/a", "x/ab"), ("x-y", "x"), ("x", "y/x")])
def test_paths_that_only_look_alike_make_no_edge(tmp_path: Path, out: str, dep: str) -> None:
    assert graph(tmp_path, reader={"deps": [dep]}, writer={"outs": [out]}).nodes["reader"].upstream == ()


def test_metrics_and_plots_are_outputs_too(tmp_path: Path) -> None:
    made = graph(tmp_path, w={"metrics": ["m.json"], "plots": ["p.csv"]}, r={"deps": ["m.json", "p.csv"]})
    assert made.nodes["r"].upstream == ("w",)
    assert made.nodes["w"].outs == ("m.json", "p.csv")


def test_independent_stages_keep_the_order_of_the_file(tmp_path: Path) -> None:
    assert list(graph(tmp_path, b={}, a={}, c={}).nodes) == ["b", "a", "c"]


def test_a_chain_of_thousands_needs_no_deep_stack(tmp_path: Path) -> None:
    stages = {f"s{n}": {"deps": [f"f{n + 1}"], "outs": [f"f{n}"]} for n in range(3000)}
    assert next(iter(graph(tmp_path, **stages).nodes)) == "s2999"


def test_a_cycle_is_named_in_the_direction_of_the_data(tmp_path: Path) -> None:
    with pytest.raises(ProjectError) as caught:
        graph(
            tmp_path,
            a={"deps": ["z"], "outs": ["x"]},
            b={"deps": ["x"], "outs": ["y"]},
            c={"deps": ["y"], "outs": ["z"]},
        )
    assert caught.value.message.endswith("a -> b -> c -> a")


def test_a_stage_that_reads_its_own_output_is_a_cycle(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="cycle: a -> a"):
        graph(tmp_path, a={"deps": ["src"], "outs": ["src/model"]})


@pytest.mark.parametrize("outs", [("x", "x"), ("x", "x/y"), ("x/y/z", "x"), ("x", "./x")])
def test_two_stages_with_one_output_are_both_named(tmp_path: Path, outs: tuple[str, str]) -> None:
    with pytest.raises(ProjectError) as caught:
        graph(tmp_path, one={"outs": [outs[0]]}, two={"outs": [outs[1]]}, other={"outs": ["x-1", "x.d"]})
    assert "one" in caught.value.message
    assert "two" in caught.value.message
    assert caught.value.hint


def test_neighbours_in_the_alphabet_do_not_hide_a_nested_output(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"x/y .* lies inside x "):
        graph(tmp_path, one={"outs": ["x"]}, two={"outs": ["x-1", "x.2"]}, three={"outs": ["x/y"]})


def test_one_stage_may_not_name_an_output_twice(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="twice"):
        graph(tmp_path, one={"outs": ["m.json"], "metrics": ["m.json"]})


def test_added_data_is_nobodys_output(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="mlo data add") as caught:
        graph(tmp_path, ("data/raw",), one={"outs": ["data/raw"]})
    assert "mlo data rm data/raw" in (caught.value.hint or "")
    with pytest.raises(ProjectError, match="lies inside"):
        graph(tmp_path, ("data/raw",), one={"outs": ["data"]})


def test_data_inside_data_is_not_the_pipelines_business(tmp_path: Path) -> None:
    assert graph(tmp_path, ("data", "data/raw"), one={"outs": ["x"]}).nodes


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", ".", "a/.."])
@pytest.mark.parametrize("field", ["outs", "deps"])
def test_paths_outside_the_project_are_refused(tmp_path: Path, path: str, field: str) -> None:
    with pytest.raises(ProjectError, match="project"):
        graph(tmp_path, a={field: [path]})


@pytest.mark.parametrize(
    "path", [".mlo/x", ".git/hooks/pre-commit", "sub/.git/config", ".GIT/x", "mlo.lock", "mlo.yaml", ".gitignore"]
)
def test_outputs_that_belong_to_mlo_or_git_are_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(ProjectError, match="belongs to"):
        graph(tmp_path, a={"outs": [path]})


@pytest.mark.parametrize("path", ["a\nb", "a\0", "a\tb"])
def test_an_output_that_gitignore_could_not_name_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(ProjectError, match="control character"):
        graph(tmp_path, a={"outs": [path]})


def test_an_output_that_leads_out_through_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "away").symlink_to(tmp_path)
    with pytest.raises(ProjectError, match="through a link"):
        graph(tmp_path / "project", a={"outs": ["away/x"]})


@pytest.mark.parametrize("name", ["../x", "a/b", "", "a b", "x" * 129])
def test_a_stage_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ProjectError, match="not a name for a stage"):
        graph(tmp_path, **{name: {}})


def test_selecting_a_stage_brings_what_is_upstream_and_nothing_else(tmp_path: Path) -> None:
    made = graph(
        tmp_path,
        end={"deps": ["m"]},
        mid={"deps": ["s"], "outs": ["m"]},
        start={"outs": ["s"]},
        other={"deps": ["s"], "outs": ["o"]},
    )
    assert [node.name for node in made.select(["mid"])] == ["start", "mid"]
    assert [node.name for node in made.select([])] == ["start", "mid", "end", "other"]


def test_an_unknown_stage_gets_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        graph(tmp_path, train={}, prepare={}).select(["trian"])
    assert caught.value.hint == "did you mean train?"
