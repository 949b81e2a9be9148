"""What `mlo dag` shows: a tree, a Mermaid flowchart, a Graphviz graph, an SVG picture."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from mlops_cli.cli.output import Output, one_line, plural

if TYPE_CHECKING:
    from mlops_cli.core.reports.graph import Box, Tone
    from mlops_cli.core.workflows.dag import Dag, DagStage

_WORDS = {"run": "would run", "restored": "would be restored", "skipped": "skipped", "cached": "up to date"}
_FEW_OUTS = 3


def show_dag(dag: Dag, output: Output) -> None:
    """A tree, data flowing downward; a stage with several upstream stages stands below the last of them."""
    if not dag.stages:
        output.line("mlo.yaml has no stages.")
    order = {stage.name: number for number, stage in enumerate(dag.stages)}
    stages = {stage.name: stage for stage in dag.stages}
    parent = {
        stage.name: max((it for it in stage.upstream if it in order), key=order.__getitem__, default="")
        for stage in dag.stages
    }
    children: dict[str, list[str]] = {}
    for name in order:
        children.setdefault(parent[name], []).append(name)
    pending = [(name, "", "") for name in reversed(children.get("", []))]
    while pending:  # not by recursion: a chain may be longer than Python's stack
        name, lead, below = pending.pop()
        stage = stages[name]
        output.line(f"{lead}{_title(stage)}{_flow(stage)}{_also(stage, parent[name])}")
        inner = children.get(name, [])
        for position, child in reversed(list(enumerate(inner))):
            is_last = position == len(inner) - 1
            pending.append((child, below + ("└── " if is_last else "├── "), below + ("    " if is_last else "│   ")))
    if any(stage.members for stage in dag.stages):
        output.line()
        output.line("Large groups are drawn as one; --full draws every stage.", style="dim")


def _title(stage: DagStage) -> str:
    return f"{stage.name} ({plural(len(stage.members), 'stage')})" if stage.members else stage.name


def _flow(stage: DagStage) -> str:
    if not stage.outs:
        return ""
    outs = _outs(stage, _FEW_OUTS) if stage.members else list(stage.outs)
    return f"  -> {', '.join(map(one_line, outs))}"


def _outs(stage: DagStage, few: int) -> list[str]:
    outs = list(stage.outs)
    return outs if len(outs) <= few else [*outs[: few - 1], f"and {len(outs) - few + 1} more"]


def _also(stage: DagStage, parent: str) -> str:
    also = [other for other in stage.upstream if other != parent]
    if not also:
        return ""
    few = also if len(also) <= _FEW_OUTS + 1 else [*also[:_FEW_OUTS], f"{len(also) - _FEW_OUTS} more"]
    return f"   (also after {', '.join(few)})"


def show_mermaid(dag: Dag, output: Output) -> None:
    """For Markdown: GitHub and GitLab draw it."""
    names = {stage.name: f"s{number}" for number, stage in enumerate(dag.stages)}
    output.line("flowchart TD")
    for stage in dag.stages:
        title = _title(stage).replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
        output.line(f'  {names[stage.name]}["{title}"]')
    for before, after in _edges(dag):
        output.line(f"  {names[before]} --> {names[after]}")


def show_dot(dag: Dag, output: Output) -> None:
    """For Graphviz: `mlo dag --dot | dot -Tsvg`."""
    output.line("digraph pipeline {")
    output.line("  node [shape=box];")
    for stage in dag.stages:
        label = f" [label={json.dumps(_title(stage), ensure_ascii=False)}]" if stage.members else ""
        output.line(f"  {json.dumps(stage.name, ensure_ascii=False)}{label};")
    for before, after in _edges(dag):
        output.line(f"  {json.dumps(before, ensure_ascii=False)} -> {json.dumps(after, ensure_ascii=False)};")
    output.line("}")


def show_svg(dag: Dag, output: Output) -> None:
    """A picture with a colour for what would happen to each stage, in one file that needs no other."""
    from mlops_cli.core.reports.graph import draw_graph

    if dag.unknown:
        output.note(f"what would run is not known: {dag.unknown}")
    title = f"The pipeline of {dag.project}" if dag.stages else f"{dag.project} has no stages"
    output.line(draw_graph([_box(stage) for stage in dag.stages], _edges(dag), title).rstrip("\n"))


def _box(stage: DagStage) -> Box:
    from mlops_cli.core.reports.graph import Box

    said = [
        _WORDS[state] if len(stage.states) == 1 else f"{stage.states[state]} {_WORDS[state]}"
        for state in _WORDS
        if state in stage.states
    ]
    tones: dict[str, Tone] = {"run": "due", "restored": "back", "skipped": "faint", "cached": "calm"}
    tone: Tone = next((tones[state] for state in tones if state in stage.states), "plain")
    return Box(
        name=stage.name,
        title=_title(stage),
        lines=tuple(_outs(stage, _FEW_OUTS)),
        state=", ".join(said),
        tone=tone,
        stacked=bool(stage.members),
    )


def _edges(dag: Dag) -> list[tuple[str, str]]:
    known = {stage.name for stage in dag.stages}
    return [(before, stage.name) for stage in dag.stages for before in stage.upstream if before in known]
