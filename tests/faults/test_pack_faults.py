"""As test_store_faults, with so many small files that they go into packs: add, checkout and pull at every step."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from test_store_faults import (
    STRIKES,
    add,
    checkout,
    clone_of,
    described,
    empty,
    every_step,
    pull,
    push,
    root,
    sound,
    sound_objects,
    workspace,
)

from mlops_cli.core.store.batch import FEWEST
from mlops_cli.core.workflows import data_status

__all__ = ["root"]


def packs(root: Path) -> list[Path]:
    return list((root / ".mlo/cache/packs").glob("*.pack"))


@pytest.fixture
def many(root: Path) -> Path:
    """The project of test_store_faults with a folder of small files beside, and one too large for a pack."""
    (root / "data/many").mkdir()
    for number in range(FEWEST + 8):
        (root / f"data/many/{number:02}").write_bytes(b"%d\n" % number * 50)
    (root / "data/big").write_bytes(b"x" * 300_000)
    return root


@pytest.fixture
def again(many: Path) -> Iterator[Callable[[], None]]:
    """Put the project back as it was."""
    kept = many.parent / "kept"
    shutil.copytree(many, kept, symlinks=True)

    def put_back() -> None:
        empty(many)
        shutil.copytree(kept, many, symlinks=True, dirs_exist_ok=True)

    yield put_back
    shutil.rmtree(kept)


@pytest.mark.slow
@STRIKES
def test_adding_packs_at_every_step(many: Path, again: Callable[[], None], strike: Callable[[], None]) -> None:
    originals = described(many / "data")
    for at in every_step(many, add, strike):
        assert described(many / "data") == originals, at
        sound(many)
        add(many)
        assert described(many / "data") == originals, at
        sound(many)
        assert data_status.data_status(workspace(many)).clean
        again()
    assert len(packs(many)) == 1


@pytest.mark.slow
@STRIKES
@pytest.mark.parametrize("link", ["copy", "hardlink", "symlink"])
def test_checking_packs_out_at_every_step(
    many: Path, strike: Callable[[], None], link: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is gone is built aside; one that is half there is filled."""
    monkeypatch.setattr("mlops_cli.core.store.building._FEW", 0)
    (many / "mlo.yaml").write_text(f"name: x\ncache: {{link: [{link}]}}\n")
    add(many)
    assert len(packs(many)) == 1
    originals = described(many / "data")

    def lose(everything: bool) -> None:
        if everything:
            shutil.rmtree(many / "data")
        else:
            for number in range(0, FEWEST, 8):
                (many / f"data/many/{number:02}").unlink(missing_ok=True)

    for everything in (True, False):
        lose(everything)
        for at in every_step(many, checkout, strike):
            if (many / "data").exists():
                assert described(many / "data").items() <= originals.items(), at
            sound(many)
            checkout(many)
            assert described(many / "data") == originals, at
            assert data_status.data_status(workspace(many)).clean
            lose(everything)


@pytest.mark.slow
@STRIKES
@pytest.mark.parametrize("whole", [False, True], ids=["objects", "whole packs"])
def test_pulling_packs_at_every_step(
    many: Path, strike: Callable[[], None], whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if whole:
        monkeypatch.setattr("mlops_cli.core.store.whole.WHOLE_BYTES", 1)
        monkeypatch.setattr("mlops_cli.core.store.whole._MOST_KNOWN", 1.0)
        monkeypatch.setattr("mlops_cli.core.store.pull._BEHIND_BYTES", 0)
    add(many)
    push(many)
    originals = described(many / "data")
    clone = clone_of(many, many.parent / "clone")
    for at in every_step(clone, pull, strike):
        sound_objects(clone)
        if (clone / "data").exists():
            assert described(clone / "data").items() <= originals.items(), at
        pull(clone)
        assert described(clone / "data") == originals, at
        sound(clone)
        empty(clone)
        clone_of(many, clone)
    pull(clone)
    there = {pack.name for pack in (many.parent / "far/packs").glob("*.pack")}
    assert ({pack.name for pack in packs(clone)} == there) == whole
