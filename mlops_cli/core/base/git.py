"""Facts from git, for runs and for reading older mlo.lock files. A folder outside git has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from mlops_cli.core.errors import NotFound, ProjectError


class Commit(msgspec.Struct, frozen=True):
    """Where the work tree stands. `diff` is the patch of tracked files against the commit, empty if clean."""

    sha: str
    branch: str | None
    diff: bytes

    @property
    def dirty(self) -> bool:
        return bool(self.diff)


def _repository(root: Path) -> Any | None:
    import git

    try:
        return git.Repo(root, search_parent_directories=True)
    except (git.InvalidGitRepositoryError, git.NoSuchPathError):
        return None


def head(root: Path) -> Commit | None:
    """The commit under the work tree, or None outside git and before the first commit."""
    import git

    repository = _repository(root)
    if repository is None:
        return None
    try:
        with repository:
            sha = repository.git.rev_parse("HEAD")
            branch = repository.git.rev_parse("--abbrev-ref", "HEAD")
            diff = repository.git.diff("HEAD", "--binary", "--no-ext-diff", "--", ".", strip_newline_in_stdout=False)
            return Commit(sha, None if branch == "HEAD" else branch, diff.encode("utf-8", "surrogateescape"))
    except git.GitCommandError:
        return None


def identity(root: Path) -> str | None:
    """`Name <email>` as git would sign a commit here, or None."""
    import git

    command = git.Git(root)
    try:
        name = command.config("--get", "user.name")
        email = command.config("--get", "user.email")
    except git.GitCommandError:
        return None
    return f"{name} <{email}>"


def show(root: Path, revision: str, path: str) -> str:
    """The text of `root/path` at a revision. Raises NotFound for an unknown revision or path."""
    import git

    repository = _repository(root)
    if repository is None:
        raise ProjectError(f"{root} is not in a git repository", hint="git init, and commit mlo.lock")
    with repository:
        prefix = root.resolve().relative_to(Path(repository.working_dir).resolve()).as_posix()
        name = path if prefix == "." else f"{prefix}/{path}"
        try:
            sha = repository.git.rev_parse("--verify", "--end-of-options", f"{revision}^{{commit}}")
        except git.GitCommandError:
            raise NotFound(f"{revision} is no revision of this repository", hint="git log --oneline --all") from None
        try:
            return str(repository.git.show(f"{sha}:{name}", strip_newline_in_stdout=False))
        except git.GitCommandError:
            raise NotFound(f"{path} does not exist at {revision}", hint=f"git show --stat {revision}") from None
