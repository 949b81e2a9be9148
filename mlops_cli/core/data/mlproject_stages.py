"""An MLproject in mlo's words: its entry points as stages, its parameters as those of mlo.yaml.

An entry point says neither what it reads nor what it writes. What its command names and what is there becomes its deps;
the rest is for people to add, and is said.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from mlops_cli.core.base.records import MODEL_NAME
from mlops_cli.core.data.dvc_stages import Left
from mlops_cli.core.data.mlproject import (
    KNOWN_TYPES,
    DockerEnv,
    EntryPoint,
    MlProject,
    Parameter,
    PythonEnv,
    quote_after,
)
from mlops_cli.core.data.shell_text import needs_bash, script_text, variables_read, variables_used
from mlops_cli.core.project import yaml12

LOCK = "requirements.lock"
_PINNED = re.compile(r"[a-z0-9][A-Za-z0-9._/:-]*@sha256:[0-9a-f]{64}")
_PARAMETER = re.compile(r"[\w-]+")
_NUMERIC = ("float", "int", "integer", "number")
_FILLED = re.compile(r"\$\{\s*params\b")
_IMPORTS_MLFLOW = re.compile(r"^\s*(?:import|from)\s+mlflow\b", re.MULTILINE)
_CALLS_MLFLOW = re.compile(r"(?:^|[;&|(]\s*)mlflow\s")
_HEADER = "# Made from an MLproject by `mlo import mlproject`. It is yours now: edit it.\n"


class Made(msgspec.Struct, frozen=True):
    """A stage and the entry point it was."""

    name: str
    entry_point: str
    document: dict[str, Any]


class Carried(msgspec.Struct, frozen=True):
    """The sections of mlo.yaml, and what does not stand in them."""

    name: str | None
    params: dict[str, Any]
    env: dict[str, str] | None
    stages: list[Made]
    left: list[Left]


def carry_over(project: MlProject, *, is_usual: Callable[[str], bool]) -> Carried:
    """`is_usual` knows the variables that every stage of mlo sees."""
    return _Carrier(project, is_usual).run()


def render(name: str, carried: Carried, settings: dict[str, Any]) -> str:
    """The text of mlo.yaml; `settings` are sections that were there before."""
    document: dict[str, Any] = {"name": name}
    if carried.params:
        document["params"] = carried.params
    if carried.env:
        document["env"] = carried.env
    document["stages"] = {stage.name: stage.document for stage in carried.stages}
    return _HEADER + yaml12.dump({**document, **settings}, ordered=False)


class _Carrier:
    def __init__(self, project: MlProject, is_usual: Callable[[str], bool]) -> None:
        self._project = project
        self._root = Path(project.root)
        self._is_usual = is_usual
        self._left: list[Left] = []
        self._params: dict[str, Any] = {}
        self._shared = self._in_common()

    def run(self) -> Carried:
        project = self._project
        name = project.name if project.name is not None and MODEL_NAME.fullmatch(project.name) else None
        if project.name is not None and name is None:
            self._leave(
                f"name {project.name}", "mlo has letters, digits, . _ and - in a name", "choose one in mlo.yaml"
            )
        for key in project.unknown:
            self._leave(key, "mlo.yaml has no such key", "see what it was for")
        names = _stage_names([entry.name for entry in project.entry_points])
        stages = [self._stage(name, entry) for name, entry in zip(names, project.entry_points, strict=True)]
        return Carried(name, self._params, self._environment(), stages, self._left)

    def _leave(self, item: str, reason: str, todo: str) -> None:
        self._left.append(Left(item, reason, todo))

    # -- parameters ----------------------------------------------------------------------------------------

    def _in_common(self) -> set[str]:
        """Names that mean the same wherever they stand; the others go below the name of their stage."""
        found: dict[str, set[Parameter]] = {}
        for entry in self._project.entry_points:
            for parameter in entry.parameters:
                found.setdefault(parameter.name, set()).add(parameter)
        return {name for name, kinds in found.items() if len(kinds) == 1}

    def _places(self, stage: str, entry: EntryPoint) -> dict[str, str]:
        """Where in `params` each parameter of an entry point goes; puts it there."""
        own = re.sub(r"[^\w-]+", "_", stage)
        while own in self._shared:
            own += "_params"
        places = {}
        for parameter in entry.parameters:
            where = f"stage {stage}: parameter {parameter.name}"
            if not _PARAMETER.fullmatch(parameter.name):
                self._leave(where, "mlo has letters, digits, _ and - in a parameter", "rename it, then import again")
                continue
            if parameter.name in self._shared:
                self._params[parameter.name] = parameter.value
                places[parameter.name] = parameter.name
            else:
                self._params.setdefault(own, {})[parameter.name] = parameter.value
                places[parameter.name] = f"{own}.{parameter.name}"
            self._say(parameter, places[parameter.name], where)
        return places

    def _say(self, parameter: Parameter, place: str, where: str) -> None:
        if parameter.type not in KNOWN_TYPES:
            self._leave(where, f"MLflow has no type {parameter.type}, and takes it for a text", "check its default")
        if parameter.is_required:
            self._leave(where, "it is required and has no default", f"mlo run -P {place}=..., or a value in mlo.yaml")
        if parameter.type == "path" and isinstance(parameter.value, str) and "://" in parameter.value:
            self._leave(where, "MLflow downloads it first", f"mlo data get {shlex.quote(parameter.value)}")

    # -- stages --------------------------------------------------------------------------------------------

    def _stage(self, name: str, entry: EntryPoint) -> Made:
        where = f"stage {name}"
        places = self._places(name, entry)
        if name != entry.name:
            self._leave(where, f"its entry point is {entry.name}, which is no name for a stage", "use this one")
        for key in entry.unknown:
            self._leave(f"{where}: {key}", "MLflow has no such key of an entry point", "see what it was for")
        plain = "".join(f"{text}{'x' if field else ''}" for text, field in entry.command)
        command = self._command(entry, places)
        scripts = self._files(plain)
        deps = [*scripts, *self._path_defaults(entry, places)]
        document: dict[str, Any] = {"cmd": ["bash", "-c", command] if needs_bash(plain) else command}
        lists = {"deps": deps, "params": list(places.values()), "pass_env": self._variables(plain, scripts, where)}
        document |= {key: value for key, value in lists.items() if value}
        self._lost(where, name, plain, scripts)
        return Made(name, entry.name, document)

    def _command(self, entry: EntryPoint, places: dict[str, str]) -> str:
        """MLflow quotes each value for the shell, so each is one word."""
        parts: list[str] = []
        quote: Any = ""
        for text, field in entry.command:
            if _FILLED.search(text):
                self._leave(
                    f"entry point {entry.name}: {text.strip()}", "mlo fills ${params...} in itself", "name it otherwise"
                )
            parts.append(text)
            quote = quote_after(text, quote)
            if field is None:
                continue
            filled = f"${{params.{places[field]}}}" if field in places else f"{{{field}}}"
            is_word = quote == "" and entry.parameter(field).type not in _NUMERIC
            parts.append(f"'{filled}'" if is_word else filled)
        return "".join(parts)

    def _files(self, command: str) -> list[str]:
        """Files of the project that the command names: scripts, modules, settings."""
        try:
            words = shlex.split(command)
        except ValueError:
            words = command.split()
        found = []
        for place, word in enumerate(words):
            module = place > 0 and words[place - 1] == "-m"
            folder = word.replace(".", "/")
            names = (f"{folder}.py", f"{folder}/__main__.py") if module else (word.removeprefix("./"),)
            found += [name for name in names if self._is_file(name)]
        return list(dict.fromkeys(found))

    def _is_file(self, name: str) -> bool:
        path = Path(name)
        inside = not path.is_absolute() and ".." not in path.parts and path.parts[:1] not in ((".git",), (".mlo",))
        try:
            return inside and (self._root / path).is_file()
        except (OSError, ValueError):  # a word too long for a name
            return False

    def _path_defaults(self, entry: EntryPoint, places: dict[str, str]) -> list[str]:
        deps = []
        for parameter in entry.parameters:
            value = parameter.value
            if (
                parameter.type == "path"
                and parameter.name in places
                and isinstance(value, str)
                and value not in ("", ".")
            ):
                inside = not Path(value).is_absolute() and ".." not in Path(value).parts and "://" not in value
                if inside and (self._root / value).exists():
                    deps.append(f"${{params.{places[parameter.name]}}}")
        return deps

    def _variables(self, command: str, scripts: list[str], where: str) -> list[str]:
        wanted = [name for name in variables_used(command) if not self._is_usual(name)]
        docker = self._project.docker_env
        wanted += [name for name in (docker.passed if docker else ()) if name not in wanted]
        read = {name for script in scripts if script.endswith(".py") for name in variables_read(self._root / script)}
        hidden = sorted(name for name in read if not self._is_usual(name) and name not in wanted)
        if hidden:
            self._leave(
                f"{where}: its script reads {', '.join(hidden)}",
                "a stage of mlo sees the usual variables and those it names",
                f"pass_env: [{', '.join([*wanted, *hidden])}] in mlo.yaml; its values then count as inputs",
            )
        return wanted

    def _lost(self, where: str, name: str, command: str, scripts: list[str]) -> None:
        known = f", beside {', '.join(scripts)}" if scripts else ""
        self._leave(
            f"{where}: deps and outs",
            f"an MLproject does not say what a command reads{known}, nor what it writes",
            f"add deps: and outs: in mlo.yaml; until then mlo run --force {name} runs it again",
        )
        if _CALLS_MLFLOW.search(command):
            self._leave(
                f"{where}: cmd", "it calls mlflow itself", "make the entry points it runs stages that read outs"
            )
        if any(_IMPORTS_MLFLOW.search(script_text(self._root / script)) for script in scripts):
            self._leave(
                f"{where}: its script logs to MLflow",
                "it goes on doing so, and mlo does not see it",
                "log with mlops_cli as well, or write a metrics file and name it in metrics:",
            )

    # -- environments --------------------------------------------------------------------------------------

    def _environment(self) -> dict[str, str] | None:
        project = self._project
        if project.python_env is not None:
            return self._python(project.python_env)
        if project.conda_env is not None:
            if self._is_file(project.conda_env):
                return {"conda": project.conda_env}
            self._leave(
                f"conda_env {project.conda_env}", "there is no such file in the project", "create it, then env:"
            )
        if project.docker_env is not None:
            return self._docker(project.docker_env)
        return None

    def _python(self, env: PythonEnv) -> dict[str, str]:
        if env.build:
            self._leave(f"{env.file}: build_dependencies", "mlo installs what is locked", "nothing, if it installs so")
        if not (self._root / LOCK).is_file():
            version = f" --python-version {env.python}" if env.python else ""
            files = [line.split(None, 1)[1] for line in env.dependencies if line.startswith(("-r ", "--requirement "))]
            if len(files) == len(env.dependencies) > 0:
                todo = f"uv pip compile {shlex.join(files)}{version} -o {LOCK}"
            else:
                todo = f"printf '%s\\n' {shlex.join(env.dependencies)} | uv pip compile -{version} -o {LOCK}"
            self._leave(f"{env.file}: dependencies", "mlo installs exact versions, from a lock that is not there", todo)
        return {**({"python": env.python} if env.python else {}), "lock": LOCK}

    def _docker(self, env: DockerEnv) -> dict[str, str] | None:
        for volume in env.volumes:
            self._leave(f"docker_env: volume {volume}", "mlo mounts the project, and nothing else", "mlo data get")
        for name, value in env.given:
            self._leave(
                f"docker_env: {name}={value}", "a stage has no variables of its own", f"cmd: {name}={value} ..."
            )
        if _PINNED.fullmatch(env.image):
            return {"docker": env.image}
        self._leave(
            f"docker_env: image {env.image}",
            "mlo takes an image by its digest: a name may mean another tomorrow",
            f"docker pull {env.image}, then env: {{docker: {env.image.partition(':')[0]}@sha256:...}} in mlo.yaml",
        )
        return None


def _stage_names(names: list[str]) -> list[str]:
    """Names that mlo allows, each once."""
    taken: Counter[str] = Counter()
    made = []
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip("._-")[:100] or "stage"
        while taken[plain]:
            taken[plain] += 1
            plain = f"{plain}-{taken[plain]}"
        taken[plain] += 1
        made.append(plain)
    return made
