"""Another project, to bring data out of."""

from __future__ import annotations

import os
from pathlib import Path

from tiny_project import git

from mlops_cli.core.workflows.data import add_paths
from mlops_cli.core.workflows.transfer import push_data
from mlops_cli.core.workflows.workspace import Workspace


class OtherProject:
    """A project in a git repository, perhaps in a folder of it, with its remote beside the repository."""

    def __init__(self, top: Path, *, inner: str = "", settings: str = "", in_git: bool = True) -> None:
        self.top = top
        self.root = top / inner
        self.root.mkdir(parents=True)
        self.remote = top.parent / "other-remote"
        self.remote.mkdir(exist_ok=True)
        self.in_git = in_git
        if in_git:
            git(top, "init", "--quiet", "--initial-branch=main")
        (self.root / "mlo.yaml").write_text(f"name: other\nremotes: {{origin: {self.remote}}}\n{settings}")

    def workspace(self) -> Workspace:
        return Workspace.find(self.root, dict(os.environ))

    def write(self, files: dict[str, bytes]) -> None:
        for name, data in files.items():
            place = self.root / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)

    def commit(self, *paths: str) -> str:
        """Add the paths as data, push them, and commit everything else; the commit."""
        if paths:
            add_paths(self.workspace(), [Path(path) for path in paths])
            push_data(self.workspace())
        if not self.in_git:
            return ""
        git(self.top, "add", "--all")
        git(self.top, "commit", "--quiet", "--message=More")
        return git(self.top, "rev-parse", "HEAD").strip()
