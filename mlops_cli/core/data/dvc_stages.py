"""A DVC project as mlo's stages and data: what each thing becomes, and what cannot become anything.

Parameters stay in their files, where scripts go on reading them; only the named ones make a stage run again. See DVC.md
for the whole mapping.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from mlops_cli.core.data.dvc_files import DvcDep, DvcOut, DvcStage
from mlops_cli.core.data.dvc_groups import Group, group_of
from mlops_cli.core.data.dvc_params import nameable
from mlops_cli.core.data.dvc_project import DvcGroup, DvcProject, TopLevel
from mlops_cli.core.data.dvc_template import is_marked, unmarked
from mlops_cli.core.data.shell_text import needs_bash, variables_read, variables_used

METRIC_ENDINGS = (".json", ".yaml", ".yml")
_DRAWN = (".csv", ".json")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}")
_CALLS_DVC = re.compile(r"(?:^|[;&|(]\s*)dvc\s")
# A command that may stand beside `&&` as it is; any other gets a shell of its own, as DVC gives each.
_PLAIN = re.compile(r"(?:[^;&|#\n\\]|&&|(?<=>)&(?=\d)|\|(?!\|)|\\(?!$))*")
_LEAVES_TRACES = re.compile(
    r"(?:^|&&|\|)\s*(?:(?:cd|export|set|exit|exec|source|trap|unset|umask|\.)\s|\w+=\S*\s*(?:&&|$))"
)


class Left(msgspec.Struct, frozen=True):
    """Something of DVC's that mlo.yaml and mlo.lock do not say: which, why, and what to do about it."""

    item: str
    reason: str
    todo: str


class Data(msgspec.Struct, frozen=True):
    """An output that becomes data of mlo.lock; `source` is the file it was named in."""

    path: str
    out: DvcOut
    source: str
    origin: list[DvcDep] = []


class Carried(msgspec.Struct, frozen=True):
    """A stage. `document` is its block in mlo.yaml, with `notes` as comments above it; `outs` by path."""

    name: str
    stage: DvcStage
    document: dict[str, Any]
    outs: dict[str, DvcOut]
    notes: list[str] = []

    @property
    def frozen(self) -> bool:
        return self.stage.frozen


class Translation(msgspec.Struct, frozen=True):
    stages: list[Carried]
    data: list[Data]
    left: list[Left]
    groups: list[Group] = []


def translate(project: DvcProject, *, is_usual: Callable[[str], bool]) -> Translation:
    """Everything the project says, in mlo's words. `is_usual` knows the variables that every stage of mlo sees."""
    return _Translator(project, is_usual).run()


def stage_names(stages: Iterable[DvcStage]) -> list[str]:
    """Names that mlo allows, each once: as they are where that can be, else with the folder of their dvc.yaml."""
    names: list[str] = []
    taken: set[str] = set()
    for stage in stages:
        plain = re.sub(r"[^A-Za-z0-9._@-]+", "-", stage.name).lstrip("._@-")[:100] or "stage"
        folder = re.sub(r"[^A-Za-z0-9_-]+", ".", posixpath.dirname(stage.file)).strip(".")
        choices = [plain, f"{folder}.{plain}"[-128:].lstrip("._@-")] if folder else [plain]
        name = next((choice for choice in choices if choice not in taken and _NAME.fullmatch(choice)), None)
        number = 2
        while name is None:
            name = f"{plain}-{number}" if f"{plain}-{number}" not in taken else None
            number += 1
        taken.add(name)
        names.append(name)
    return names


def command(commands: list[str]) -> str:
    """DVC's commands as one for the shell: none after one that failed."""
    parts = [
        _own_shell(line) if _LEAVES_TRACES.search(line) or not _PLAIN.fullmatch(line) else line for line in commands
    ]
    return commands[0].strip() if len(commands) == 1 else " && ".join(part.strip() for part in parts)


def _own_shell(line: str) -> str:
    end = "\n)" if "#" in line or line.rstrip().endswith("\\") else " )"
    return f"( {line.strip()}{end}"


