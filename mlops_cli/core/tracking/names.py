"""A name for a run that has none: two words that its id chooses, so that people can speak of it."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_FIRST = _words(
    "amber bold brave bright brisk calm clear clever crisp deft eager early fair fast fine firm fond fresh glad "
    "gold grand green happy keen kind late light lively loud lucky merry mild neat noble plain proud quick quiet "
    "rapid ready round sharp shy silent silver slow smart soft solid sound spry steady still stout sunny sure "
    "swift tall tame tidy warm wide wild wise young"
)
_SECOND = _words(
    "adder badger bear bee bison crane crow curlew deer dove duck eagle egret elk falcon finch fox frog gannet "
    "gecko goat goose grebe gull hare hawk heron horse ibex ibis jay kestrel kite lark lemur linnet lynx marten "
    "merlin mole moose moth newt otter owl petrel pika plover puffin quail raven robin rook seal shrew skua snipe "
    "stork swan swift tern tiger toad vole wren"
)


def run_name(run_id: str) -> str:
    """`brave-otter`, from the 32 hex digits of an id."""
    number = int(run_id, 16)
    first, number = number % len(_FIRST), number // len(_FIRST)
    return f"{_FIRST[first]}-{_SECOND[number % len(_SECOND)]}"
