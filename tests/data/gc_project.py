"""Projects in real git repositories, for the tests of collecting garbage."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from mlops_cli.core.base.digest import digest_bytes
from mlops_cli.core.base.records import Entry
from mlops_cli.core.pipeline.results import Result, ResultCache
from mlops_cli.core.tracking.records import Run
from mlops_cli.core.workflows.data import add_paths
from mlops_cli.core.workflows.gc import Garbage, collect_garbage
from mlops_cli.core.workflows.workspace import Workspace

ENVIRON = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "MLO_ACTOR": "Ada <ada@example.org>",
}
IDENTITY = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main")
DAY_S = 86_400.0


def git(root: Path, *arguments: str) -> str:
    """Run git there; what it said."""
    command = ["git", *IDENTITY, *arguments]
    return subprocess.run(command, cwd=root, env=ENVIRON, check=True, capture_output=True, text=True).stdout


def lay_out(root: Path, settings: str = "") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "mlo.yaml").write_text(f"name: x\n{settings}")
    git(root, "init", "-q")
    return root


def opened(root: Path) -> Workspace:
    return Workspace.find(root, ENVIRON)


def put(root: Path, content: str, *, path: str = "data/a") -> None:
    """Let a file of the entry `data` hold `content`, and add it."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).unlink(missing_ok=True)
    (root / path).write_text(content)
    add_paths(opened(root), [root / path.partition("/")[0]])


def commit(root: Path, content: str) -> None:
    put(root, content)
    git(root, "add", "mlo.yaml", "mlo.lock", ".gitignore")
    git(root, "commit", "-q", "-m", content)


def age(cache: Path, days: float = 2.0) -> None:
    """Let everything in a cache be older than the grace period."""
    for folder, _, names in os.walk(cache):
        for name in names:
            path = os.path.join(folder, name)
            status = os.stat(path)
            os.utime(path, (status.st_atime - days * DAY_S, status.st_mtime - days * DAY_S))


def collect(root: Path, **rules: object) -> Garbage:
    """Delete what nothing needs, however young."""
    age(opened(root).paths.cache)
    return collect_garbage(opened(root), delete=True, **rules)  # type: ignore[arg-type]


def holds(root: Path, content: str) -> bool:
    """Whether the cache can give these bytes back."""
    store, digest = opened(root).store, digest_bytes(content.encode(), "xxh128")
    return store.has(digest) and store.read(digest) == content.encode()


def add_run(root: Path, number: int, content: str) -> Run:
    """A finished run with one output, and the result that restores it."""
    store = opened(root).store
    entry = Entry(str(store.put_bytes(content.encode())), "file", len(content))
    run = Run(id=f"{number:032x}", start=f"2013-05-0{number}T00:00:00.000000Z", status="finished", outputs={"o": entry})
    opened(root).runs.start(run)
    ResultCache(opened(root).paths.cache).put(Result("train", f"{number:064x}", run.id, {"o": entry}))
    return run
