"""What a label of a model may be, and how the log writes it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from mlops_cli.core.errors import UsageError

_WORDS = {"true": True, "false": False}


class LabelTaker(msgspec.Struct, frozen=True):
    """What a label may be: a class of some version of the model, or a number for a regression; anything of a model
    that was never registered. `target` is the column of the training data that holds such labels."""

    model: str
    task: str | None
    classes: tuple[str | int | float | bool, ...]
    target: str | None = None

    def text(self, value: Any) -> str:
        """A label as the log writes it. Raises UsageError."""
        if self.task == "regression":
            return repr(self._number(value))
        nested = isinstance(value, dict | list)
        found = None if nested else self._class(value) if self.classes else value
        if found is None:
            classes = f"; its classes are {', '.join(map(str, self.classes))}" if self.classes else ""
            raise UsageError(
                f"{value!r} is no class of {self.model}{classes}",
                hint="label the rows as the training data was labelled",
            )
        return str(found)

    def _number(self, value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise UsageError(
                f"{value!r} is no label of {self.model}, which answers with numbers", hint="give a finite number"
            )
        return number

    def _class(self, value: Any) -> Any:
        known: Mapping[Any, Any] = {str(label): label for label in self.classes}
        if isinstance(value, str):
            if value in known:
                return known[value]
            value = _WORDS.get(value.lower(), _as_number(value))
        places = {label: label for label in self.classes}  # True is 1 is 1.0: equal labels are one label
        return places.get(value)


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
