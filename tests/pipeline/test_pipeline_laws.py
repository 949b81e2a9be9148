"""Laws of the run cache, on pipelines and edits that Hypothesis makes up."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pipeline_kit import run, statuses, write_project

SOURCES = ("s0", "s1")
VALUES = ("one", "two")


@st.composite
def pipelines(draw: st.DrawFn) -> list[tuple[tuple[str, ...], bool]]:
    """Stages in order: what each reads (sources and earlier outputs), and whether its output ignores all that."""
    stages: list[tuple[tuple[str, ...], bool]] = []
    for number in range(draw(st.integers(1, 4))):
        readable = [*SOURCES, *(f"o{earlier}" for earlier in range(number))]
        deps = draw(st.lists(st.sampled_from(readable), min_size=1, max_size=3, unique=True))
        stages.append((tuple(deps), draw(st.booleans())))
    return stages


class Model:
    """What should happen, worked out from contents alone."""

    def __init__(self, stages: list[tuple[tuple[str, ...], bool]]) -> None:
        self._stages = stages
        self._known: list[dict[tuple[str, ...], str]] = [{} for _ in stages]
        self._tree: dict[str, str] = {}

    def run(self, sources: dict[str, str]) -> dict[str, str]:
        contents, expected = dict(sources), {}
        for number, (deps, constant) in enumerate(self._stages):
            read = tuple(contents[dep] for dep in deps)
            made = f"{number}" if constant else f"{number}:" + "".join(read)
            known, out = self._known[number], f"o{number}"
            if read not in known:
                expected[f"stage{number}"] = "ran"
            else:
                expected[f"stage{number}"] = "cached" if self._tree[out] == made else "restored"
            known[read] = self._tree[out] = contents[out] = made
        return expected


def lay_out(folder: Path, stages: list[tuple[tuple[str, ...], bool]]) -> None:
    document: dict[str, Any] = {}
    for number, (deps, constant) in reversed(list(enumerate(stages))):  # the order of the file must not matter
        ending = "" if constant else f":$(cat {' '.join(deps)})"
        cmd = f"""printf '%s' "{number}{ending}" > o{number}"""
        document[f"stage{number}"] = {"cmd": cmd, "deps": list(deps), "outs": [f"o{number}"]}
    write_project(folder, document)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    stages=pipelines(),
    edits=st.lists(st.tuples(st.sampled_from(SOURCES), st.sampled_from(VALUES)), min_size=1, max_size=3),
)
def test_a_run_does_exactly_what_the_contents_ask_for(
    stages: list[tuple[tuple[str, ...], bool]], edits: list[tuple[str, str]]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, model, sources = Path(name), Model(stages), dict.fromkeys(SOURCES, "start")
        lay_out(folder, stages)
        for source, value in [("s0", "start"), *edits]:
            sources[source] = value
            for path, text in sources.items():
                (folder / path).write_text(text)
            assert statuses(run(folder)) == model.run(sources)
            assert set(statuses(run(folder)).values()) == {"cached"}
            foreseen = run(folder, dry=True)
            assert {decision.action for decision in foreseen.plan} == {"cached"}
