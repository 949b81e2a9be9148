"""mlo: one command line for the whole life of a machine-learning model.

In a script: `import mlops_cli as mlo`, then `mlo.params()`, `mlo.log_metric(...)`, `mlo.log_model(...)` and the
other functions of `mlops_cli.api`, which is imported when the first of them is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlops_cli.api import (
        LoadedModel,
        MloError,
        load_model,
        log_artifact,
        log_figure,
        log_metric,
        log_metrics,
        log_model,
        log_param,
        log_params,
        params,
        set_tag,
        set_tags,
        start_run,
    )

__version__ = "0.1.0"

__all__ = [
    "LoadedModel",
    "MloError",
    "__version__",
    "load_model",
    "log_artifact",
    "log_figure",
    "log_metric",
    "log_metrics",
    "log_model",
    "log_param",
    "log_params",
    "params",
    "set_tag",
    "set_tags",
    "start_run",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        value = getattr(import_module("mlops_cli.api"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'mlops_cli' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
