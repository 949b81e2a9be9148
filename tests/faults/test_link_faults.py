"""A full disk or a kill -9 at every system call of linking and unprotecting: every path holds what it held."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from test_store_faults import STRIKES, described, every_step, root, sound, workspace

from mlops_cli.core.workflows.data import add_paths
from mlops_cli.core.workflows.data_checkout import checkout_paths
from mlops_cli.core.workflows.data_links import unprotect_paths
from mlops_cli.core.workflows.data_status import data_status

__all__ = ["root"]


@pytest.fixture
def added(root: Path) -> Path:
    """Few and small files, added one by one, so that each is a loose object, which can be linked to."""
    add_paths(workspace(root), [root / "data"])
    return root


def plain(root: Path) -> None:
    unprotect_paths(workspace(root), [root / "data"])


@STRIKES
@pytest.mark.parametrize("way", ["hardlink", "symlink", "copy"])
def test_linking_at_every_step(added: Path, strike: Callable[[], None], way: str) -> None:
    def link(root: Path) -> None:
        checkout_paths(workspace(root), link=way)  # type: ignore[arg-type]

    originals = described(added / "data")
    before = "hardlink" if way != "hardlink" else "symlink"
    checkout_paths(workspace(added), link=before)
    for at in every_step(added, link, strike):
        assert described(added / "data") == originals, at
        sound(added)
        link(added)
        assert data_status(workspace(added)).clean
        checkout_paths(workspace(added), link=before)


@STRIKES
@pytest.mark.parametrize("way", ["hardlink", "symlink"])
def test_unprotecting_at_every_step(added: Path, strike: Callable[[], None], way: str) -> None:
    originals = described(added / "data")
    checkout_paths(workspace(added), link=way)  # type: ignore[arg-type]
    for at in every_step(added, plain, strike):
        assert described(added / "data") == originals, at
        sound(added)
        plain(added)
        assert (added / "data/a").stat().st_mode & 0o200
        assert (added / "data/a").stat().st_nlink == 1
        assert data_status(workspace(added)).clean
        checkout_paths(workspace(added), link=way)  # type: ignore[arg-type]
