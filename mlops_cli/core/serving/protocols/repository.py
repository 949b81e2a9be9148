"""The repository of the Open Inference Protocol: what may be asked of it, and what it lists.

Source: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md
"""

from __future__ import annotations

from typing import Any

import msgspec

from mlops_cli.core.serving.problems import BadInput
from mlops_cli.core.serving.protocols.exchange import read_json
from mlops_cli.core.serving.shelf import Slot


class _Index(msgspec.Struct):
    ready: bool = False


class _Change(msgspec.Struct):
    """A body of `load` or `unload`. Parameters other than those refused are ignored, as the protocol wants it."""

    parameters: dict[str, Any] = {}


_INDEX, _CHANGE = msgspec.json.Decoder(_Index), msgspec.json.Decoder(_Change)


def read_index(body: bytes) -> bool:
    """Are only the models in memory wanted? An empty body asks for all. Raises BadInput."""
    return bool(body.strip()) and read_json(_INDEX, body).ready


def check_change(body: bytes) -> None:
    """Raises BadInput for a body that is none, or that brings a model or a configuration along: the registry alone says
    what a model is, and what is loaded from it has been checked."""
    parameters = read_json(_CHANGE, body).parameters if body.strip() else {}
    brought = [name for name in parameters if name == "config" or name.startswith("file:")]
    if brought:
        raise BadInput(f"{brought[0][:100]} is not taken: models are loaded from the registry, as they are there")


def entries(slot: Slot) -> list[dict[str, Any]]:
    """The versions of a slot, or the one line that says why there is none."""
    held = [
        {"name": slot.name, "version": served.version_text, "state": "READY", "reason": ""} for served in slot.versions
    ]
    reason = slot.reload_error or ("" if slot.is_wanted else "unloaded")
    return held or [{"name": slot.name, "version": "", "state": slot.state, "reason": reason}]
