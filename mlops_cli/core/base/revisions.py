"""One file at everything that git has a name for: branches, tags, stashes, HEADs and stages of every work tree."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Literal, NamedTuple

from mlops_cli.core.errors import ProjectError

Kind = Literal["branch", "tag", "stash", "worktree", "commit"]
# git sets these where it runs a hook; they would lead it to another repository than the folder's.
_REDIRECTS = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY"})


class Named(NamedTuple):
    """A place where the file may stand: `revision` is git's word for it, `name` is for people."""

    kind: Kind
    name: str
    revision: str


class Version(NamedTuple):
    """One content of the file, and every place that has it."""

    data: bytes
    places: tuple[Named, ...]


class Revisions:
    """The repository that `root` lies in, asked with `environ`, whatever hook of git's this process may run in.

    Raises ProjectError if git cannot answer: that must never be taken for a repository without names.
    """

    def __init__(self, root: Path, environ: Mapping[str, str]) -> None:
        self._root = root
        self._environ = {name: value for name, value in environ.items() if name not in _REDIRECTS}
        self._prefix: str | None = None  # where the project lies in its repository: `` or `sub/`; None outside git
        if any((folder / ".git").exists() for folder in (root.absolute(), *root.absolute().parents)):
            self._prefix = os.fsdecode(self._git(root, "rev-parse", "--show-prefix").rstrip(b"\n"))

    @property
    def is_repository(self) -> bool:
        return self._prefix is not None

    def linked_folders(self) -> list[Path]:
        """The folders that answer to the project's in the other work trees, as far as they are still there."""
        if self._prefix is None:
            return []
        here = self._root.resolve()
        folders = [Path(path) / self._prefix for path, _ in self._worktrees()]
        return [folder for folder in folders if folder.resolve() != here and folder.is_dir()]

    def versions_of(self, path: str, *, history: bool = False) -> Iterator[Version]:
        """Every content that `root/path` has somewhere, each once however many places have it.

        `history` looks at every commit that can be reached, not only at those with a name. Nothing outside git.
        """
        if self._prefix is None:
            return
        name = f"{self._prefix}{path}"
        if "\n" in name:
            raise ProjectError(f"git cannot be asked for {name!r}", hint="rename the folder: its name has a line break")
        places = [*self._refs(), *self._stashes(), *self._heads(), *(self._commits(name) if history else ())]
        blobs: dict[str, list[Named]] = {}
        found = self._resolved(self._root, [f"{place.revision}:{name}" for place in places])
        for place, blob in zip(places, found, strict=True):
            if blob is not None:
                blobs.setdefault(blob, []).append(place)
        self._require_commits([place for place, blob in zip(places, found, strict=True) if blob is None])
        for tree in (Path(path) for path, _ in self._worktrees()):
            if not (tree / ".git").exists():
                continue
            for blob in self._resolved(tree, [f":{stage}:{name}" for stage in range(4)]):
                if blob is not None:
                    blobs.setdefault(blob, []).append(Named("worktree", f"the stage of {tree}", ""))
        for blob, data in zip(blobs, self._contents(blobs), strict=True):
            yield Version(data, tuple(blobs[blob]))

    # -- places --------------------------------------------------------------------------------------------

    def _refs(self) -> list[Named]:
        """Branches, remote-tracking branches, tags, and whatever else keeps commits alive."""
        said = self._git(self._root, "for-each-ref", "--format=%(objecttype) %(*objecttype) %(refname)")
        found = []
        for line in said.decode("utf-8", "surrogateescape").splitlines():
            kind, peeled, ref = line.split(" ", 2)
            if (peeled or kind) != "commit":
                continue  # a tag may name a file, which has no mlo.lock in it
            if ref.startswith("refs/notes/") or ref == "refs/stash":
                continue
            short = ref.removeprefix("refs/heads/").removeprefix("refs/remotes/").removeprefix("refs/tags/")
            found.append(Named("tag" if ref.startswith("refs/tags/") else "branch", short, ref))
        return found

    def _stashes(self) -> list[Named]:
        """Every stash: what it took from the work tree, from the stage, and of files git did not know."""
        if not self._git(self._root, "for-each-ref", "refs/stash"):
            return []
        said = self._git(self._root, "log", "-g", "--format=%gd %H %P", "refs/stash").decode("ascii", "replace")
        found = []
        for line in said.splitlines():
            name, *commits = line.split()
            kept = (commits[0], *commits[2:])  # its first parent was HEAD
            found += [Named("stash", name.removeprefix("refs/"), commit) for commit in kept]
        return found

    def _heads(self) -> list[Named]:
        """What each work tree stands on, which no branch need name."""
        return [Named("worktree", f"HEAD of {path}", head) for path, head in self._worktrees() if head.strip("0")]

    def _commits(self, name: str) -> list[Named]:
        path = f":(top,literal){name}"
        said = self._git(self._root, "log", "--all", "--full-history", "-m", "--format=%H", "--", path)
        return [Named("commit", sha[:12], sha) for sha in dict.fromkeys(said.decode("ascii").split())]

    def _worktrees(self) -> list[tuple[str, str]]:
        """(folder, commit) of each work tree."""
        said = self._git(self._root, "worktree", "list", "--porcelain")
        found: list[tuple[str, str]] = []
        for block in os.fsdecode(said).split("\n\n"):
            facts = dict(line.partition(" ")[::2] for line in block.splitlines())
            if "worktree" in facts and "bare" not in facts:
                found.append((facts["worktree"], facts.get("HEAD", "")))
        return found

    # -- objects -------------------------------------------------------------------------------------------

    def _resolved(self, folder: Path, questions: list[str]) -> list[str | None]:
        """The blob each `revision:path` means, None where there is none, all from one git."""
        if not questions:
            return []
        asked = "".join(f"{question}\n" for question in questions).encode("utf-8", "surrogateescape")
        lines = self._git(folder, "cat-file", "--batch-check=%(objecttype) %(objectname)", asked=asked).splitlines()
        if len(lines) != len(questions):
            raise self._mute("cat-file", "it left questions unanswered")
        return [line[5:].decode("ascii") if line.startswith(b"blob ") else None for line in lines]

    def _require_commits(self, places: list[Named]) -> None:
        """No file there must mean that the commit has none, not that the commit is lost."""
        if not places:
            return
        asked = "".join(f"{place.revision}^{{tree}}\n" for place in places).encode("utf-8", "surrogateescape")
        kinds = self._git(self._root, "cat-file", "--batch-check=%(objecttype)", asked=asked).splitlines()
        for place, kind in zip(places, kinds, strict=True):
            if kind != b"tree":
                raise ProjectError(
                    f"git names {place.name}, but the commit it stands for cannot be read",
                    hint="git fsck says what is damaged; git fetch may bring it back",
                )

    def _contents(self, blobs: Iterable[str]) -> Iterator[bytes]:
        """The bytes of each blob, one after another, all from one git."""
        command = ["git", "cat-file", "--batch"]
        with subprocess.Popen(
            command, cwd=self._root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self._environ
        ) as process:
            asking, answers = process.stdin, process.stdout
            if asking is None or answers is None:
                raise self._mute("cat-file", "it could not be started")
            for blob in blobs:
                asking.write(f"{blob}\n".encode())
                asking.flush()
                yield self._one(answers, blob)
            asking.close()

    def _one(self, answers: IO[bytes], blob: str) -> bytes:
        words = answers.readline().split()
        if len(words) != 3 or words[1] != b"blob":
            raise self._mute("cat-file", f"{blob} is not there")
        data = answers.read(int(words[2]))
        answers.read(1)
        return data

    def _git(self, folder: Path, *question: str, asked: bytes = b"") -> bytes:
        try:
            done = subprocess.run(
                ["git", *question], cwd=folder, input=asked, capture_output=True, check=False, env=self._environ
            )
        except OSError as error:
            raise self._mute(question[0], str(error)) from None
        if done.returncode != 0:
            raise self._mute(question[0], done.stderr.decode("utf-8", "replace").strip())
        return done.stdout

    def _mute(self, question: str, why: str) -> ProjectError:
        return ProjectError(
            f"git {question} gave no answer in {self._root}: {why}",
            hint="which data branches and tags need cannot be told without git; nothing was deleted",
        )
