"""The points of a sweep: every combination of the values that `-P name=0.1,0.2` names."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from mlops_cli.core.errors import UsageError
from mlops_cli.core.pipeline.params import lay_over

MAX_POINTS = 10_000
_OPENING, _CLOSING = "[{(", "]})"


class Axis(msgspec.Struct, frozen=True):
    """One parameter: its values as they were typed, and as the values they mean."""

    name: str
    texts: tuple[str, ...]
    values: tuple[Any, ...]


class Point(msgspec.Struct, frozen=True):
    """One combination. `texts` are what `-P` takes for it."""

    texts: dict[str, str]
    values: dict[str, Any]

    @property
    def label(self) -> str:
        return " ".join(f"{name}={text}" for name, text in self.texts.items())


def axes_of(params: Mapping[str, Any], overrides: Mapping[str, str]) -> list[Axis]:
    """Each value takes the type of its parameter's default. Raises UsageError for what is no grid."""
    if not overrides:
        raise UsageError("--sweep needs values to go through", hint="mlo run --sweep -P learning_rate=0.05,0.1")
    axes = []
    for name, text in overrides.items():
        texts = tuple(_split(name, text))
        values = tuple(lay_over(params, {name: each})[1][name] for each in texts)
        for place, value in enumerate(values):
            if any(value == other and type(value) is type(other) for other in values[:place]):
                raise UsageError(f"-P {name}={text}: {texts[place]} stands there twice", hint="name each value once")
        axes.append(Axis(name, texts, values))
    count = math.prod(len(axis.texts) for axis in axes)
    if count > MAX_POINTS:
        raise UsageError(
            f"these are {count:,} points, and a sweep has at most {MAX_POINTS:,}", hint="name fewer values"
        )
    return axes


def points_of(axes: list[Axis]) -> list[Point]:
    """The product; the last parameter changes fastest."""
    pairs = [list(zip(axis.texts, axis.values, strict=True)) for axis in axes]
    names = [axis.name for axis in axes]
    return [
        Point(
            {name: text for name, (text, _) in zip(names, chosen, strict=True)},
            {name: value for name, (_, value) in zip(names, chosen, strict=True)},
        )
        for chosen in itertools.product(*pairs)
    ]


def _split(name: str, text: str) -> Iterator[str]:
    """At the commas that stand in no brackets and no quotes: `[4,2],[8,4]` are two lists. A part that is quoted as a
    whole is what stands between the quotes."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'" and (depth or not parts[-1].strip()):
            quote = letter
        elif letter in _OPENING:
            depth += 1
        elif letter in _CLOSING:
            depth -= 1
        elif letter == "," and depth <= 0:
            parts.append("")
            continue
        parts[-1] += letter
    for part in parts:
        bare = part.strip()
        if not bare:
            raise UsageError(f"-P {name}={text}: a value between two commas is empty", hint="as in 0.05,0.1,0.2")
        is_quoted = len(bare) > 1 and bare[0] in "\"'" and bare[-1] == bare[0]
        yield bare[1:-1] if is_quoted else bare
