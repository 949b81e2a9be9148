"""Small notebooks, as Jupyter would write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def code(source: str, *tags: str, **more: Any) -> dict[str, Any]:
    metadata = {"tags": list(tags)} if tags else {}
    return {
        "cell_type": "code",
        "id": more.pop("id", "a1"),
        "source": source.splitlines(keepends=True),
        "metadata": metadata,
        "outputs": [],
        "execution_count": None,
        **more,
    }


def text(source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "id": "t1", "source": [source], "metadata": {}}


def notebook(*cells: str | dict[str, Any], kernel: str = "python3", language: str = "python") -> dict[str, Any]:
    whole = [code(cell) if isinstance(cell, str) else dict(cell) for cell in cells]
    for place, cell in enumerate(whole):
        cell["id"] = f"cell-{place}"
    spec = {"name": kernel, "display_name": kernel, "language": language}
    return {"cells": whole, "metadata": {"kernelspec": spec}, "nbformat": 4, "nbformat_minor": 5}


def write_notebook(path: Path, *cells: str | dict[str, Any], **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(notebook(*cells, **more), indent=1))
    return path
