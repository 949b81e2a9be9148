"""A small project with data, in git, for tests of the data commands."""

from __future__ import annotations

import subprocess
from pathlib import Path


def git(*arguments: str | Path, cwd: Path | None = None) -> str:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    command = ["git", *identity, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=cwd).stdout


def commit(message: str = "x", cwd: Path | None = None) -> None:
    git("add", "-A", cwd=cwd)
    git("commit", "-q", "-m", message, cwd=cwd)


def lay_out(root: Path) -> None:
    """`data/raw` with two files, one of them in a folder; a remote `origin` that is a folder beside; not added yet."""
    git("init", "-q", "-b", "main", root)
    (root / "mlo.yaml").write_text("name: x\nremotes: {origin: ../far}\n")
    (root.parent / "far").mkdir()
    (root / "data/raw/sub").mkdir(parents=True)
    (root / "data/raw/a").write_bytes(b"1\n")
    (root / "data/raw/sub/b").write_bytes(b"22\n")


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
