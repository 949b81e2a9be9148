"""Another git repository, read without a work tree: nothing is checked out, so none of its hooks and filters run."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import msgspec

from mlops_cli.core.base.digest import BLOCK_BYTES
from mlops_cli.core.errors import NotFound, RemoteError

_SHA = re.compile(r"[0-9a-f]{4,64}")
_WHOLE = 40
_OURS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_NAMESPACE")


class Blob(msgspec.Struct, frozen=True):
    """A file as git tracks it: mode `100644`, `100755`, `120000` a link, `160000` a submodule."""

    mode: str
    sha: str
    size: int


class Repository:
    """The repository at `url`; what is fetched of it lies in `scratch`, which the caller removes.

    Raises RemoteError where git cannot read it, and never asks a question. `shown` is the URL for people.
    """

    def __init__(self, url: str, scratch: Path, environ: Mapping[str, str], *, shown: str) -> None:
        self._url = url
        self._scratch = scratch
        self._environ = quiet(environ)
        self.shown = shown

    def tip(self, rev: str | None) -> str | None:
        """The commit that a branch, a tag or the default branch is at now; None for what is neither."""
        if not (self._scratch / "HEAD").exists():
            self._scratch.mkdir(parents=True, exist_ok=True)
            self._git("init", "--quiet", "--bare", "--template=")
        names = ["HEAD"] if rev is None else [f"refs/tags/{rev}^{{}}", f"refs/tags/{rev}", f"refs/heads/{rev}", rev]
        lines = self._git("ls-remote", "--", self._url, *names).decode("utf-8", "replace").splitlines()
        found = {name: sha for sha, _, name in (line.partition("\t") for line in lines)}
        return next((found[name] for name in names if name in found), None)

    def fetch(self, rev: str | None) -> str:
        """Bring one commit, and nothing before it where that can be; its sha. Raises NotFound."""
        tip = self.tip(rev)
        if tip is None and (rev is None or not _SHA.fullmatch(rev)):
            what = "no commit yet" if rev is None else f"no branch and no tag {rev}"
            raise NotFound(f"{self.shown} has {what}", hint=f"git ls-remote {self.shown}")
        sha = tip or rev or ""
        try:
            if len(sha) < _WHOLE:
                raise RemoteError("git fetches whole names only")
            self._git("fetch", "--quiet", "--no-tags", "--depth=1", "--", self._url, sha)
        except RemoteError:  # a short name, or a server that gives branches and tags only
            self._git("fetch", "--quiet", "--", self._url, "+refs/*:refs/there/*")
        try:
            return (
                self._git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{sha}^{{commit}}").decode().strip()
            )
        except RemoteError:
            raise NotFound(f"{self.shown} has no commit {sha}", hint=f"git ls-remote {self.shown}") from None

    def text(self, commit: str, path: str) -> bytes | None:
        """The bytes of a file at a commit; None if there is none."""
        blob = self.files(commit, path).get(b"")
        return None if blob is None else self._git("cat-file", "blob", blob.sha)

    def files(self, commit: str, path: str) -> dict[bytes, Blob]:
        """What git tracks at and below a path, by its path below it; the path itself under the empty name."""
        only = [f":(literal){path}"] if path else []
        listed = self._git("ls-tree", "-r", "-l", "-z", "--full-tree", commit, *only)
        start = len(os.fsencode(path)) + 1 if path else 0
        found = {}
        for line in listed.split(b"\0"):
            head, _, name = line.partition(b"\t")
            if not head:
                continue
            mode, _, sha, size = head.decode().split()
            found[name[start:]] = Blob(mode, sha, int(size) if size.isdigit() else 0)
        return found

    def contents(self, blobs: Iterable[Blob]) -> Iterator[Callable[[int], bytes]]:
        """For each blob a `read(most)`; it must be read to its end before the next is taken."""
        wanted = list(blobs)
        asked = b"".join(blob.sha.encode() + b"\n" for blob in wanted)
        with (
            (self._scratch / "wanted").open("w+b") as questions,
            subprocess.Popen(
                self._command("cat-file", "--batch"),
                env=self._environ,
                stdin=self._written(questions, asked),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            ) as process,
        ):
            answers = process.stdout
            if answers is None:
                raise RemoteError("git gave no answer")
            for blob in wanted:
                head = answers.readline().split()
                if len(head) != 3 or int(head[2]) != blob.size:
                    raise RemoteError(f"{self.shown}: git could not read {blob.sha}", hint="git fsck, in the source")
                yield _limited(answers, blob.size)
                answers.read(1)

    @staticmethod
    def _written(file: IO[bytes], data: bytes) -> IO[bytes]:
        file.write(data)
        file.flush()
        file.seek(0)
        return file

    def _command(self, *arguments: str) -> list[str]:
        return ["git", f"--git-dir={self._scratch}", *arguments]

    def _git(self, *arguments: str) -> bytes:
        return ask(self._command(*arguments), self._environ, f"git cannot read {self.shown}", {self._url: self.shown})


def ask(command: Sequence[str], environ: Mapping[str, str], doing: str, hide: Mapping[str, str]) -> bytes:
    """What a git command prints. Raises RemoteError with git's own words, the secrets in them hidden."""
    try:
        done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except FileNotFoundError:
        raise RemoteError(f"{doing}: git is not installed", hint="install git") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()
        for secret, shown in hide.items():
            said = said.replace(secret, shown)
        lines = [
            line for line in said.splitlines() if line.startswith(("fatal:", "error:", "ERROR"))
        ] or said.splitlines()
        raise RemoteError(
            f"{doing}: {lines[0] if lines else f'it answered {done.returncode}'}",
            hint="check the URL, and that git can read it without a question: git ls-remote URL",
        )
    return done.stdout


def quiet(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment in which git and ssh never ask, and which does not point at a repository already."""
    kept = {name: value for name, value in environ.items() if name not in _OURS}
    return kept | {
        "GIT_TERMINAL_PROMPT": "0",
        "SSH_ASKPASS": "false",
        "SSH_ASKPASS_REQUIRE": "force",
        "LC_ALL": "C",
    }


def _limited(stream: IO[bytes], size: int) -> Callable[[int], bytes]:
    left = size

    def read(most: int = BLOCK_BYTES) -> bytes:
        nonlocal left
        data = stream.read(min(most, left))
        left -= len(data)
        return data

    return read
