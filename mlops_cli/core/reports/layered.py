"""Where the boxes of a graph stand: in layers, upstream above, so that few lines cross and most run straight.

Sugiyama's method: layers by longest path, a bend wherever an edge passes a layer, each layer ordered by the means of
its neighbours, then places that pull a box towards its neighbours' middle without letting two boxes meet.
Source: Sugiyama, Tagawa, Toda, Methods for visual understanding of hierarchical system structures (1981).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

_SWEEPS = 12
_PULLS = 12
_BEND = 12.0  # how wide an edge is that passes between boxes
Place = tuple[float, int]  # the middle of a box, and its layer


@dataclass(frozen=True, slots=True)
class Layout:
    """`places` of the boxes; `bends` of each edge, from its layer to the next, both ends left out; `width` of all."""

    places: dict[str, Place]
    bends: dict[tuple[str, str], list[Place]]
    layers: int
    width: float


class _Item:
    """A box, or a bend of an edge that passes a layer."""

    __slots__ = ("above", "below", "name", "width", "x")

    def __init__(self, name: str, width: float) -> None:
        self.name = name
        self.width = width
        self.above: list[_Item] = []
        self.below: list[_Item] = []
        self.x = 0.0


def lay_out(widths: Mapping[str, float], edges: Sequence[tuple[str, str]], gap: float) -> Layout:
    """`widths` of the boxes in an order where every edge (from, to) leads on; `gap` is the least between two boxes."""
    if not widths:
        return Layout({}, {}, 0, 0.0)
    layer_of = _layers(list(widths), edges)
    boxes = {name: _Item(name, width) for name, width in widths.items()}
    layers: list[list[_Item]] = [[] for _ in range(max(layer_of.values()) + 1)]
    for name, box in boxes.items():
        layers[layer_of[name]].append(box)
    trails: dict[tuple[str, str], list[_Item]] = {}
    for before, after in dict.fromkeys(edges):
        trail = [_Item("", _BEND) for _ in range(layer_of[after] - layer_of[before] - 1)]
        for number, bend in enumerate(trail, layer_of[before] + 1):
            layers[number].append(bend)
        whole = [boxes[before], *trail, boxes[after]]
        for upper, lower in pairwise(whole):
            upper.below.append(lower)
            lower.above.append(upper)
        trails[before, after] = trail
    layers = _ordered(layers)
    _pull(layers, gap)
    left = min(item.x - item.width / 2 for layer in layers for item in layer)
    right = max(item.x + item.width / 2 for layer in layers for item in layer)
    places = {name: (box.x - left, layer_of[name]) for name, box in boxes.items()}
    bends = {
        edge: [(bend.x - left, number) for number, bend in enumerate(trail, layer_of[edge[0]] + 1)]
        for edge, trail in trails.items()
    }
    return Layout(places, bends, len(layers), right - left)


def _layers(names: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    above: dict[str, list[str]] = {name: [] for name in names}
    below: dict[str, list[str]] = {name: [] for name in names}
    for before, after in edges:
        above[after].append(before)
        below[before].append(after)
    layer: dict[str, int] = {}
    for name in names:
        layer[name] = max((layer[other] + 1 for other in above[name]), default=0)
    for name in reversed(names):  # what nothing leads to stands right above what it feeds
        if not above[name] and below[name]:
            layer[name] = min(layer[other] for other in below[name]) - 1
    return layer


def _ordered(layers: list[list[_Item]]) -> list[list[_Item]]:
    """The order within each layer, of all that were tried, with the fewest crossings."""
    best, fewest = [list(layer) for layer in layers], _crossings(layers)
    current = [list(layer) for layer in layers]
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for number in range(len(current)) if down else reversed(range(len(current))):
            rank = {id(item): place for layer in current for place, item in enumerate(layer)}
            current[number].sort(key=lambda item: _mean(item, rank, down=down))
        crossings = _crossings(current)
        if crossings < fewest:
            best, fewest = [list(layer) for layer in current], crossings
        if not fewest:
            break
    return best


def _mean(item: _Item, rank: Mapping[int, int], *, down: bool) -> float:
    around = item.above if down else item.below
    return sum(rank[id(other)] for other in around) / len(around) if around else rank[id(item)]


def _crossings(layers: Sequence[Sequence[_Item]]) -> int:
    count = 0
    for layer, following in pairwise(layers):
        rank = {id(item): place for place, item in enumerate(following)}
        ends: list[int] = []
        for item in layer:
            mine = sorted(rank[id(other)] for other in item.below)
            count += sum(1 for end in mine for other in ends if other > end)
            ends += mine
    return count


def _pull(layers: Sequence[Sequence[_Item]], gap: float) -> None:
    for layer in layers:
        edge = 0.0
        for item in layer:
            item.x = edge + item.width / 2
            edge += item.width + gap
    for turn in range(_PULLS):
        down = turn % 2 == 0
        for layer in layers if down else reversed(layers):
            wanted = []
            for item in layer:
                around = (item.above if down else item.below) or item.above or item.below
                wanted.append(sum(other.x for other in around) / len(around) if around else item.x)
            _place(layer, wanted, gap)


def _place(layer: Sequence[_Item], wanted: Sequence[float], gap: float) -> None:
    """The places nearest to the wanted ones, by least squares, that keep order and distance: neighbours that would
    meet are pooled, and a pool stands at the mean of what its members want (pool adjacent violators)."""
    offsets, edge = [], 0.0
    for before, item in zip([None, *layer], layer, strict=False):
        edge += (before.width + item.width) / 2 + gap if before is not None else 0.0
        offsets.append(edge)
    pools: list[tuple[float, int]] = []  # mean, members
    for want, offset in zip(wanted, offsets, strict=True):
        pools.append((want - offset, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (mean, count), (other, others) = pools.pop(), pools.pop()
            pools.append(((mean * count + other * others) / (count + others), count + others))
    means = [mean for mean, count in pools for _ in range(count)]
    for item, mean, offset in zip(layer, means, offsets, strict=True):
        item.x = mean + offset
