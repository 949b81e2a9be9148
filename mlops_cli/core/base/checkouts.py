"""The code of a git repository in another folder: the tracked files as they stand, or as a commit has them."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.base.git import ask
from mlops_cli.core.errors import NotFound, ProjectError

# git sets these where it runs a hook; they would lead it to another repository than the folder's.
_REDIRECTS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY")


class Repository:
    """The repository around a project. `prefix` is where the project lies in it: empty at its top, else `sub`."""

    def __init__(self, top: Path, prefix: str, environ: Mapping[str, str]) -> None:
        self.top = top
        self.prefix = prefix
        self._environ = environ

    @classmethod
    def around(cls, root: Path, environ: Mapping[str, str]) -> Repository | None:
        """None outside git, and where the repository around tracks nothing of the project."""
        clean = {name: value for name, value in environ.items() if name not in _REDIRECTS}
        said = ask(root, "rev-parse", "--show-toplevel", "--show-prefix", environ=clean)()
        if said is None:
            return None
        top, prefix = os.fsdecode(said).split("\n")[:2]
        repository = cls(Path(top), prefix.rstrip("/"), clean)
        return repository if ask(root, "ls-files", "-z", "--", ".", environ=clean)() else None

    def commit(self, revision: str) -> str:
        """The full name of a commit. Raises NotFound."""
        said = self._said("rev-parse", "--verify", "-q", "--end-of-options", f"{revision}^{{commit}}")
        if said is None:
            raise NotFound(f"{revision} is no revision of this repository", hint="git log --oneline --all")
        return said.decode("ascii").strip()

    def copy_tracked(self, target: Path) -> None:
        """Every tracked file as it stands in the work tree; one that was deleted there is left out."""
        said = self._said("ls-files", "-z", "--recurse-submodules")
        if said is None:  # a submodule that git cannot look into
            said = self._asked("ls-files", "-z")
        made: set[Path] = set()
        with machine_errors(f"cannot write {target}"):
            for name in dict.fromkeys(said.split(b"\0")):
                path = os.fsdecode(name)
                # What git tracks of mlo's own folder is no code, and the copy has one of its own.
                if not path or path.startswith(f"{self.prefix}/.mlo/".lstrip("/")):
                    continue
                place = target / path
                if place.parent not in made:
                    place.parent.mkdir(parents=True, exist_ok=True)
                    made.add(place.parent)
                copy_file(self.top / path, place, self.top, target)

    def extract(self, commit: str, target: Path) -> list[str]:
        """Every file of a commit; returns its submodules, which are left out.

        Not by `git archive`, which leaves out and rewrites what attributes of the repository say.
        """
        with tempfile.TemporaryDirectory() as folder, machine_errors(f"cannot write {target}"):
            environ = {**self._environ, "GIT_INDEX_FILE": str(Path(folder) / "index")}
            target.mkdir(parents=True, exist_ok=True)
            for question in (("read-tree", commit), ("checkout-index", "-a", "-f", f"--prefix={target}/")):
                done = subprocess.run(["git", *question], cwd=self.top, env=environ, capture_output=True, check=False)
                if done.returncode != 0:
                    raise self._mute(question[0], done.stderr.decode("utf-8", "replace").strip())
            entries = self._asked("ls-tree", "-r", "-z", commit).split(b"\0")
            for path in _of_kind(entries, b"120000 "):
                if (target / path).is_symlink():  # where the file system has no links, git writes a file
                    text = _redirected(os.readlink(target / path), self.top / path, target / path, self.top, target)
                    (target / path).unlink()
                    os.symlink(text, target / path)
        return _of_kind(entries, b"160000 ")

    def _said(self, *question: str) -> bytes | None:
        return ask(self.top, *question, environ=self._environ)()

    def _asked(self, *question: str) -> bytes:
        said = self._said(*question)
        if said is None:
            raise self._mute(question[0], "it refused")
        return said

    def _mute(self, question: str, why: str) -> ProjectError:
        return ProjectError(f"git {question} gave no answer in {self.top}: {why}", hint=f"git -C {self.top} status")


def copy_file(source: Path, target: Path, top: Path, copy_top: Path) -> None:
    """A file with its exec bits, or a symbolic link as such. What is neither, or is not there any more, is left out.

    A link that leads to a place below `top` leads to the same place below `copy_top`, whatever way it takes there.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        status = source.lstat()
        if stat.S_ISLNK(status.st_mode):
            os.symlink(_redirected(os.readlink(source), source, target, top, copy_top), target)
        elif stat.S_ISREG(status.st_mode):
            shutil.copyfile(source, target)
            target.chmod(stat.S_IMODE(status.st_mode) | stat.S_IWUSR)


def copy_folder(source: Path, target: Path, *, without: Collection[str] = ()) -> None:
    """All that a folder holds except the files `without`, relative to it."""
    with machine_errors(f"cannot write {target}"):
        for folder, folders, files in os.walk(source):
            place = target / Path(folder).relative_to(source)
            place.mkdir(parents=True, exist_ok=True)
            links = [name for name in folders if (Path(folder) / name).is_symlink()]
            for name in (*files, *links):
                if (place / name).relative_to(target).as_posix() not in without:
                    copy_file(Path(folder) / name, place / name, source, target)


def _redirected(text: str, source: Path, target: Path, top: Path, copy_top: Path) -> str:
    """What the link `source` says, for its copy `target`."""
    inside = os.path.normpath(os.path.join(target.relative_to(copy_top).parent, text))
    if not os.path.isabs(text) and inside.split(os.sep)[0] != os.pardir:
        return text
    goal = os.path.normpath(os.path.join(os.path.realpath(source.parent), text))
    # Also by what the links on the way say: one from outside may lead back in.
    for place in (goal, os.path.realpath(goal)):
        for root in (os.fspath(top), os.path.realpath(top)):
            if place == root or place.startswith(f"{root}{os.sep}"):
                return os.path.relpath(copy_top / os.path.relpath(place, root), target.parent)
    return goal


def _of_kind(entries: Iterable[bytes], mode: bytes) -> list[str]:
    """The paths among the lines of `git ls-tree` whose mode it is."""
    return [os.fsdecode(entry.partition(b"\t")[2]) for entry in entries if entry.startswith(mode)]
