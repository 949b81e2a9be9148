"""What a file that shall fix an environment must say: exact versions, and nothing that other files say for it."""

from __future__ import annotations

import re

from mlops_cli.core.errors import ProjectError

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_EXTRAS = r"(?:\s*\[[^\]]*\])?"
_PINNED = re.compile(rf"{_NAME}{_EXTRAS}\s*={{2,3}}\s*[^\s*,;]+(?:\s*;.*)?$")
_AT_ADDRESS = re.compile(rf"{_NAME}{_EXTRAS}\s*@\s*\S+")
_OTHER_FILE = re.compile(r"(?:-r|-c|--requirement|--constraint|--requirements|--constraints)(?:[\s=]|\S)")
_EDITABLE = re.compile(r"(?:-e|--editable)(?:[\s=]|$)")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_PER_LINE = re.compile(r"\s--(?:hash|config-settings|global-option)[\s=]\S+")
_COMMENT = re.compile(r"(?:^|\s)#.*$")
# A package list of conda's environment.yml under pip: that names another file.
_CONDA_OTHER_FILE = re.compile(r"^\s*-\s*['\"]?(?:-r|-c|--requirement|--constraint)[\s=]", re.MULTILINE)
_OTHER_FORMATS = ("uv.lock", "pylock.toml", "poetry.lock", "Pipfile.lock", "pdm.lock")


def check_lock(text: str, name: str) -> bool:
    """Whether a list of requirements also depends on files of this project: an editable one, a path.

    Raises ProjectError, with the line, for one whose version is open, or that another file would have to say.
    """
    if name.rpartition("/")[2] in _OTHER_FORMATS:
        raise ProjectError(
            f"{name} is no list of requirements",
            hint="uv export --no-emit-project -o requirements.lock (poetry export, pdm export) makes one of it",
        )
    local = False
    for number, line in _lines(text):
        if _OTHER_FILE.match(line):
            raise ProjectError(
                f"{name}:{number}: {line} reads another file, which could change unseen",
                hint=f"write all into one file: uv pip compile requirements.in -o {name}",
            )
        if _EDITABLE.match(line):
            local = True
            continue
        if line.startswith("-"):  # --index-url and the like; --find-links may name a folder here
            continue
        bare = _PER_LINE.sub("", line).strip()
        if _PINNED.match(bare):
            continue
        if _AT_ADDRESS.match(bare) or _ADDRESS.match(bare):
            local = local or "file:" in bare
            continue
        if _is_path(bare):
            local = True
            continue
        raise ProjectError(
            f"{name}:{number}: {_shortened(line)} names no exact version",
            hint=f"a lock holds name==version lines: uv pip compile requirements.in -o {name}",
        )
    return local


def check_conda(text: str, name: str) -> bool:
    """Whether it lists packages by their addresses (`@EXPLICIT`). Raises ProjectError if it refers to another file."""
    other = _CONDA_OTHER_FILE.search(text)
    if other is not None:
        number = text.count("\n", 0, other.start()) + 1
        raise ProjectError(
            f"{name}:{number} reads another file, which could change unseen",
            hint="write its lines below pip: in the same file",
        )
    return any(line.strip() == "@EXPLICIT" for line in text.splitlines())


def _lines(text: str) -> list[tuple[int, str]]:
    """Each logical line with the number of its first: continued ones are joined, comments are gone."""
    found: list[tuple[int, str]] = []
    begun, joined = 0, ""
    for number, raw in enumerate(text.splitlines(), start=1):
        line = _COMMENT.sub("", raw).strip()
        begun = begun or number
        if line.endswith("\\"):
            joined += line[:-1] + " "
            continue
        whole = (joined + line).strip()
        if whole:
            found.append((begun, whole))
        begun, joined = 0, ""
    if joined.strip():
        found.append((begun, joined.strip()))
    return found


def _is_path(text: str) -> bool:
    return text.startswith((".", "/", "~")) or text.partition(";")[0].strip().endswith((".whl", ".tar.gz", ".zip"))


def _shortened(line: str) -> str:
    return line if len(line) <= 60 else f"{line[:57]}..."
