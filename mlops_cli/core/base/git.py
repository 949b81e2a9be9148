"""Facts from git, for runs and for reading older mlo.lock files. A folder outside git has none."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from mlops_cli.core.errors import NotFound, ProjectError

_FEW = 64  # paths that git is asked about one by one


class Commit(msgspec.Struct, frozen=True):
    """Where the work tree stands. `diff` is the patch of tracked files against the commit, empty if clean."""

    sha: str
    branch: str | None
    diff: bytes

    @property
    def dirty(self) -> bool:
        return bool(self.diff)


def head(root: Path) -> Commit | None:
    """The commit under the work tree, or None outside git and before the first commit."""
    return begin_head(root)()


def begin_head(root: Path) -> Callable[[], Commit | None]:
    """Ask git for `head` and return at once; the answer is for who calls what is returned.

    These questions go to git itself: importing GitPython takes 0.15 s, each answer a few milliseconds.
    """
    names = ask(root, "rev-parse", "HEAD", "--abbrev-ref", "HEAD")
    diff = ask(root, "diff", "HEAD", "--binary", "--no-ext-diff", "--no-textconv", "--no-color", "--", ".")

    def answer() -> Commit | None:
        said, patch = names(), diff()
        if said is None or patch is None:
            return None
        sha, branch = said.decode("utf-8", "surrogateescape").split()
        return Commit(sha, None if branch == "HEAD" else branch, patch)

    return answer


def identity(root: Path) -> str | None:
    """`Name <email>` as git would sign a commit here, or None."""
    said = ask(root, "config", "--get-regexp", r"^user\.(name|email)$")()
    words = (line.partition(" ") for line in (said or b"").decode("utf-8", "replace").splitlines())
    values = {key: value for key, _, value in words}  # the last one counts, as for git
    if not values.get("user.name") or not values.get("user.email"):
        return None
    return f"{values['user.name']} <{values['user.email']}>"


def ask(root: Path, *question: str, environ: Mapping[str, str] | None = None) -> Callable[[], bytes | None]:
    """Start one git command; what is returned waits for its answer, None where git is absent or refuses."""
    # A file, not a pipe: nobody reads while the caller goes on with its own work, and a full pipe would stop git.
    answer = tempfile.TemporaryFile()  # noqa: SIM115 - closed when it was read
    try:
        process = subprocess.Popen(
            ["git", *question],
            cwd=root,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=answer,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        answer.close()
        return lambda: None

    def read() -> bytes | None:
        with answer:
            if process.wait() != 0:
                return None
            answer.seek(0)
            return answer.read()

    return read


class Mention(msgspec.Struct, frozen=True):
    """The commit that wrote a text into a file. `time` is ISO 8601, as git prints it."""

    sha: str
    time: str
    author: str
    subject: str


def _repository(root: Path) -> Any | None:
    import git

    try:
        return git.Repo(root, search_parent_directories=True)
    except (git.InvalidGitRepositoryError, git.NoSuchPathError):
        return None


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


def is_revision(root: Path, word: str) -> bool:
    """Whether a word names a commit; False outside git."""
    return ask(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{word}^{{commit}}")() is not None


def commits_of(root: Path, path: str) -> list[str]:
    """Every commit of any branch or tag that changed `root/path`, newest first. Raises ProjectError outside git."""
    said = ask(root, "log", "--all", "--format=%H", "--", path)()
    if said is None:
        raise ProjectError(f"{root} is not in a git repository", hint="git init, and commit mlo.lock")
    return said.decode().split()


def first_mention(root: Path, path: str, text: str) -> Mention | None:
    """The first commit that put `text` into `root/path`, or None: not committed, or no repository."""
    said = ask(root, "log", "--reverse", "--no-ext-diff", "--format=%H%x1f%aI%x1f%an%x1f%s", f"-S{text}", "--", path)()
    lines = (said or b"").decode("utf-8", "replace").splitlines()
    return Mention(*lines[0].split("\x1f", 3)) if lines else None


def tracked(root: Path, paths: Collection[str]) -> list[str]:
    """The files at or below any of `root/paths` that git tracks, relative to the root; none outside git."""
    return begin_tracked(root, paths)()


def begin_tracked(root: Path, paths: Collection[str]) -> Callable[[], list[str]]:
    """Ask git for `tracked` and return at once; the answer is for who calls what is returned."""
    # Of many paths git takes longer to answer than to name all its files.
    asked = [f":(literal){path}" for path in paths] if len(paths) <= _FEW else ["."]
    said = ask(root, "ls-files", "-z", "--", *asked)
    wanted = frozenset(paths)

    def answer() -> list[str]:
        found = (name.decode("utf-8", "replace") for name in (said() or b"").split(b"\0") if name)
        return [name for name in found if any(str(at) in wanted for at in (name, *PurePosixPath(name).parents))]

    return answer


def begin_others(root: Path, folders: Collection[str]) -> Callable[[], list[str]]:
    """Ask git at once for the files below any of `root/folders` that it does not track, ignored ones as well, relative
    to the root; a folder that is a repository of its own is named as such."""
    if not folders:
        return list
    asked = [f":(literal){path}" for path in folders]
    said = ask(root, "ls-files", "-z", "--others", "--", *asked, ":(exclude,literal).mlo")
    return lambda: [name.rstrip("/") for name in os.fsdecode(said() or b"").split("\0") if name]


def committed(root: Path, revision: str, paths: Sequence[str]) -> set[str]:
    """Those of `paths` that are files of a commit; none if the commit is not here."""
    said = ask(root, "ls-tree", "-z", "--name-only", "--end-of-options", revision, "--", *paths)() if paths else None
    return {name for name in (said or b"").decode("utf-8", "surrogateescape").split("\0") if name}


def unmerged(root: Path, path: str) -> tuple[bytes | None, bytes | None, bytes | None] | None:
    """While a merge goes on that could not mend `root/path`: the file's base, ours and theirs, each None where that
    side has no such file. None where there is no such merge."""
    said = ask(root, "ls-files", "--unmerged", "-z", "--", path)()
    stages: dict[str, bytes | None] = {}
    for row in (said or b"").decode("utf-8", "surrogateescape").split("\0"):
        if row:
            _, blob, stage = row.partition("\t")[0].split()
            stages[stage] = ask(root, "cat-file", "blob", blob)()
    return (stages.get("1"), stages.get("2"), stages.get("3")) if stages else None


def mark_conflict(ours: Path, base: Path, theirs: Path) -> None:
    """Write into `ours` what git writes of a conflict that is left to people: both sides between markers."""
    labels = ("-L", "ours", "-L", "base", "-L", "theirs")
    ask(ours.parent, "merge-file", *labels, str(ours), str(base), str(theirs))()
