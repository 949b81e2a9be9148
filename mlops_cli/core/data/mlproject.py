"""MLflow's MLproject file, read and checked: its entry points, their parameters, the environment they ask for.

See https://mlflow.org/docs/latest/ml/projects/ for what MLflow says of the format.
"""

from __future__ import annotations

import re
import string
from pathlib import Path
from typing import Any, Literal

import msgspec

from mlops_cli.core.errors import NotFound, ProjectError
from mlops_cli.core.project import yaml12

FILE_NAME = "MLproject"
KNOWN_TYPES = ("string", "float", "path", "uri")
_ENVIRONMENTS = ("python_env", "conda_env", "docker_env")
_KEYS = ("name", "entry_points", *_ENVIRONMENTS)
_PYTHON = re.compile(r"(?m)^python\s*:\s*['\"]?(3(?:\.\d+){0,2})['\"]?\s*(?:#.*)?$")
MAX_BYTES = 1 << 20


class Parameter(msgspec.Struct, frozen=True):
    """One parameter of an entry point. `value` is its default, typed; None if it has to be given."""

    name: str
    type: str
    value: str | int | float | None = None

    @property
    def is_required(self) -> bool:
        return self.value is None


class EntryPoint(msgspec.Struct, frozen=True):
    """`command` in pieces: a text of the shell's, then the name of the parameter that follows it or None."""

    name: str
    parameters: tuple[Parameter, ...]
    command: tuple[tuple[str, str | None], ...]
    unknown: tuple[str, ...] = ()

    def parameter(self, name: str) -> Parameter:
        return next(parameter for parameter in self.parameters if parameter.name == name)


class PythonEnv(msgspec.Struct, frozen=True):
    """A python_env.yaml: the Python, and what is installed into it."""

    file: str
    python: str | None = None
    dependencies: tuple[str, ...] = ()
    build: tuple[str, ...] = ()


class DockerEnv(msgspec.Struct, frozen=True):
    """`passed` are variables of the caller's, `given` those with a value of their own."""

    image: str
    volumes: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()
    given: tuple[tuple[str, str], ...] = ()


class MlProject(msgspec.Struct, frozen=True):
    root: str
    name: str | None = None
    entry_points: tuple[EntryPoint, ...] = ()
    python_env: PythonEnv | None = None
    conda_env: str | None = None
    docker_env: DockerEnv | None = None
    unknown: tuple[str, ...] = ()


def find_mlproject(start: Path) -> Path:
    """The MLproject file that `start` is, or that lies in it; MLflow minds no capitals. Raises NotFound."""
    if start.is_file():
        return start
    try:
        found = sorted(path for path in start.iterdir() if path.name.lower() == FILE_NAME.lower() and path.is_file())
    except (FileNotFoundError, NotADirectoryError):
        found = []
    if not found:
        raise NotFound(f"there is no {FILE_NAME} in {start}", hint="name the folder: mlo import mlproject PATH")
    return found[0]


def read_mlproject(file: Path) -> MlProject:
    """Raises ProjectError, with line and column, for a file that MLflow would not run, or whose types do not hold."""
    return _Reader(file).project()


