"""What people may write as the source of `mlo data get`: a project and a path in it, or the URL of the data itself."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import msgspec

from mlops_cli.core.base.files import user_path
from mlops_cli.core.errors import UsageError

Kind = Literal["git", "project", "place", "http", "bucket"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SSH_FORM = re.compile(r"[A-Za-z0-9._@-]+:(?!//).+")  # git's user@host:path; no slash before the colon
_GIT_SCHEMES = frozenset({"http", "https", "ssh", "git", "git+ssh", "ssh+git"})
_SECRET = re.compile(r"sig|token|secret|pass|pwd|key|credential|auth", re.IGNORECASE)


class Address(msgspec.Struct, frozen=True):
    """A source made definite.

    git: a repository at `url`. project: a folder of this machine that holds a project. place: a file or folder of this
    machine. http: one file. bucket: a file or prefix on anything else that fsspec speaks.
    """

    kind: Kind
    url: str  # with everything that is needed to reach it, secrets included: never to be shown or written
    recorded: str  # what mlo.lock and people see
    folder: Path | None = None  # of a project or place
    inner: str = ""  # the folder within a repository that paths are meant from

    @property
    def name(self) -> str:
        """The last part of what it names: what the data is called here, unless told."""
        path = str(self.folder) if self.folder else self.url
        if self.kind in ("http", "bucket"):
            path = unquote(urlsplit(self.url).path) if self.kind == "http" else self.url.partition("://")[2]
        return PurePosixPath(path.rstrip("/")).name


def parse_address(text: str, *, base: Path, root: Path, inside: bool) -> Address:
    """Read a source; a relative folder is meant from `base` and recorded relative to `root`.

    `inside` says that a path in it follows, so it must be a project. Raises UsageError.
    """
    if not text.strip() or "\0" in text or "\n" in text or text.startswith("-"):  # git would take it for an option
        raise UsageError(f"{text!r} is no source", hint="write a folder, a git URL, or the URL of the data")
    if "::" in text:
        raise UsageError(f"{without_secrets(text)} is a chain of file systems", hint="write one plain URL")
    scheme = _SCHEME.match(text)
    name = scheme[1].lower() if scheme else None
    if name in ("file", "local"):
        text, name = unquote(text[len(scheme[0]) :]) if scheme else text, None
    if name is None:
        place = Path(os.path.normpath(base / user_path(text, "the source")))
        if not inside and (place.exists() or not _SSH_FORM.fullmatch(text)):
            return _place(text, place, root)
        if inside and (place.is_dir() or not _SSH_FORM.fullmatch(text)):
            return _project(text, base, root)
    return _repository(text, name) if inside else _far(text, name)


def without_secrets(url: str) -> str:
    """The URL without passwords, and without what in its query looks like a secret.

    A user's name stays only where it is no password itself: https takes tokens for names.
    """
    if not _SCHEME.match(url):
        return url
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return url.partition("://")[0] + "://…"
    user, at, host = parts.netloc.rpartition("@")
    if at:
        user = user.partition(":")[0]
        host = host if parts.scheme.lower() in ("http", "https") or not user else f"{user}@{host}"
    kept = [(key, value) for key, value in query if not _SECRET.search(key)]
    asked = parts.query if len(kept) == len(query) else urlencode(kept)
    return urlunsplit((parts.scheme, host, parts.path, asked, parts.fragment))


def _place(text: str, place: Path, root: Path) -> Address:
    if place.is_dir() and ((place / "mlo.yaml").is_file() or (place / ".git").exists()):
        raise UsageError(f"{text} is a project", hint=f"say which path of it: mlo data get {text} PATH")
    return Address("place", str(place), _recorded(text, place, root), place)


def _project(text: str, base: Path, root: Path) -> Address:
    place, inner = Path(os.path.normpath(base / user_path(text, "the source"))), ""
    if not place.is_dir() and "#" in text:
        before, _, inner = text.rpartition("#")
        place = Path(os.path.normpath(base / user_path(before, "the source")))
    tail = f"#{_inner(inner)}" if inner else ""
    return Address(
        "project",
        str(place),
        _recorded(text.removesuffix(f"#{inner}") if inner else text, place, root) + tail,
        place,
        _inner(inner),
    )


def _repository(text: str, scheme: str | None) -> Address:
    if scheme is not None and scheme not in _GIT_SCHEMES:
        raise UsageError(
            f"{without_secrets(text)} is no project that git could read, so there is no path in it",
            hint="write the URL of the data whole, without a path after it",
        )
    url, _, inner = text.partition("#")
    inner = _inner(inner)
    return Address("git", url, without_secrets(url) + (f"#{inner}" if inner else ""), inner=inner)


def _far(text: str, scheme: str | None) -> Address:
    if scheme is None or scheme in ("git", "git+ssh", "ssh+git") or urlsplit(text).path.endswith(".git"):
        raise UsageError(
            f"{without_secrets(text)} is a git repository",
            hint="say which path of it: mlo data get SOURCE PATH",
        )
    if scheme in ("http", "https"):
        return Address("http", text.partition("#")[0], without_secrets(text.partition("#")[0]))
    return Address("bucket", text, without_secrets(text))


def _recorded(text: str, place: Path, root: Path) -> str:
    """A path that was written relative stays so, because the folders of a team lie side by side in the same way."""
    if text.startswith(("/", "~")):
        return place.as_posix()
    return Path(os.path.relpath(place, root)).as_posix()


def _inner(text: str) -> str:
    pure = PurePosixPath(os.path.normpath(text)) if text else PurePosixPath()
    if pure.is_absolute() or ".." in pure.parts:
        raise UsageError(f"#{text} leads out of the repository", hint="write the folder relative to the repository")
    return "" if str(pure) == "." else str(pure)