class _Translator:
    def __init__(self, project: DvcProject, is_usual: Callable[[str], bool]) -> None:
        self._project = project
        self._is_usual = is_usual
        self._left: list[Left] = []
        self._data: list[Data] = []

    def run(self) -> Translation:
        for item in self._project.data:
            for out in item.outs:
                self._add_data(out, item.file, item.deps)
        names = stage_names(self._project.stages)
        stages = [self._carry(name, stage) for name, stage in zip(names, self._project.stages, strict=True)]
        for top in self._project.top:
            stages = self._top(top, stages)
        for folder in self._project.nested:
            self._leave(f"{folder}/", "it is a DVC project of its own", f"mlo import dvc {shlex.quote(folder)}")
        groups = [self._group(group, names) for group in self._project.groups]
        return Translation(stages, self._data, self._left, groups)

    def _group(self, group: DvcGroup, names: list[str]) -> Group:
        pairs = zip(names, self._project.stages, strict=True)
        members = [name for name, it in pairs if it.file == group.file and it.name in group.members]
        name = members[0].partition("@")[0] if members else group.name
        left, self._left = self._left, []
        carried = self._carry(name, group.stage)
        found = group_of(name, members, group.items, group.raw, carried.document)
        own = [(unmarked(it.item), unmarked(it.reason), unmarked(it.todo)) for it in self._left]
        self._left = left
        return msgspec.structs.replace(found, notes=unmarked(carried.notes), left=[*own, *found.left])

    def _leave(self, item: str, reason: str, todo: str) -> None:
        self._left.append(Left(item, reason, todo))

    # -- data ----------------------------------------------------------------------------------------------

    def _add_data(self, out: DvcOut, source: str, deps: list[DvcDep]) -> None:
        origin = [dep for dep in deps if dep.origin]
        if followed_url(origin) is None:
            for dep in origin:
                self._leave(f"{source}: imported from {_origin(dep)}", *_FOLLOW)
        if self._is_out(out, source):
            if not out.cache:
                self._leave(
                    f"{source}: {out.written}", "`cache: false`: DVC does not keep its content", "leave it to git"
                )
            elif out.path is not None:
                self._data.append(Data(out.path, out, source, origin))

    def _is_out(self, out: DvcOut, where: str) -> bool:
        """Whether it can be kept at all; says what of it is lost."""
        item = f"{where}: {out.written}"
        if out.path is None:
            what = f" by its {out.other_hash}" if out.other_hash else ""
            self._leave(
                item, f"it lies outside the project, and DVC tracks it there{what}", "bring it in: mlo data get"
            )
            return False
        if out.remote:
            self._leave(item, f"it has a remote of its own ({out.remote})", f"mlo data push {out.path} -r {out.remote}")
        if not out.push:
            self._leave(item, "`push: false`: mlo pushes all that mlo.lock names", "name the paths to push: mlo push")
        if out.cloud:
            self._leave(
                item, "the versions that its cloud storage keeps are not known to mlo", "mlo push keeps its own"
            )
        if out.unknown:
            self._leave(item, f"{', '.join(out.unknown)}: mlo.yaml has no such keys", "keep them in a README")
        return True

    # -- stages --------------------------------------------------------------------------------------------

    def _carry(self, name: str, stage: DvcStage) -> Carried:
        where = f"stage {name}"
        notes = [line for line in (stage.desc or "").splitlines() if line.strip()]
        if name != stage.name or "/" in stage.file:
            notes.append(f"from {stage.file}, stage {stage.name}")
        if name != stage.name:
            self._leave(
                where, f"it is {stage.file}:{stage.name} in DVC; mlo has one name for each stage", "use this one"
            )
        if stage.template is not None:
            notes += [f"cmd was: {line}" for line in stage.template.splitlines()]
            asked = ", ".join(f"${{{key}}}" for key in stage.templated)
            self._leave(
                f"{where}: {asked} in cmd",
                "the values of today were written in, and changes in params.yaml miss it",
                "write ${params.name} there, with name under params of mlo.yaml, or read it with mlo.params()",
            )
        outs = {out.path: out for out in stage.outs if self._is_out(out, where) and out.path is not None}
        deps, params = self._deps(stage, where)
        document: dict[str, Any] = {
            "cmd": command(stage.cmd),
            "cwd": None if stage.wdir == "." else stage.wdir,
            "deps": deps,
            "params": params,
            **self._outputs(outs, where),
            "pass_env": self._variables(stage, deps, where),
            "frozen": stage.frozen,
        }
        self._lost(stage, where, outs)
        return Carried(name, stage, in_order(document), outs, notes)

    def _deps(self, stage: DvcStage, where: str) -> tuple[list[str], list[str]]:
        """Deps, and the parameters in files. A file whose values mlo cannot name is a dep as a whole."""
        deps: list[str] = []
        params: list[str] = []
        for dep in stage.deps:
            if dep.path is None or dep.path == ".":
                self._leave(
                    f"{where}: dep {dep.written}",
                    "it is the whole project" if dep.path == "." else "it lies outside the project",
                    "name folders below it"
                    if dep.path == "."
                    else "bring it in with mlo data get, and name it in deps",
                )
            else:
                deps.append(dep.path)
        for file, keys in stage.params.items():
            named = [f"{file}:{key}" for key in keys or [""]]
            if is_marked(*named):  # one for many: whether it names the same is looked at when all is known
                params += named
                continue
            if not (self._project.root / file).is_file():
                self._leave(f"{where}: params {file}", "there is no such file", "add it to the stage's deps")
                continue
            if nameable(self._project.root / file, file, keys):
                params += named
                continue
            deps.append(file)
            if keys:
                self._leave(
                    f"{where}: params {', '.join(keys)}",
                    f"mlo cannot name them in {file}, so the whole file is a dep: a change in it runs the stage again",
                    "give the file plain names and values, then params: [file.yaml:name] in mlo.yaml",
                )
        return list(dict.fromkeys(deps)), list(dict.fromkeys(params))

    def _outputs(self, outs: dict[str, DvcOut], where: str) -> dict[str, list[Any]]:
        lists: dict[str, list[Any]] = {"outs": [], "persist": [], "metrics": [], "plots": []}
        for path, out in outs.items():
            kind = out.kind
            if kind == "metrics" and not path.endswith(METRIC_ENDINGS):
                self._leave(f"{where}: metrics {path}", "mlo reads metrics from JSON and YAML", "write it as JSON")
                kind = "outs"
            if kind == "plots" and not path.endswith(_DRAWN):
                self._leave(
                    f"{where}: plot {path}", "mlo draws CSV and JSON; this one is an output", "look at it yourself"
                )
                kind = "outs"
            if out.persist and kind == "outs":
                kind = "persist"
            elif out.persist:
                self._leave(f"{where}: persist of {path}", f"{kind} of mlo do not persist", "list it under persist:")
            lists[kind].append(self._plot(path, out.plot, where) if kind == "plots" else path)
        return lists

    def _plot(self, path: str, settings: dict[str, Any] | None, where: str) -> str | dict[str, str]:
        settings = settings or {}
        plain = {key: str(settings[key]) for key in ("x", "y", "title") if isinstance(settings.get(key), str)}
        lost = sorted(key for key in settings if key not in plain)
        if lost:
            self._leave(
                f"{where}: plot {path}: {', '.join(lost)}", "mlo draws one line, y over x", "leave it to DVC's plots"
            )
        return {"path": path, **plain} if plain else path

    def _variables(self, stage: DvcStage, deps: list[str], where: str) -> list[str]:
        """Variables that the command names and that a stage of mlo sees only if it says so."""
        text = "\n".join(stage.cmd)
        own = variables_used(text)
        wanted = [name for name in own if not self._is_usual(name) and not name.startswith("DVC_")]
        for name in own:
            if name.startswith("DVC_"):
                self._leave(f"{where}: ${name}", "mlo sets MLO_ROOT and MLO_STAGE instead", "change cmd in mlo.yaml")
        read = {name for dep in deps if dep.endswith(".py") for name in variables_read(self._project.root / dep)}
        hidden = sorted(name for name in read if not self._is_usual(name) and name not in wanted)
        if hidden:
            self._leave(
                f"{where}: its script reads {', '.join(hidden)}",
                "a stage of mlo sees the usual variables and those it names",
                f"pass_env: [{', '.join([*wanted, *hidden])}] in mlo.yaml; its values then count as inputs",
            )
        return wanted

    def _lost(self, stage: DvcStage, where: str, outs: dict[str, DvcOut]) -> None:
        if stage.always_changed:
            todo = f"mlo run --force {where.removeprefix('stage ')}"
            self._leave(f"{where}: always_changed", "mlo runs a stage when what it reads changed", todo)
        uncached = [path for path, out in outs.items() if not out.cache]
        if uncached:
            self._leave(
                f"{where}: cache: false of {', '.join(uncached)}",
                "mlo keeps every output in its cache; it is not put into .gitignore",
                "nothing, if git tracks it",
            )
        if stage.unknown:
            self._leave(f"{where}: {', '.join(stage.unknown)}", "mlo.yaml has no such keys", "see what the stage needs")
        text = "\n".join(stage.cmd)
        if needs_bash(text):
            self._leave(f"{where}: cmd", "DVC runs it in your shell, mlo in /bin/sh", "bash -c '...', or a script")
        if _CALLS_DVC.search(text):
            self._leave(f"{where}: cmd", "it calls dvc itself", "say it with mlo, or keep DVC installed")

    # -- outside stages ------------------------------------------------------------------------------------

    def _top(self, top: TopLevel, stages: list[Carried]) -> list[Carried]:
        """Metrics and plots that dvc.yaml lists outside its stages are moved into the stages that write them."""
        for item in top.metrics:
            stages = self._listed(top, str(item), "metrics", {}, stages)
        for item in top.plots:
            for title, settings in (item if isinstance(item, dict) else {str(item): {}}).items():
                for written, drawn in _drawings(str(title), settings if isinstance(settings, dict) else {}):
                    stages = self._listed(top, written, "plots", drawn, stages)
        for name, body in top.artifacts.items():
            path = body.get("path", "") if isinstance(body, dict) else ""
            self._leave(
                f"{top.file}: artifact {name} ({path})",
                "mlo registers models that a run logged",
                "log it with mlo.log_model(), name it under model: in mlo.yaml, then mlo register",
            )
        for item in top.datasets:
            name = item.get("name", item) if isinstance(item, dict) else item
            self._leave(f"{top.file}: dataset {name}", "mlo.yaml has no datasets", "mlo data get brings data in")
        return stages

    def _listed(
        self, top: TopLevel, written: str, kind: str, settings: dict[str, Any], stages: list[Carried]
    ) -> list[Carried]:
        path = posixpath.normpath(posixpath.join(top.folder, written))
        endings = METRIC_ENDINGS if kind == "metrics" else _DRAWN
        maker = next((stage for stage in stages if path in stage.outs), None)
        what = f"{top.file}: {kind} {written}"
        if maker is None or not path.endswith(endings):
            around = [out for stage in stages for out in stage.outs if path.startswith(f"{out}/")]
            if maker is not None:
                reason = f"mlo reads {kind} from files that end in {', '.join(endings)}"
            else:
                reason = f"it lies inside {around[0]}, and is no output itself" if around else "no stage writes it"
            self._leave(what, reason, f"list files that a stage writes under the stage's {kind}, one by one")
            return stages
        document = {key: list(value) if isinstance(value, list) else value for key, value in maker.document.items()}
        for key in ("outs", "persist", "metrics", "plots"):
            document[key] = [item for item in document.get(key, []) if item != path and _path_of(item) != path]
        document[kind].append(self._plot(path, settings, f"stage {maker.name}") if kind == "plots" else path)
        return [
            msgspec.structs.replace(stage, document=in_order(document)) if stage.name == maker.name else stage
            for stage in stages
        ]


