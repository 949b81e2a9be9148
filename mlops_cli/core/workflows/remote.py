"""Naming remotes in mlo.yaml, and asking whether they can do what mlo needs."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import msgspec

from mlops_cli.core.base.files import write_atomic
from mlops_cli.core.base.records import MODEL_NAME
from mlops_cli.core.errors import ProjectError, UsageError
from mlops_cli.core.project import yaml12
from mlops_cli.core.project.load import Source, convert
from mlops_cli.core.remotes.check import RemoteCheck, check_remote
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
        remote.create()
        if document != source.document:
            text = _edited(source, name, url)
            if yaml12.read(text, workspace.paths.config.name)[0] != document:
                raise ProjectError(
                    f"{workspace.paths.config.name} cannot be edited without changing more than the remote",
                    hint=f"add it by hand, below `remotes:`:   {name}: {url}",
                )
            write_atomic(workspace.paths.config, text.encode())
    only = not [other for other in known if other != name]
    return RemoteRow(name, remote.url, "private", name == "origin" or only)


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


def _edited(source: Source, name: str, url: str) -> str:
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
    if known and name not in known:
        (head, _), (row, column) = (source.positions[path] for path in (("remotes",), ("remotes", next(iter(known)))))
        lines = text.splitlines(keepends=True)
        if row > head and "{" not in lines[head - 1].partition("#")[0]:
            lines.insert(row - 1, " " * (column - 1) + line)
            return "".join(lines)
    return _round_trip(text, name, url)


def _round_trip(text: str, name: str, url: str) -> str:
    from ruamel.yaml import YAML
    from ruamel.yaml.util import load_yaml_guess_indent

    _, indent, offset = load_yaml_guess_indent(text)
    yaml: Any = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=indent or 2, sequence=indent or 2, offset=offset or 0)
    document = yaml.load(text)
    if document.get("remotes") is None:
        document["remotes"] = {}
    document["remotes"][name] = url
    out = io.StringIO()
    yaml.dump(document, out)
    return out.getvalue()
