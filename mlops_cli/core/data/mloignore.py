"""What `.mloignore` files keep out of data, by git's rules for `.gitignore`.

A file may stand in any folder of the project, and holds for all that lies below it; the last pattern that matches
counts, and deeper files come after higher ones. What lies in an ignored folder is ignored, whatever later patterns say.
"""

from __future__ import annotations

import functools
import os
import re
import stat
import warnings
from collections.abc import Callable
from pathlib import Path

import msgspec

from mlops_cli.core.base.files import machine_error
from mlops_cli.core.store.index import IsIgnored
from mlops_cli.core.store.stable import read_all

NAME = ".mloignore"
_RAW_NAME = NAME.encode()
_BYTES = "latin-1"  # one character a byte: git matches bytes, and names need not be UTF-8
_TRAILING_SPACES = re.compile(r"(?<!\\)((?:\\\\)*) +$")
_ESCAPED_SLASH = re.compile(r"(?<!\\)((?:\\\\)*)\\/")
_SPECIAL = re.compile(r"([\\*?\[\]!# ])")
_DANGLING = re.compile(r"(?<!\\)(?:\\\\)*\\$")
_STARS = re.compile(r"\*\*+")
_CLASS = re.compile(r"\[:(\w+):\]")
# What pathspec does not know; the slash is in none, because no name holds one.
_CLASSES = {
    "alpha": "A-Za-z",
    "digit": "0-9",
    "alnum": "A-Za-z0-9",
    "upper": "A-Z",
    "lower": "a-z",
    "xdigit": "0-9A-Fa-f",
    "space": "\t-\r ",
    "blank": "\t ",
}


class Rule(msgspec.Struct, frozen=True):
    """A line of a `.mloignore` that keeps `path` out: the path asked for, or a folder above it."""

    file: str
    line: int
    pattern: str
    path: str


class _Pattern(msgspec.Struct, frozen=True):
    """A pattern that matches a path relative to the root, in latin-1 and without trailing slash, by itself alone."""

    matches: Callable[[str], object]
    ignores: bool
    folders_only: bool
    file: str
    line: int
    text: str


_Rules = tuple[_Pattern, ...]  # what holds for all that stands in one folder; the last that matches first


class Ignored:
    """`ignored(path, is_dir)`: whether the rules name a path that lies in no ignored folder.

    Made for walks that ask from the top down and do not enter what is ignored; `rule_for` is for a single path.
    Absolute raw paths; what does not lie below `root` is never ignored. Each folder's file is read once, when it is
    first asked about. pathspec is imported only when there is such a file. Raises MachineError if one cannot be read.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.fsencode(root.absolute())
        self._folders: dict[bytes, _Rules] = {}

    def __call__(self, path: bytes, is_dir: bool) -> bool:
        return self._is_ignored(self._rules(path[: path.rfind(b"/")]), path, is_dir)

    def within(self, folder: bytes) -> IsIgnored | None:
        """The same for what stands in one folder; None if nothing in it needs asking about."""
        rules = self._rules(folder)
        return functools.partial(self._is_ignored, rules) if rules else None

    def _is_ignored(self, rules: _Rules, path: bytes, is_dir: bool) -> bool:
        found = self._deciding(rules, path, is_dir)
        return found is not None and found.ignores

    def _rules(self, folder: bytes) -> _Rules:
        if folder not in self._folders:
            if folder == self._root:
                self._folders[folder] = self._read(folder)
            elif folder.startswith(self._root + b"/"):
                self._folders[folder] = self._read(folder) + self._rules(folder[: folder.rfind(b"/")])
            else:
                self._folders[folder] = ()
        return self._folders[folder]

    def rule_for(self, path: Path, *, is_dir: bool) -> Rule | None:
        """The rule that keeps a path out, be it by a folder above it; None if it may be data."""
        parts = os.fsencode(path.absolute()).removeprefix(self._root + b"/").split(b"/")
        place = self._root
        for number, part in enumerate(parts):
            rules = self._rules(place)
            place += b"/" + part
            found = self._deciding(rules, place, is_dir or number < len(parts) - 1)
            if found is not None and found.ignores:
                return Rule(found.file, found.line, found.text, os.fsdecode(place[len(self._root) + 1 :]))
        return None

    def _deciding(self, rules: _Rules, path: bytes, is_dir: bool) -> _Pattern | None:
        name = path[len(self._root) + 1 :].decode(_BYTES)
        for pattern in rules:
            if (is_dir or not pattern.folders_only) and pattern.matches(name):
                return pattern
        return None

    def _read(self, folder: bytes) -> _Rules:
        file = folder + b"/" + _RAW_NAME
        try:
            # Not waiting for a writer, should it be a FIFO.
            handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                status = os.fstat(handle)
                data = read_all(handle, status.st_size) if stat.S_ISREG(status.st_mode) else b""
            finally:
                os.close(handle)
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except OSError as error:  # without its rules there is no saying what is data
            raise machine_error(error, f"cannot read {os.fsdecode(file)}") from error
        return _parse(data, folder[len(self._root) + 1 :])


def _parse(data: bytes, folder: bytes) -> _Rules:
    """The patterns of a file in `folder` (relative to the root, empty for it), the last first."""
    name = os.fsdecode(folder + b"/" + _RAW_NAME if folder else _RAW_NAME)
    prefix = _SPECIAL.sub(r"\\\1", folder.decode(_BYTES))
    patterns = []
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        raw = line.removesuffix(b"\r").decode(_BYTES)
        text = _TRAILING_SPACES.sub(r"\1", raw)
        negated = text.startswith("!")
        body = text.removeprefix("!")
        matches = None if text.startswith("#") or not body.strip("/") else _compiled(prefix, body)
        if matches is not None:
            shown = raw.encode(_BYTES).decode("utf-8", "replace").strip()
            patterns.append(_Pattern(matches, not negated, body.endswith("/"), name, number, shown))
    return tuple(reversed(patterns))


def _compiled(prefix: str, body: str) -> Callable[[str], object] | None:
    """The match of one pattern, its `!` and its meaning for folders only taken off; None if it can match nothing.

    pathspec translates it, after all has been spelled out where it and git differ: the tests hold them side by side.
    """
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

    body = _ESCAPED_SLASH.sub(r"\1/", body.removesuffix("/"))
    if _DANGLING.search(body):
        return None
    body = _CLASS.sub(lambda found: _CLASSES.get(found[1], found[0]), body)
    # Two stars or more mean something only as a whole name; elsewhere they are as good as one.
    names = ["**" if _STARS.fullmatch(name) else _STARS.sub("*", name) for name in body.split("/")]
    names = ["?*" if name == "*" else name for name in names]  # pathspec has a meaning of its own for a lone star
    if len(names) == 1:
        names = ["**", "?*" if names[0] == "**" else names[0]]
    elif names[-1] == "**":
        names.append("?*")  # what lies in the folder, not the folder
    full = "/".join([*([prefix] if prefix else []), *names[not names[0] :]])
    try:
        regex, _ = GitIgnoreSpecPattern.pattern_to_regex(f"/{full}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of [[, which means the same to git
            # A full match: pathspec's own would also match everything below a folder that matches.
            return re.compile(regex, re.DOTALL).fullmatch if regex is not None else None
    except (ValueError, re.error):  # git passes over what is no pattern, too
        return None
