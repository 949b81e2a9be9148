"""Optional packages: an absent one is an error that names the line to type."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from mlops_cli.core.errors import ExtraMissing


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import `module`, or raise ExtraMissing naming the extra that brings it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ExtraMissing(
            f"{purpose} needs the package {module.partition('.')[0]}, which is not installed ({error})",
            hint=f"pip install 'mlops-cli[{extra}]'",
        ) from error
