"""`${...}` in dvc.yaml, and the stages that `foreach` and `matrix` stand for.

Values are put in once, as DVC does it; what a value holds is never read as a template again.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from itertools import islice, product
from typing import Any

from mlops_cli.core.data.dvc_params import select
from mlops_cli.core.errors import IntegrityError, ProjectError

MAX_STAGES = 10_000
MAX_TEXT = 1 << 20  # characters of one text after its values were put in
_EXPRESSION = re.compile(r"(?<!\\)\$\{(?P<inner>.*?)\}", re.DOTALL)
_KEY = re.compile(r"[^.\[\]]+(?:\.[^.\[\]]+|\[[^.\[\]]+\])*")
_OPEN, _CLOSE = "\ue000", "\ue001"  # around a name that stays a template; for private use, so in nobody's file
_HARM = "it was made to do harm; mlo writes nothing"

LoadVars = Callable[[str, str], Mapping[str, Any]]
"""From `file` or `file:key,key`, as it stands in `vars`, and the folder it is meant from, to its values."""


def is_templated(value: Any) -> bool:
    """Whether a value holds `${...}` somewhere."""
    if isinstance(value, str):
        return _EXPRESSION.search(value) is not None
    if isinstance(value, Mapping):
        return any(is_templated(part) for pair in value.items() for part in pair)
    return isinstance(value, list) and any(map(is_templated, value))


def expressions(value: Any) -> set[str]:
    """The names that a value's templates ask for."""
    if isinstance(value, str):
        return {match["inner"].strip() for match in _EXPRESSION.finditer(value)}
    if isinstance(value, Mapping):
        return set().union(*(expressions(part) for pair in value.items() for part in pair))
    return set().union(*map(expressions, value)) if isinstance(value, list) else set()


