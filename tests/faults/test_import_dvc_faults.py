"""`mlo import dvc` killed at every step: DVC's and the user's files stay, and the same command completes the work."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Mlo
from dying import unmeasured

OURS = {".mloignore", ".gitignore", "mlo.yaml", "mlo.lock"}


def put(root: Path, data: bytes, ending: str = "") -> str:
    name = hashlib.md5(data).hexdigest() + ending
    place = root / ".dvc" / "cache" / "files" / "md5" / name[:2] / name[2:]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    return name


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """Data in DVC's cache alone, data in the work tree too, a stage with a result, a rule to ignore."""
    root = tmp_path / "template"
    root.mkdir()
    rows = [{"md5": put(root, b"%d" % number), "relpath": f"deep/{number}.txt"} for number in range(4)]
    folder = put(root, json.dumps(rows).encode(), ".dir")
    (root / ".dvc" / "config").touch()
    (root / "raw.dvc").write_text(f"outs: [{{md5: {folder}, hash: md5, path: raw}}]\n")
    (root / "one.dvc").write_text(f"outs: [{{md5: {put(root, b'one')}, hash: md5, path: one}}]\n")
    (root / "one").write_bytes(b"one")
    (root / "dvc.yaml").write_text("stages: {s: {cmd: cp one two, deps: [one], outs: [two]}}\n")
    dep, out = (f"{{path: {path}, hash: md5, md5: {put(root, b'one')}}}" for path in ("one", "two"))
    (root / "dvc.lock").write_text(f"schema: '2.0'\nstages: {{s: {{cmd: cp one two, deps: [{dep}], outs: [{out}]}}}}\n")
    (root / ".dvcignore").write_text("*.tmp\n")
    return root


def content(root: Path) -> dict[str, bytes]:
    files = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.startswith(".mlo/")}


@pytest.mark.slow
def test_a_killed_import_leaves_everything_and_the_next_one_completes_it(
    template: Path, tmp_path: Path, mlo: Mlo, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Path(__file__).with_name("import_crash_driver.py")
    copies = tmp_path / "copies"
    copies.mkdir()
    subprocess.run([sys.executable, driver, template, copies], check=True, capture_output=True, env=unmeasured())
    before = content(template)
    wanted = {**before, **{f"raw/deep/{number}.txt": b"%d" % number for number in range(4)}, "two": b"one"}
    folders = sorted(copies.iterdir(), key=lambda path: int(path.name))
    assert len(folders) > 20
    for folder in folders:
        left = content(folder)
        assert {name: left.get(name) for name in before} == before, folder.name
        monkeypatch.chdir(folder)
        mlo("import", "dvc")
        after = {name: data for name, data in content(folder).items() if name not in OURS and ".tmp" not in name}
        assert after == wanted, folder.name
        assert not mlo("data", "status", "--json").json["changes"], folder.name
        assert mlo("data", "fsck", "--json").exit_code == 0
        assert not (folder / ".mlo" / "import.json").exists()
