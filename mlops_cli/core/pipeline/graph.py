"""The stages of mlo.yaml as a graph: who reads what whom wrote, by path.

A stage stands below another if one of its deps is an output of the other, lies inside one, or holds one.
"""

from __future__ import annotations

import difflib
import re
import shlex
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mlops_cli.core.base.expression import ExpressionError, parse
from mlops_cli.core.base.files import safe_join
from mlops_cli.core.base.names import name_some
from mlops_cli.core.errors import IntegrityError, MloError, NotFound, ProjectError
from mlops_cli.core.pipeline.param_files import split
from mlops_cli.core.project.expand import group_of
from mlops_cli.core.project.paths import is_reserved
from mlops_cli.core.project.stages import Stage

STAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}")  # it becomes the name of a file


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One stage with its paths in one spelling: relative to the project, forward slashes, no `.` or `..`.

    `feeds` maps each path that it reads and other stages write to the names of those stages: a dep, a file of
    parameters, a notebook, the lock of an environment.
    """

    name: str
    stage: Stage
    deps: tuple[str, ...]
    outs: tuple[str, ...]
    persist: tuple[str, ...]
    metrics: tuple[str, ...]
    feeds: Mapping[str, tuple[str, ...]]

    @property
    def command(self) -> str | list[str]:
        """What is run. A notebook stands for itself; the pipeline knows how to run one."""
        return self.stage.cmd or ["notebook", self.stage.notebook or ""]

    @property
    def command_text(self) -> str:
        """The command as one would type it."""
        return self.command if isinstance(self.command, str) else shlex.join(self.command)

    @property
    def files(self) -> tuple[str, ...]:
        """Everything of the project that it reads: its deps, its notebook, the lock of its environment."""
        return (*self.deps, *(path for path in _asides(self.stage) if path not in self.deps))

    @property
    def awaits_params(self) -> bool:
        """Whether the values of its parameters are known only when other stages have written the files they are in."""
        return any(file in self.feeds for file in _param_files(self.stage))

    @property
    def upstream(self) -> tuple[str, ...]:
        """The stages that write what this one reads, each once."""
        return tuple(dict.fromkeys(name for names in self.feeds.values() for name in names))

    @property
    def compares_nothing(self) -> bool:
        """It names nothing that it reads or writes, so nothing can say that it is up to date."""
        return not (self.deps or self.outs or self.stage.params)


@dataclass(frozen=True, slots=True)
class Graph:
    """All stages, upstream first; stages that do not depend on each other stand as in mlo.yaml."""

    nodes: Mapping[str, Node]

    def named(self, name: str) -> list[str]:
        """The stages that a name means: itself, or all that a foreach or matrix of that name made.

        Raises NotFound, naming the nearest stage, for an unknown name.
        """
        if name in self.nodes:
            return [name]
        members = [known for known in self.nodes if group_of(known) == name]
        if not members:
            group = group_of(name)
            siblings = [known for known in self.nodes if group != name and group_of(known) == group != known]
            if siblings:
                raise NotFound(
                    f"there is no stage {name} in mlo.yaml", hint=f"the stages of {group} are {name_some(siblings)}"
                )
            raise unknown_stage(name, dict.fromkeys((*self.nodes, *map(group_of, self.nodes))))
        return members

    def select(
        self,
        names: Sequence[str] = (),
        *,
        since: Sequence[str] = (),
        until: Sequence[str] = (),
        alone: bool = False,
        thawed: Collection[str] = (),
    ) -> list[Node]:
        """The named stages (all if none is named) and everything upstream of them, upstream first.

        With `since`, of these only the stages that it names and what stands below them; with `until`, only what those
        it names depend on, they included. `alone` leaves out what was not named itself. What stands above a frozen
        stage is not asked for by it, unless it is `thawed`. Raises NotFound for an unknown name.
        """
        asked = [member for name in (*names, *until) for member in self.named(name)] or list(self.nodes)
        wanted = set(asked) if alone else self._above(asked, thawed)
        if since:
            wanted &= self._below(member for name in since for member in self.named(name))
        return [node for name, node in self.nodes.items() if name in wanted]

    def above(self, name: str) -> list[str]:
        """All that a stage depends on, near or far, upstream first; the stage itself is not among them."""
        wanted = self._above(self.nodes[name].upstream, self.nodes)
        return [other for other in self.nodes if other in wanted]

    def _above(self, names: Iterable[str], thawed: Collection[str]) -> set[str]:
        wanted = set(names)
        pending = list(wanted)
        while pending:
            node = self.nodes[pending.pop()]
            for name in node.upstream if not node.stage.frozen or node.name in thawed else ():
                if name not in wanted:
                    wanted.add(name)
                    pending.append(name)
        return wanted

    def _below(self, names: Iterable[str]) -> set[str]:
        wanted = set(names)
        for name, node in self.nodes.items():  # upstream first, so one pass will do
            if not wanted.isdisjoint(node.upstream):
                wanted.add(name)
        return wanted


def unknown_stage(name: str, known: Iterable[str]) -> MloError:
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        hint = f"did you mean {near[0]}?"
    else:
        hint = f"the stages are {', '.join(names)}" if names else "add one under stages: in mlo.yaml"
    return NotFound(f"there is no stage {name} in mlo.yaml", hint=hint)


def build_graph(stages: Mapping[str, Stage], *, root: Path, data: Iterable[str] = ()) -> Graph:
    """The graph of a project's stages; `data` are the paths that were added with `mlo data add`.

    Raises ProjectError for a path outside the project, an output that two stages (or a stage and `data`) own,
    and a cycle.
    """
    for name in stages:
        if not STAGE_NAME.fullmatch(name):
            raise ProjectError(
                f"{name!r} is not a name for a stage", hint="use letters, digits, dots, dashes, underscores"
            )
    for name, stage in stages.items():
        if stage.when is not None:
            _refuse_when(name, stage.when)
    outs = {name: tuple(_clean(path, "writes", name, root) for path in stage.written) for name, stage in stages.items()}
    owners = _owners(outs, tuple(data))
    paths = sorted(owners)
    nodes: dict[str, Node] = {}
    for name, stage in stages.items():
        deps = tuple(dict.fromkeys(_clean(path, "reads", name, root) for path in stage.deps))
        read = dict.fromkeys((*deps, *_param_files(stage), *_asides(stage)))
        feeds = {path: makers for path in read if (makers := _makers(path, owners, paths))}
        nodes[name] = Node(
            name=name,
            stage=stage,
            deps=deps,
            outs=outs[name],
            persist=tuple(_clean(path, "writes", name, root) for path in stage.persist),
            metrics=tuple(_clean(path, "writes", name, root) for path in stage.metrics),
            feeds=feeds,
        )
    return Graph({name: nodes[name] for name in _sorted(nodes)})


def _asides(stage: Stage) -> list[str]:
    """What a stage reads of the project beside its deps, and not by itself."""
    named = (stage.notebook, stage.env and stage.env.file)
    return [PurePosixPath(path).as_posix() for path in named if path]


def _param_files(stage: Stage) -> list[str]:
    return [PurePosixPath(in_file[0]).as_posix() for name in stage.params if (in_file := split(name)) is not None]


def _refuse_when(name: str, when: str) -> None:
    try:
        parse(when)
    except ExpressionError as error:
        raise ProjectError(f"stage {name}: when does not parse: {error.message}", hint=error.hint) from None


def inside(path: str, folder: str) -> bool:
    """Whether path is folder or lies below it."""
    return path == folder or path.startswith(folder + "/")


def overlap(one: str, other: str) -> bool:
    """Whether one of the two is the other or lies inside it."""
    return inside(one, other) or inside(other, one)


class Paths:
    """Many paths, each question about which takes as long as about few."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = frozenset(paths)
        self._above = frozenset(parent for path in self._paths for parent in _parents(path))

    def hold(self, path: str) -> bool:
        """Whether the path is one of them or lies inside one."""
        return path in self._paths or any(parent in self._paths for parent in _parents(path))

    def meet(self, path: str) -> bool:
        """Whether the path is one of them, lies inside one, or has one inside it."""
        return path in self._above or self.hold(path)


