"""`.dvc/config` and `.dvc/config.local`: where DVC's cache and remotes are, and what of it mlo.yaml can say.

Secrets are used to read from DVC's remotes while the import runs, and are never written anywhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import msgspec

from mlops_cli.core.base.files import user_path
from mlops_cli.core.base.records import MODEL_NAME
from mlops_cli.core.errors import ProjectError

_SECTION = re.compile(r"""^\[\s*['"]?\s*(\w+)(?:\s+"([^"]*)"|\s+'([^']*)')?\s*['"]?\s*\]\s*(?:#.*)?$""")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_LOGIN = re.compile(r"(://)([^/@]*)@")
_TRUE = frozenset({"true", "1", "yes", "on"})
# DVC's scheme -> that of mlo and fsspec.
_SCHEMES = {"s3": "s3", "gs": "gs", "azure": "az", "ssh": "ssh", "hdfs": "hdfs", "oss": "oss", "memory": "memory"}
_NO_HOME = {
    "gdrive": "mlo has no Google Drive; use a bucket or a folder",
    "webdav": "mlo has no WebDAV; use a bucket or a folder",
    "webdavs": "mlo has no WebDAV; use a bucket or a folder",
    "webhdfs": "mlo has no WebHDFS; use a bucket or a folder",
    "http": "mlo can read http but not write it; name a bucket or a folder as origin",
    "https": "mlo can read http but not write it; name a bucket or a folder as origin",
}
# Options with a word in fsspec, by scheme: DVC's key -> the path below `options`.
_OPTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "s3": {
        "endpointurl": ("endpoint_url",),
        "profile": ("profile",),
        "region": ("client_kwargs", "region_name"),
        "allow_anonymous_login": ("anon",),
        "use_ssl": ("use_ssl",),
    },
    "gs": {"projectname": ("project",), "endpointurl": ("endpoint_url",)},
    "az": {"account_name": ("account_name",)},
    "ssh": {"user": ("username",), "port": ("port",)},
    "oss": {"oss_endpoint": ("endpoint",)},
}
_SECRETS: dict[str, dict[str, tuple[str, ...]]] = {
    "s3": {"access_key_id": ("key",), "secret_access_key": ("secret",), "session_token": ("token",)},
    "gs": {"credentialpath": ("token",)},
    "az": {
        "connection_string": ("connection_string",),
        "sas_token": ("sas_token",),
        "account_key": ("account_key",),
        "tenant_id": ("tenant_id",),
        "client_id": ("client_id",),
        "client_secret": ("client_secret",),
    },
    "ssh": {"password": ("password",), "keyfile": ("client_keys",), "passphrase": ("passphrase",)},
    "oss": {"oss_key_id": ("key",), "oss_key_secret": ("secret",)},
}
_SECRET_WORDS = ("password", "secret", "token", "key", "credential", "connection_string", "passphrase", "keyfile")
_QUIET = frozenset({"url", "jobs", "checksum_jobs", "verify", "no_traverse", "listobjects", "timeout"})
_SECTIONS = frozenset({"core", "cache", "remote", "parsing", "hydra", "state", "index", "feature", "studio"})

Link = Literal["reflink", "hardlink", "symlink", "copy"]


class DvcRemote(msgspec.Struct, frozen=True, kw_only=True):
    """A remote. `url` and `options` as mlo.yaml may have them; `reading` are options with secrets, for memory only.

    `refused` says why mlo.yaml cannot have it; `dropped` are its keys that were left out; `private` ones stand in
    config.local alone.
    """

    name: str
    url: str
    reading_url: str
    options: dict[str, Any] = {}
    reading: dict[str, Any] = {}
    dropped: list[str] = []
    secrets: list[str] = []
    refused: str | None = None
    private: bool = False
    versioned: bool = False


class DvcConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`cache` is absolute. `other` are settings with no counterpart, as `section.key`."""

    remotes: list[DvcRemote] = []
    default: str | None = None
    cache: str = ""
    links: tuple[Link, ...] = ()
    parsing: dict[str, str] = {}
    hydra: bool = False
    has_local: bool = False
    other: list[str] = []


def read_config(root: Path) -> DvcConfig:
    """The project's configuration, config.local over config. Raises ProjectError."""
    folder = root / ".dvc"
    shared = _read(folder / "config")
    local = _read(folder / "config.local")
    merged = {name: {**shared.get(name, {}), **local.get(name, {})} for name in {**shared, **local}}
    urls = {name[1]: body.get("url", "") for name, body in merged.items() if name[0] == "remote" and name[1]}
    remotes = [
        _remote(
            root,
            name[1],
            shared.get(name, {}),
            local.get(name, {}),
            urls,
        )
        for name in sorted(merged)
        if name[0] == "remote" and name[1]
    ]
    cache = merged.get(("cache", ""), {})
    links = tuple(word for word in re.split(r"[\s,]+", cache.get("type", "").strip("'\"[]")) if word)
    known = all(word in ("reflink", "hardlink", "symlink", "copy") for word in links)
    place = user_path(cache.get("dir", "cache"), "cache.dir of .dvc/config")
    other = sorted(
        f"{section}.{key}" for (section, _), body in merged.items() if section not in _SECTIONS for key in body
    )
    other += ["cache.shared"] if "shared" in cache else []
    return DvcConfig(
        remotes=remotes,
        default=merged.get(("core", ""), {}).get("remote"),
        cache=str(Path(os.path.normpath(folder / place))),
        links=cast("tuple[Link, ...]", links) if known else (),
        parsing=merged.get(("parsing", ""), {}),
        hydra=merged.get(("hydra", ""), {}).get("enabled", "").lower() in _TRUE,
        has_local=bool(local),
        other=other,
    )


def _read(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    """(section, name) -> key -> value, of a file in the manner of git's."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        raise ProjectError(f"{path.name} is not UTF-8: {error}", hint="save it as UTF-8") from None
    found: dict[tuple[str, str], dict[str, str]] = {}
    body: dict[str, str] | None = None
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith(("#", ";")):
            continue
        section = _SECTION.match(line)
        if section is not None:
            body = found.setdefault((section[1].lower(), section[2] or section[3] or ""), {})
            continue
        key, equals, value = line.partition("=")
        if not equals or body is None:
            raise ProjectError(f".dvc/{path.name}:{number} does not read: {line[:40]}", hint="dvc config --list")
        body[key.strip().lower()] = _value(value)
    return found


def _value(text: str) -> str:
    text = text.strip()
    if text[:1] in ("'", '"') and text.find(text[0], 1) > 0:
        return text[1 : text.find(text[0], 1)]
    return text.partition(" #")[0].strip()


def _remote(
    root: Path, name: str, shared: Mapping[str, str], local: Mapping[str, str], urls: Mapping[str, str]
) -> DvcRemote:
    settings = {**shared, **local}
    written = _followed(shared.get("url", ""), urls)
    reading = _followed(settings.get("url", ""), urls)
    scheme = _scheme(reading or written)
    refused = _NO_HOME.get(scheme)
    if not refused and scheme and scheme not in _SCHEMES:
        refused = f"mlo does not know {scheme}://"
    if not written:
        refused = refused or "it has a url in .dvc/config.local only, which is not for others"
    options: dict[str, Any] = {}
    private: dict[str, Any] = {}
    dropped, secrets = [], []
    protocol = _SCHEMES.get(scheme, scheme)
    words, hidden = _OPTIONS.get(protocol, {}), _SECRETS.get(protocol, {})
    for key, value in settings.items():
        if key in words:
            _put(private, words[key], _typed(value))
            if key in shared:
                _put(options, words[key], _typed(_without_password(shared[key])))
        elif key in hidden or any(word in key for word in _SECRET_WORDS):
            secrets.append(key)
            if key in hidden:
                _put(private, hidden[key], value)
        elif key not in _QUIET and key not in ("version_aware", "worktree"):
            dropped.append(key)
    if _password(written):
        secrets.append("the password in its url")
    return DvcRemote(
        name=name if MODEL_NAME.fullmatch(name) else re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._") or "remote",
        url=_without_password(_url(root, written)),
        reading_url=_url(root, reading),
        options=options,
        reading=private,
        dropped=sorted(dropped),
        secrets=sorted(secrets),
        refused=refused,
        private=not shared.get("url"),
        versioned=any(settings.get(key, "").lower() in _TRUE for key in ("version_aware", "worktree")),
    )


def _followed(url: str, urls: Mapping[str, str]) -> str:
    """`remote://name/path` by the url of that remote; at most as often as there are remotes."""
    for _ in range(len(urls) + 1):
        if not url.startswith("remote://"):
            return url
        name, _, path = url.removeprefix("remote://").partition("/")
        url = f"{urls.get(name, '').rstrip('/')}/{path}" if urls.get(name) else ""
    raise ProjectError(f"the remotes of .dvc/config name each other in a circle ({url})", hint="dvc remote list")


def _scheme(url: str) -> str:
    match = _SCHEME.match(url)
    return match[1].lower() if match and match[1].lower() not in ("file", "local") else ""


def _url(root: Path, url: str) -> str:
    """As mlo.yaml has it: a folder below the root's parent relative to the root, DVC's schemes by mlo's names."""
    if not url:
        return ""
    scheme = _scheme(url)
    if scheme:
        return f"{_SCHEMES.get(scheme, scheme)}{url[len(scheme) :]}"
    place = _SCHEME.sub("", url, count=1)
    if place.startswith(("/", "~")):
        return place
    # DVC writes folders relative to .dvc/, mlo relative to the root.
    return os.path.relpath(root / ".dvc" / place, root)


def _password(url: str) -> bool:
    match = _LOGIN.search(url)
    return match is not None and ":" in match[2]


def _without_password(url: str) -> str:
    return _LOGIN.sub(lambda found: f"{found[1]}{found[2].partition(':')[0]}@", url)


def _put(options: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for step in path[:-1]:
        options = options.setdefault(step, {})
    options[path[-1]] = value


def _typed(value: str) -> Any:
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    return int(value) if value.isdigit() else value