_SOURCES = ("http://", "https://", "s3://", "gs://")
_ORDER = ("cmd", "cwd", "deps", "params", "outs", "persist", "metrics", "plots", "pass_env", "frozen")
_FOLLOW = ("its content is imported; mlo does not follow where it came from", "mlo data get brings it from there again")


def in_order(document: dict[str, Any]) -> dict[str, Any]:
    """A stage's block in the order people read it, without what is empty."""
    return {key: document[key] for key in _ORDER if document.get(key)}


def followed_url(origin: list[DvcDep]) -> str | None:
    """The URL that `dvc import-url` brought data from, if `mlo data update` can ask it without secrets."""
    if len(origin) != 1 or "repo" in origin[0].origin:
        return None
    url = origin[0].written
    return url if url.startswith(_SOURCES) and not set(url) & set("@?#") else None


def _drawings(title: str, settings: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """A plot's files with their settings. `y: {file: column}` names several; else it is the title."""
    y, x = settings.get("y"), settings.get("x")
    if not isinstance(y, dict):
        return [(title, settings)]
    axes = {file: x.get(file) if isinstance(x, dict) else x for file in y}
    return [
        (str(file), {**settings, "y": column} | ({"x": axes[file]} if axes[file] else {})) for file, column in y.items()
    ]


def _path_of(item: Any) -> str:
    return str(item["path"]) if isinstance(item, dict) else str(item)


def _origin(dep: DvcDep) -> str:
    repository = dep.origin.get("repo")
    if isinstance(repository, dict):
        revision = repository.get("rev_lock") or repository.get("rev")
        return f"{repository.get('url')} {dep.written}{f' at {str(revision)[:12]}' if revision else ''}"
    return dep.written
