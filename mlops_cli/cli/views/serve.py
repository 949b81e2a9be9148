"""How serve and predict look."""

from __future__ import annotations

import logging
import sys
import time

import msgspec

from mlops_cli.cli.output import Output, plural
from mlops_cli.core.workflows.predict import Predicted
from mlops_cli.core.workflows.serve import Serving


def show_serving(serving: Serving, output: Output) -> None:
    """Said at once, not when the command ends: the caller waits for this line."""
    if output.as_json:
        output.line(msgspec.json.encode(serving).decode())
        sys.stdout.flush()
        return
    rpc = f", gRPC at {serving.grpc}" if serving.grpc is not None else ""
    docs = f"docs at {serving.url}/docs, metrics at {serving.url}/metrics{rpc}"
    output.note(f"serving {', '.join(serving.models)} on {serving.url} ({docs})")


def show_server_log() -> None:
    """What the server logs goes to stderr, a line an event."""
    handler = logging.StreamHandler()
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    for name, level in (("mlops_cli", logging.INFO), ("uvicorn.error", logging.ERROR)):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False


def show_predicted(predicted: Predicted, output: Output) -> None:
    model = f"{predicted.model}@{predicted.version}" if predicted.version is not None else f"runs:{predicted.run[:8]}"
    added = ", ".join(predicted.columns)
    output.line(f"{model} predicted {plural(predicted.rows, 'row')}: wrote {predicted.output} (added {added})")