def _parents(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _clean(path: str, verb: str, stage: str, root: Path) -> str:
    clean = PurePosixPath(path)
    if clean.is_absolute() and clean.is_relative_to(root.as_posix()):
        clean = clean.relative_to(root.as_posix())
    if clean.is_absolute() or ".." in clean.parts or not clean.parts:
        where = "the whole project" if not clean.parts else "outside the project"
        raise ProjectError(
            f"stage {stage} {verb} {path}, which is {where}",
            hint="write a file or folder below the folder of mlo.yaml; bring other data in with mlo data add",
        )
    text = clean.as_posix()
    if is_reserved(text) if verb == "writes" else clean.parts[0] in (".mlo", ".git"):
        owner = "git" if ".git" in text.lower() else "mlo"
        raise ProjectError(f"stage {stage} {verb} {path}, which belongs to {owner}", hint="choose another path")
    if any(ord(character) < 32 for character in text):  # a line break would be two patterns in .gitignore
        raise ProjectError(
            f"stage {stage} {verb} {path!r}, whose name holds a control character", hint="choose another path"
        )
    try:
        safe_join(root, text)
    except IntegrityError as error:
        raise ProjectError(f"stage {stage} {verb} {path}: {error.message}", hint=error.hint) from None
    return text


def _owners(outs: Mapping[str, tuple[str, ...]], data: tuple[str, ...]) -> dict[str, str]:
    """Which stage writes each output. Raises ProjectError where two claims meet."""
    claims = [(path, f"stage {name}", name) for name, paths in outs.items() for path in paths]
    claims += [(path, "mlo data add", "") for path in data]
    claims.sort(key=lambda claim: PurePosixPath(claim[0]).parts)
    open_claims: list[tuple[str, str, str]] = []  # the folders around the claim at hand, outermost first
    for claim in claims:
        while open_claims and not inside(claim[0], open_claims[-1][0]):
            open_claims.pop()
        if open_claims and (claim[2] or open_claims[-1][2]):
            raise _two_owners(open_claims[-1], claim)
        open_claims.append(claim)
    return {path: name for name, paths in outs.items() for path in paths}


def _two_owners(outer: tuple[str, str, str], inner: tuple[str, str, str]) -> ProjectError:
    """Two claims of one path, or of a folder and something in it; one of them may be added data."""
    stage, other = sorted((outer, inner), key=lambda claim: not claim[2])
    if outer[0] != inner[0]:
        what = f"{inner[0]} ({inner[1]}) lies inside {outer[0]} ({outer[1]}), so both would write it"
    elif not other[2]:
        what = f"{outer[0]} is an output of {stage[1]}, and was added with mlo data add"
    elif stage[2] == other[2]:
        what = f"{outer[0]} stands twice among the outputs of {stage[1]}"
    else:
        what = f"{outer[0]} is an output of two stages: {stage[2]} and {other[2]}"
    hint = "give each stage outputs of its own in mlo.yaml"
    return ProjectError(
        what, hint=hint if other[2] else f"mlo data rm {shlex.quote(other[0])}, or let the stage write elsewhere"
    )


def _makers(dep: str, owners: Mapping[str, str], paths: Sequence[str]) -> tuple[str, ...]:
    """The stages that write the dep, a folder around it, or something inside it."""
    makers: list[str] = []
    pure = PurePosixPath(dep)
    for around in (pure, *pure.parents):
        owner = owners.get(around.as_posix())
        if owner is not None:
            makers.append(owner)
    below = dep + "/"
    for path in paths[bisect_left(paths, below) :]:
        if not path.startswith(below):
            break
        makers.append(owners[path])
    return tuple(dict.fromkeys(makers))


def _sorted(nodes: Mapping[str, Node]) -> list[str]:
    """Depth first, upstream first, without recursion: chains may be thousands long. Raises ProjectError on a cycle."""
    done: dict[str, None] = {}
    for start in nodes:
        trail: dict[str, None] = {}
        stack = [(start, iter(nodes[start].upstream))]
        trail[start] = None
        while stack:
            name, upstream = stack[-1]
            following = next((other for other in upstream if other not in done), None)
            if following is None:
                stack.pop()
                del trail[name]
                done[name] = None
            elif following in trail:
                raise _cycle(following, list(trail), nodes)
            else:
                trail[following] = None
                stack.append((following, iter(nodes[following].upstream)))
    return list(done)


def _cycle(repeated: str, trail: list[str], nodes: Mapping[str, Node]) -> ProjectError:
    # The trail runs from reader to writer; people read a pipeline the way the data flows.
    loop = [repeated, *reversed(trail[trail.index(repeated) :])]
    reader = nodes[loop[1]]
    path = next(dep for dep, makers in reader.feeds.items() if repeated in makers)
    return ProjectError(
        f"the stages form a cycle: {' -> '.join(loop)}",
        hint=f"{reader.name} reads {path}, which {repeated} writes; break the cycle there in mlo.yaml",
    )
