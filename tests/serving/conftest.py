from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from serving_kit import running, save, served

from mlops_cli.core.serving.loader import Served


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The model, and a second one that answers the opposite."""
    base = tmp_path_factory.mktemp("models")
    save(base / "one")
    save(base / "two", flipped=True)
    return base / "one", base / "two"


@pytest.fixture(scope="session")
def model(folders: tuple[Path, Path]) -> Served:
    return served(folders[0])


@pytest.fixture(scope="module")
def client(model: Served) -> Iterator[httpx.Client]:
    """A server for many tests: none of them may change it."""
    with running(model) as client:
        yield client
