"""The parameters a script may read: mlo.yaml's values, and an error that says what to add there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from mlops_cli.core.tracking.errors import ParamMissing


class Params(dict[str, Any]):
    """A plain dict, nested where mlo.yaml nests, but for a missing name: that raises ParamMissing (a KeyError).

    `place` names what lists the parameters (`stage train`), `prefix` the dotted way to this mapping.
    """

    def __init__(self, given: Mapping[str, Any], *, stage: str | None = None, prefix: str = "") -> None:
        super().__init__(
            {
                key: Params(value, stage=stage, prefix=f"{prefix}{key}.") if isinstance(value, Mapping) else value
                for key, value in given.items()
            }
        )
        self._stage = stage
        self._prefix = prefix

    def __missing__(self, name: str) -> NoReturn:
        full = f"{self._prefix}{name}"
        there = ", ".join(f"{self._prefix}{key}" for key in self) or "none at all"
        if self._stage is None:
            raise ParamMissing(
                f"mlo.yaml has no parameter {full}; it has {there}", hint=f"add it to mlo.yaml: params: {_nested(full)}"
            )
        raise ParamMissing(
            f"stage {self._stage} does not declare the parameter {full}; it declares {there}",
            hint=f"add {full} to stages.{self._stage}.params in mlo.yaml, and its value to params",
        )


def _nested(name: str) -> str:
    """A dotted name as YAML writes it: `a.b` is `{a: {b: ...}}`."""
    text = "..."
    for part in reversed(name.split(".")):
        text = f"{{{part}: {text}}}"
    return text
