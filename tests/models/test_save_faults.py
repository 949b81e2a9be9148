"""A save that fails anywhere leaves the model that was there, or none, and no litter."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from mlops_cli.core.errors import MachineError
from mlops_cli.core.models.load import load_model
from mlops_cli.core.models.manifest import hash_files
from mlops_cli.core.models.save import save_model

ROWS = np.array([[0.0], [1.0]])


def line(slope: float) -> LinearRegression:
    return LinearRegression().fit(ROWS, [0.0, slope])


class Failing:
    """Fails the N-th call with a full disk."""

    def __init__(self, real: Any, at: int) -> None:
        self._real = real
        self._at = at
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if self.calls == self._at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._real(*args, **kwargs)


@pytest.mark.parametrize(("owner", "name"), [(os, "rename"), (Path, "write_bytes"), (Path, "mkdir")])
@pytest.mark.parametrize("replacing", [True, False])
def test_a_full_disk_at_any_call_leaves_the_old_model_or_none(
    tmp_path: Path, owner: Any, name: str, replacing: bool
) -> None:
    at = 0
    while True:
        at += 1
        folder = tmp_path / f"{name}-{at}"
        folder.mkdir()
        before = save_model(line(1), folder / "model", example=ROWS).files if replacing else None
        with pytest.MonkeyPatch.context() as patch:
            real = getattr(owner, name)
            failing = Failing(real, at)
            patch.setattr(owner, name, lambda *args, _fail=failing, **kwargs: _fail(*args, **kwargs))
            try:
                save_model(line(2), folder / "model", example=ROWS)
            except MachineError as error:
                said = error.message
            else:
                said = ""
        if not said:
            assert failing.calls < at
            assert load_model(folder / "model").predict({"x0": [1.0]}).labels.tolist() == pytest.approx([2.0])
            return
        assert "cannot write the model" in said
        assert [path.name for path in folder.iterdir()] == (["model"] if replacing else [])
        if before is not None:
            assert hash_files(folder / "model") == before


def test_a_read_only_folder_is_a_machine_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(tmp_path))  # as root meets it too

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(MachineError, match="Read-only file system") as caught:
        save_model(line(1), tmp_path / "model", example=ROWS)
    assert caught.value.hint
