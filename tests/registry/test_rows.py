"""Rows from the store: files and folders of them, and what is no rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from registry_project import RegistryProject, rows

from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import ProjectError
from mlops_cli.core.store.snapshot import record
from mlops_cli.core.workflows.rows import count_rows, read_rows
from mlops_cli.core.workflows.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return RegistryProject(tmp_path / "project").workspace()


def put(workspace: Workspace, path: str) -> Entry:
    return record(workspace.store, workspace.index, workspace.root / path)


def test_a_folder_is_read_file_by_file_in_order_of_name(workspace: Workspace) -> None:
    folder = workspace.root / "data" / "parts"
    folder.mkdir()
    rows(1, 3).to_parquet(folder / "b.parquet")
    rows(2, 4).to_parquet(folder / "a.parquet")
    entry = put(workspace, "data/parts")
    table = read_rows(workspace, entry, "data/parts")
    assert table.num_rows == 7
    assert table.column("x").to_pylist()[:4] == rows(2, 4)["x"].tolist()
    assert count_rows(workspace, entry, "data/parts") == 7
    assert count_rows(workspace, put(workspace, "data/parts/a.parquet"), "a.parquet") == 4
    (folder / "notes.txt").write_text("not rows")
    assert count_rows(workspace, put(workspace, "data/parts"), "data/parts") is None
    assert read_rows(workspace, put(workspace, "data/parts"), "data/parts").num_rows == 7


def test_files_with_other_columns_are_joined_and_those_of_other_types_are_refused(workspace: Workspace) -> None:
    folder = workspace.root / "parts"
    folder.mkdir()
    rows(1, 3).to_parquet(folder / "a.parquet")
    rows(2, 3).drop(columns="z").to_parquet(folder / "b.parquet")
    assert read_rows(workspace, put(workspace, "parts"), "parts").column("z").null_count == 3
    rows(3, 3).assign(x="text").to_parquet(folder / "c.parquet")
    with pytest.raises(ProjectError, match="different columns"):
        read_rows(workspace, put(workspace, "parts"), "parts")


def test_what_holds_no_rows_is_an_error_with_its_path(workspace: Workspace) -> None:
    (workspace.root / "empty").mkdir()
    (workspace.root / "empty" / "a.txt").write_text("text")
    (workspace.root / "bad.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(ProjectError, match="empty holds no rows"):
        read_rows(workspace, put(workspace, "empty"), "empty")
    with pytest.raises(ProjectError, match=r"bad\.parquet does not read as rows"):
        read_rows(workspace, put(workspace, "bad.parquet"), "bad.parquet")
    (workspace.root / "twice.csv").write_text("x,z,x\n1,2,3\n")
    with pytest.raises(ProjectError, match=r"twice\.csv has two columns named x"):
        read_rows(workspace, put(workspace, "twice.csv"), "twice.csv")
    assert count_rows(workspace, put(workspace, "bad.parquet"), "bad.parquet") is None