class Template:
    """The values that one dvc.yaml's templates are filled from. `parsing` is that section of DVC's config."""

    def __init__(self, values: Mapping[str, Any], *, source: str, parsing: Mapping[str, str] | None = None) -> None:
        self._values = values
        self._source = source
        self._parsing = parsing or {}

    def extended(self, more: Mapping[str, Any]) -> Template:
        return Template(merged(self._values, more), source=self._source, parsing=self._parsing)

    def fill(self, value: Any, *, command: bool = False) -> Any:
        """A value with everything put in; `command` turns a mapping into options, as in `--depth 3 --fast`.

        Raises ProjectError for an unknown name, IntegrityError for a value that is a template itself.
        """
        if isinstance(value, Mapping):
            return {self.fill(key): self.fill(item, command=command) for key, item in value.items()}
        if isinstance(value, list):
            return [self.fill(item, command=command) for item in value]
        return self._fill_text(value, command) if isinstance(value, str) else value

    def _fill_text(self, text: str, command: bool) -> Any:
        whole = _EXPRESSION.fullmatch(text)
        if whole is not None and "}" not in whole["inner"]:
            found = self._look_up(whole["inner"])
            return self._options(found) if command and isinstance(found, Mapping) else found
        parts, at, length = [], 0, len(text)
        for match in _EXPRESSION.finditer(text):
            found = self._look_up(match["inner"])
            if isinstance(found, list) or (isinstance(found, Mapping) and not command):
                raise ProjectError(
                    f"{self._source}: ${{{match['inner']}}} in {text!r} is a {type(found).__name__}",
                    hint="only plain values can stand inside a text",
                )
            shown = self._options(found) if isinstance(found, Mapping) else to_text(found)
            length += len(shown)
            if length > MAX_TEXT:
                raise IntegrityError(f"{self._source}: a text grows over {MAX_TEXT:,} characters", hint=_HARM)
            parts += [text[at : match.start()], shown]
            at = match.end()
        return "".join([*parts, text[at:]]).replace("\\${", "${")

    def _look_up(self, expression: str) -> Any:
        name = expression.strip()
        try:
            if not _KEY.fullmatch(name):
                raise KeyError(name)
            found = select(self._values, name)
        except KeyError:
            raise ProjectError(
                f"{self._source}: ${{{expression}}} names no value of params.yaml or vars",
                hint="dvc status says the same",
            ) from None
        if is_templated(found):
            raise IntegrityError(
                f"{self._source}: the value of ${{{expression}}} is a template itself: {str(found)[:60]!r}",
                hint="DVC puts values in once only; write the value out",
            )
        return found

    def _options(self, values: Mapping[str, Any]) -> str:
        parts: list[str] = []
        for key, value in _flat(values):
            if isinstance(value, bool):
                parts += [f"--{key}"] if value else []
                parts += [f"--no-{key}"] if not value and self._parsing.get("bool") == "boolean_optional" else []
            elif isinstance(value, list):
                items = [shlex.quote(item) if isinstance(item, str) else str(item) for item in value]
                once = self._parsing.get("list", "nargs") != "append"
                parts += [" ".join([f"--{key}", *items])] if once and items else [f"--{key} {item}" for item in items]
            else:
                plain = not isinstance(value, str) or is_marked(value)
                parts.append(f"--{key} {value if plain else shlex.quote(value)}")
        return " ".join(parts)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def to_text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def merged(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """Two mappings as one, `high` over `low`, mapping by mapping."""
    result = dict(low)
    for key, value in high.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def expand(stages: Mapping[str, Any], template: Template, load: LoadVars) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every stage with its values put in: its name, the name it has in dvc.yaml, its definition.

    Raises IntegrityError for more than MAX_STAGES, ProjectError for what is no stage.
    """
    count = 0
    for group, body in stages.items():
        if not isinstance(body, Mapping):
            raise ProjectError(f"stage {group} of dvc.yaml is no mapping", hint="dvc status says the same")
        for name, inner, definition in _instances(str(group), body, template):
            count += 1
            if count > MAX_STAGES:
                raise IntegrityError(f"foreach and matrix make more than {MAX_STAGES:,} stages", hint=_HARM)
            wdir = str(inner.fill(definition.get("wdir") or "."))
            filled = with_vars(inner, definition.get("vars") or [], load, wdir)
            yield name, str(group), _resolved(definition, filled)


def generic(body: Mapping[str, Any], template: Template, load: LoadVars) -> tuple[dict[str, Any], dict[str, Any]]:
    """A foreach or matrix for all its items at once: the items, values put in, and the definition with marks where an
    item or its key stands. Raises ProjectError, IntegrityError where that cannot be."""
    kind = "foreach" if "foreach" in body else "matrix"
    items = template.fill(body[kind])
    if not isinstance(items, list | Mapping) or not items:
        raise ProjectError(f"{kind} goes through nothing", hint="dvc status says the same")
    if kind == "matrix":
        sample = {axis: values[0] for axis, values in dict(items).items()}
    else:
        sample = items[0] if isinstance(items, list) else next(iter(items.values()))
    known = {"item": _marked(sample, "item")}
    if not isinstance(items, list):
        known["key"] = _marked("", "key")
    rest = body["do"] if kind == "foreach" else {key: value for key, value in body.items() if key != "matrix"}
    inner = template.extended(known)
    filled = with_vars(inner, rest.get("vars") or [], load, str(inner.fill(rest.get("wdir") or ".")))
    return {kind: items}, _resolved(rest, filled)


def _marked(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _marked(item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [_marked(item, f"{name}.{place}") for place, item in enumerate(value)]
    return f"{_OPEN}{name}{_CLOSE}"


def is_marked(*texts: str) -> bool:
    return any(_OPEN in text for text in texts)


def unmarked(value: Any) -> Any:
    """With `${...}` in place of marks."""
    if isinstance(value, Mapping):
        return {key: unmarked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [unmarked(item) for item in value]
    return value.replace(_OPEN, "${").replace(_CLOSE, "}") if isinstance(value, str) else value


def with_vars(template: Template, listed: list[Any], load: LoadVars, wdir: str = ".") -> Template:
    """The template with what `vars` adds to it: inline mappings, `file`, `file:key,key`."""
    for item in listed:
        if is_templated(item):
            raise IntegrityError(f"vars hold a template: {str(item)[:60]!r}", hint="DVC refuses that too; write it out")
        template = template.extended(item if isinstance(item, Mapping) else load(str(item), wdir))
    return template


def _instances(
    group: str, body: Mapping[str, Any], template: Template
) -> Iterator[tuple[str, Template, Mapping[str, Any]]]:
    if "foreach" in body:
        items = template.fill(body["foreach"])
        if isinstance(items, list):
            nested = any(isinstance(item, list | Mapping) for item in items)
            pairs: list[tuple[str, dict[str, Any]]] = [
                (str(place) if nested else to_text(item), {"item": item}) for place, item in enumerate(items)
            ]
        elif isinstance(items, Mapping):
            pairs = [(to_text(key), {"item": item, "key": to_text(key)}) for key, item in items.items()]
        else:
            raise ProjectError(f"foreach of stage {group} is neither list nor mapping", hint="dvc status says the same")
        do = body.get("do")
        if not isinstance(do, Mapping):
            raise ProjectError(f"stage {group} has foreach and no do", hint="dvc status says the same")
        for key, extra in dict(pairs).items():
            yield f"{group}@{key}", template.extended(extra), do
    elif "matrix" in body:
        axes = template.fill(body["matrix"])
        if not isinstance(axes, Mapping) or not all(isinstance(values, list) for values in axes.values()):
            raise ProjectError(f"matrix of stage {group} is no mapping of lists", hint="dvc status says the same")
        rest = {key: value for key, value in body.items() if key != "matrix"}
        choices = product(*(list(enumerate(values)) for values in axes.values()))
        for choice in islice(choices, MAX_STAGES + 1):
            chosen = dict(zip(axes, choice, strict=True))
            key = "-".join(
                f"{axis}{place}" if isinstance(value, list | Mapping) else to_text(value)
                for axis, (place, value) in chosen.items()
            )
            item = {axis: value for axis, (_, value) in chosen.items()}
            yield f"{group}@{key}", template.extended({"item": item, "key": key}), rest
    else:
        yield group, template, body


def _resolved(definition: Mapping[str, Any], template: Template) -> dict[str, Any]:
    return {
        key: template.fill(value, command=key == "cmd")
        for key, value in definition.items()
        if key not in ("vars", "meta", "desc")
    } | {key: definition[key] for key in ("desc",) if key in definition}
