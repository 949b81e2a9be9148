"""Naming remotes in mlo.yaml, and asking whether they can do what mlo needs."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from mlops_cli.core.base.files import write_atomic
from mlops_cli.core.base.records import MODEL_NAME
from mlops_cli.core.errors import NotFound, ProjectError, UsageError
from mlops_cli.core.project import yaml12
from mlops_cli.core.project.load import Source, convert
from mlops_cli.core.remotes.check import RemoteCheck, check_remote
from mlops_cli.core.remotes.folder import FolderRemote
from mlops_cli.core.remotes.open import folder_of, open_remote, shown
from mlops_cli.core.remotes.remote import Remote
from mlops_cli.core.workflows.workspace import Workspace


class RemoteRow(msgspec.Struct, frozen=True):
    """A remote as mlo.yaml has it; `url` without a password."""

    name: str
    url: str
    trust: str
    default: bool  # used where no --remote is given


class RemoteList(msgspec.Struct, frozen=True):
    remotes: list[RemoteRow]


class RemoteGone(msgspec.Struct, frozen=True):
    """A remote that mlo.yaml names no more; what lies there stays."""

    name: str
    url: str


def add_remote(
    workspace: Workspace, name: str, url: str, *, force: bool = False, base: Path | None = None
) -> RemoteRow:
    """Write a remote into mlo.yaml, keeping its comments, and make its folder if it is one.

    A relative folder is meant from `base`, by default the root, and written relative to the root. Raises UsageError
    for a bad name, ProjectError if the name is taken and not `force`, or if the URL cannot be opened.
    """
    if not MODEL_NAME.fullmatch(name):
        raise UsageError(f"{name!r} is not a name", hint="use letters, digits, . _ and -, as in origin")
    if url.strip():
        url = _from_root(workspace.root, url, base or workspace.root)
    with workspace.exclusive():
        known = workspace.project.remotes
        if name in known and workspace.project.remote(name).url != url and not force:
            raise ProjectError(
                f"remote {name} is {shown(workspace.project.remote(name).url)} already",
                hint="choose another name, or replace it with --force",
            )
        source = Source(workspace.paths.config)
        document = {**source.document, "remotes": {**(source.document.get("remotes") or {}), name: url}}
        remote = open_remote(name, convert(document, [source]).remote(name), root=workspace.root)
        if isinstance(remote, FolderRemote):  # elsewhere nothing is contacted: `mlo remote check` does that
            remote.create()
        if document != source.document:
            _write(source, _with(source, name, url), document, f"add it by hand, below `remotes:`:   {name}: {url}")
    only = not [other for other in known if other != name]
    return RemoteRow(name, remote.url, "private", name == "origin" or only)


def remove_remote(workspace: Workspace, name: str) -> RemoteGone:
    """Take a remote out of mlo.yaml, keeping comments. What lies on it stays. Raises NotFound, ProjectError."""
    with workspace.exclusive():
        source = Source(workspace.paths.config)
        known = source.document.get("remotes") or {}
        if name not in known:
            where = "named by the environment's file" if name in workspace.project.remotes else "not named"
            raise NotFound(f"remote {name} is {where} in {source.path.name}", hint="mlo remote list")
        for setting, value in (("registry", workspace.project.registry), ("serve.log", workspace.project.serve.log)):
            if value == name:
                raise ProjectError(
                    f"remote {name} is the {setting} of this project",
                    hint=f"point `{setting}` elsewhere in {source.path.name} first",
                )
        rest = {other: value for other, value in known.items() if other != name}
        document = {key: value for key, value in source.document.items() if key != "remotes"}
        if rest:
            document = {**source.document, "remotes": rest}
        _write(source, _without(source, name, last=not rest), document, f"take {name} out of it by hand")
    return RemoteGone(name, shown(workspace.project.remote(name).url))


def list_remotes(workspace: Workspace) -> RemoteList:
    """Every remote, by name."""
    known = workspace.project.remotes
    default = "origin" if "origin" in known else next(iter(known)) if len(known) == 1 else None
    rows = []
    for name in sorted(known):
        config = workspace.project.remote(name)
        rows.append(RemoteRow(name, shown(config.url), config.trust, name == default))
    return RemoteList(rows)


def check_remote_named(workspace: Workspace, name: str | None = None) -> RemoteCheck:
    """One preflight of a remote. Raises only if it cannot be opened at all."""
    return check_remote(opened(workspace, name))


def opened(workspace: Workspace, name: str | None = None) -> Remote:
    """The remote, if data of this project may go there. Raises ProjectError, NotFound."""
    remote = workspace.remote(name)
    if workspace.project.remote(remote.name).trust == "shared" and workspace.project.hash != "blake3":
        raise ProjectError(
            f"remote {remote.name} is `trust: shared`, but this project hashes with {workspace.project.hash}, "
            "which finds accidents and not attackers",
            hint="say `hash: blake3` in mlo.yaml and add the data again, or `trust: private`",
        )
    return remote


def _from_root(root: Path, url: str, base: Path) -> str:
    """A relative folder as it is called from the root; anything else unchanged."""
    if folder_of(url, root) is None or url.startswith(("~", "file:", "local:")) or Path(url).is_absolute():
        return url
    return os.path.relpath(base / url, root)


def _write(source: Source, text: str, document: dict[str, Any], by_hand: str) -> None:
    """Replace the file, if the text says exactly what the document does."""
    try:
        is_so = yaml12.read(text, source.path.name)[0] == document
    except ProjectError:
        is_so = False
    if not is_so:
        raise ProjectError(f"{source.path.name} cannot be edited without changing more than the remote", hint=by_hand)
    write_atomic(source.path, text.encode())


def _with(source: Source, name: str, url: str) -> str:
    """mlo.yaml's text with the remote in it, everything else as the person wrote it.

    One line is put in where that can be done; a mapping in braces and a replaced URL go through ruamel.yaml, which
    keeps comments and may change spaces.
    """
    text = source.path.read_text(encoding="utf-8")
    line = f"{yaml12.dump({name: url}).strip()}\n"
    known = source.document.get("remotes")
    if "remotes" not in source.document and not text.rstrip().endswith(("}", "...")):
        gap = "" if not text or text.endswith("\n") else "\n"
        return f"{text}{gap}remotes:\n  {line}"
    if known and name not in known and _is_block(source, text):
        row, column = source.positions[("remotes", next(iter(known)))]
        lines = text.splitlines(keepends=True)
        lines.insert(row - 1, " " * (column - 1) + line)
        return "".join(lines)

    def put(document: Any) -> None:
        if document.get("remotes") is None:
            document["remotes"] = {}
        document["remotes"][name] = url

    return _round_trip(text, put)


def _without(source: Source, name: str, *, last: bool) -> str:
    """mlo.yaml's text without the remote, likewise: its lines are left out, or it goes through ruamel.yaml."""
    text = source.path.read_text(encoding="utf-8")
    if _is_block(source, text):
        lines = text.splitlines(keepends=True)
        row, column = source.positions[("remotes",) if last else ("remotes", name)]
        end = row
        # What is indented deeper belongs to it; blank lines and comments after that to what follows.
        for number, line in enumerate(lines[row:], row + 1):
            depth = len(line) - len(line.lstrip(" "))
            if line.strip() and depth < column:
                break
            if line.strip() and not (line.lstrip().startswith("#") and depth <= column):
                end = number
        return "".join(lines[: row - 1] + lines[end:])

    def take(document: Any) -> None:
        del document["remotes"][name]
        if last:
            del document["remotes"]

    return _round_trip(text, take)


def _is_block(source: Source, text: str) -> bool:
    """True if each remote stands on lines of its own, below `remotes:`."""
    known = source.document.get("remotes")
    if not isinstance(known, dict) or not known:
        return False
    head, row = (source.positions[path][0] for path in (("remotes",), ("remotes", next(iter(known)))))
    return row > head and "{" not in text.splitlines()[head - 1].partition("#")[0]


def _round_trip(text: str, change: Callable[[Any], None]) -> str:
    from ruamel.yaml import YAML
    from ruamel.yaml.util import load_yaml_guess_indent

    _, indent, offset = load_yaml_guess_indent(text)
    yaml: Any = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=indent or 2, sequence=indent or 2, offset=offset or 0)
    document = yaml.load(text)
    change(document)
    out = io.StringIO()
    yaml.dump(document, out)
    return out.getvalue()
