"""Boxes in layers: none meet, edges lead down, and few lines cross."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as some

from mlops_cli.core.reports.layered import lay_out

GAP = 10.0
Graph = tuple[dict[str, float], list[tuple[str, str]]]


@some.composite
def graphs(draw: some.DrawFn) -> Graph:
    count = draw(some.integers(1, 14))
    widths = {f"n{number}": draw(some.floats(20, 300)) for number in range(count)}
    pairs = [(one, two) for two in range(count) for one in range(two)]
    chosen = draw(some.lists(some.sampled_from(pairs), max_size=30)) if pairs else []
    return widths, [(f"n{one}", f"n{two}") for one, two in chosen]


@given(graphs())
def test_boxes_of_a_layer_never_meet_and_edges_lead_down(graph: Graph) -> None:
    widths, edges = graph
    layout = lay_out(widths, edges, GAP)
    assert set(layout.places) == set(widths)
    for number in range(layout.layers):
        here = [(x, widths[name] / 2) for name, (x, layer) in layout.places.items() if layer == number]
        boxes = sorted((x - half, x + half) for x, half in here)
        for (_, right), (left, _) in pairwise(boxes):
            assert left - right >= GAP - 0.01
        assert all(left >= -0.01 and right <= layout.width + 0.01 for left, right in boxes)
    for edge in edges:
        trail = [layout.places[edge[0]], *layout.bends[edge], layout.places[edge[1]]]
        assert [layer for _, layer in trail] == list(range(trail[0][1], trail[-1][1] + 1))


def test_a_chain_is_a_straight_line() -> None:
    names = [f"s{number}" for number in range(200)]
    layout = lay_out({name: 20.0 + len(name) for name in names}, list(pairwise(names)), GAP)
    assert len({round(x, 3) for x, _ in layout.places.values()}) == 1


def test_lines_that_need_not_cross_do_not() -> None:
    widths = dict.fromkeys(("a", "b", "c", "x", "y", "z"), 40.0)
    places = lay_out(widths, [("a", "z"), ("b", "y"), ("c", "x")], GAP).places
    above, below = (sorted(names, key=lambda name: places[name][0]) for names in ("abc", "xyz"))
    assert [{"a": "z", "b": "y", "c": "x"}[name] for name in above] == below


def test_nothing_is_nowhere() -> None:
    assert lay_out({}, [], GAP).places == {}