class _Reader:
    def __init__(self, file: Path) -> None:
        self._file = file
        self._root = file.parent
        self._document, self._positions = yaml12.read(_text(file, file.name), file.name)

    def project(self) -> MlProject:
        document = self._mapping(self._document or {}, ())
        self._one_environment(document)
        entries = self._mapping(document.get("entry_points") or {}, ("entry_points",))
        if not entries:
            raise self._error(("entry_points",), "it has no entry points", "without a command there is no stage")
        name = document.get("name")
        return MlProject(
            root=str(self._root),
            name=None if name is None else str(name),
            entry_points=tuple(self._entry(str(key), value) for key, value in entries.items()),
            python_env=self._python_env(document.get("python_env")),
            conda_env=self._file_name(document, "conda_env"),
            docker_env=self._docker_env(document.get("docker_env")),
            unknown=tuple(str(key) for key in document if key not in _KEYS),
        )

    # -- entry points --------------------------------------------------------------------------------------

    def _entry(self, name: str, value: Any) -> EntryPoint:
        place = ("entry_points", name)
        entry = self._mapping(value, place)
        given = self._mapping(entry.get("parameters") or {}, (*place, "parameters"))
        parameters = tuple(self._parameter(str(key), item, place) for key, item in given.items())
        command = entry.get("command")
        if not isinstance(command, str) or not command.strip():
            raise self._error(place, f"entry point {name} has no command", "give it one: command: python train.py")
        unknown = tuple(str(key) for key in entry if key not in ("parameters", "command"))
        return EntryPoint(name, parameters, self._pieces(command.strip(), parameters, place), unknown)

    def _parameter(self, name: str, value: Any, entry: yaml12.KeyPath) -> Parameter:
        place = (*entry, "parameters", name)
        if isinstance(value, str):
            return Parameter(name, value)
        settings = self._mapping(value or {}, place)
        unknown = [str(key) for key in settings if key not in ("type", "default")]
        if unknown:
            raise self._error(
                (*place, unknown[0]), f"unknown key {unknown[0]} of a parameter", "they are type, default"
            )
        kind = settings.get("type", "string")
        if not isinstance(kind, str):
            raise self._error((*place, "type"), f"the type of {name} is {kind!r}", f"they are {_list(KNOWN_TYPES)}")
        return Parameter(name, kind, self._default(name, kind, settings.get("default"), place))

    def _default(self, name: str, kind: str, value: Any, place: yaml12.KeyPath) -> str | int | float | None:
        """A default as its type wants it: numbers for float, texts for all others."""
        if value is None:
            return None
        if isinstance(value, list | dict):
            raise self._error((*place, "default"), f"the default of {name} is no single value", "MLflow passes texts")
        if kind in ("float", "int", "integer", "number"):
            number = yaml12.parse_scalar(value) if isinstance(value, str) else value
            if isinstance(number, bool) or not isinstance(number, int | float) or number - number != 0:
                hint = "give it a number, or the type string"
                raise self._error((*place, "default"), f"{name} is a {kind}, and its default is {value!r}", hint)
            return number
        return value if isinstance(value, str) else str(value)

    def _pieces(
        self, command: str, parameters: tuple[Parameter, ...], entry: yaml12.KeyPath
    ) -> tuple[tuple[str, str | None], ...]:
        """The command as MLflow fills it: by Python's str.format."""
        place, known = (*entry, "command"), {parameter.name for parameter in parameters}
        try:
            parsed = list(string.Formatter().parse(command))
        except ValueError as error:
            raise self._error(place, f"the command does not read: {error}", "write {{ and }} for braces") from None
        pieces: list[tuple[str, str | None]] = []
        for text, field, form, conversion in parsed:
            if field is not None and (form or conversion):
                raise self._error(place, f"{{{field}}} in the command has a format", "name the parameter alone")
            if field is not None and field not in known:
                declared = f"; it has {_list(sorted(known))}" if known else ""
                raise self._error(
                    place, f"the command names {{{field}}}, which is no parameter{declared}", "declare it"
                )
            pieces.append((text, field))
        return tuple(pieces)

    # -- environments --------------------------------------------------------------------------------------

    def _one_environment(self, document: dict[str, Any]) -> None:
        there = [key for key in _ENVIRONMENTS if document.get(key)]
        if len(there) > 1:
            raise self._error((there[1],), f"it has {_list(there)}", "MLflow takes one of them; keep that one")

    def _file_name(self, document: dict[str, Any], key: str) -> str | None:
        value = document.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not value:
            raise self._error((key,), f"{key} is {value!r}", f"name a file: {key}: {key}.yaml")
        return value

    def _python_env(self, value: Any) -> PythonEnv | None:
        name = self._file_name({"python_env": value}, "python_env")
        if name is None:
            return None
        path = self._root / name
        if not path.is_file():
            raise self._error(("python_env",), f"there is no {name}", "create it, or take python_env away")
        text = _text(path, name)
        document = yaml12.read(text, name)[0] or {}
        if not isinstance(document, dict):
            raise ProjectError(f"{name} holds no mapping", hint="write python: and dependencies:")
        # A number would have lost its last zero: 3.10.
        python = _PYTHON.search(text)
        if document.get("python") is not None and python is None:
            raise ProjectError(f"{name}: python is {document['python']!r}", hint='write it as python: "3.11"')
        lists = {key: self._texts(document.get(key), name, key) for key in ("dependencies", "build_dependencies")}
        return PythonEnv(name, python[1] if python else None, lists["dependencies"], lists["build_dependencies"])

    def _docker_env(self, value: Any) -> DockerEnv | None:
        if value is None:
            return None
        settings = self._mapping(value, ("docker_env",))
        image = settings.get("image")
        if not isinstance(image, str) or not image:
            raise self._error(("docker_env",), "docker_env names no image", "image: name@sha256:...")
        passed, given = [], []
        for item in settings.get("environment") or ():
            if isinstance(item, str):
                passed.append(item)
            elif isinstance(item, list) and len(item) == 2:
                given.append((str(item[0]), str(item[1])))
            else:
                raise self._error(
                    ("docker_env", "environment"), f"{item!r} is no variable", "write NAME, or [NAME, value]"
                )
        return DockerEnv(
            image, self._texts(settings.get("volumes"), self._file.name, "volumes"), tuple(passed), tuple(given)
        )

    # -- errors --------------------------------------------------------------------------------------------

    def _texts(self, value: Any, source: str, key: str) -> tuple[str, ...]:
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ProjectError(f"{source}: {key} is no list of texts", hint=f"write {key}: [one, another]")
        return tuple(value)

    def _mapping(self, value: Any, place: yaml12.KeyPath) -> dict[Any, Any]:
        if not isinstance(value, dict):
            where = ".".join(map(str, place)) or "it"
            raise self._error(place, f"{where} is {value!r}, which is no mapping", "write key: value there")
        return value

    def _error(self, place: yaml12.KeyPath, message: str, hint: str) -> ProjectError:
        for length in range(len(place), -1, -1):
            if place[:length] in self._positions:
                line, column = self._positions[place[:length]]
                return ProjectError(f"{self._file.name}:{line}:{column}: {message}", hint=hint)
        return ProjectError(f"{self._file.name}: {message}", hint=hint)


Quote = Literal["", "'", '"']


def quote_after(text: str, before: Quote) -> Quote:
    """In which quotes of the shell's one stands after `text`, having begun in `before`."""
    quote, is_escaped = before, False
    for character in text:
        if is_escaped:
            is_escaped = False
        elif character == "\\" and quote != "'":
            is_escaped = True
        elif character in "'\"" and quote in ("", character):
            quote = "" if quote else "'" if character == "'" else '"'
    return quote


def _text(path: Path, name: str) -> str:
    if path.stat().st_size > MAX_BYTES:
        raise ProjectError(f"{name} is {path.stat().st_size:,} bytes", hint="is it the file you mean?")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ProjectError(f"{name} is not UTF-8: {error}", hint="save it as UTF-8") from None


def _list(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names)
