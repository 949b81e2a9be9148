"""From a URL to a remote: a folder, `file://`, `memory://`, `s3://`, `gs://`, `abfs://`, `sftp://` and whatever else
fsspec speaks. fsspec is imported when a remote is opened, not before."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from mlops_cli.core.base.extras import require
from mlops_cli.core.base.files import user_path
from mlops_cli.core.errors import MloError, ProjectError, RemoteError
from mlops_cli.core.remotes.filesystem import FilesystemRemote
from mlops_cli.core.remotes.folder import FolderRemote
from mlops_cli.core.remotes.remote import Remote
from mlops_cli.core.remotes.retry import Patience

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_PASSWORD = re.compile(r"(://[^/@:]*):[^/@]*@")
EXTRAS = {
    "s3": ("s3fs", "s3"),
    "s3a": ("s3fs", "s3"),
    "gs": ("gcsfs", "gcs"),
    "gcs": ("gcsfs", "gcs"),
    "abfs": ("adlfs", "azure"),
    "abfss": ("adlfs", "azure"),
    "az": ("adlfs", "azure"),
    "adl": ("adlfs", "azure"),
    "ssh": ("sshfs", "ssh"),
    "sftp": ("sshfs", "ssh"),
    "http": ("aiohttp", "http"),
    "https": ("aiohttp", "http"),
}
# Libraries that try again with a backoff of their own: gcsfs six times, azure's three.
_RETRY_THEMSELVES = frozenset({"gs", "gcs", "abfs", "abfss", "az", "adl"})


class Address(Protocol):
    """What mlo.yaml says of a remote; project.schema.RemoteConfig is one."""

    @property
    def url(self) -> str: ...
    @property
    def trust(self) -> str: ...
    @property
    def options(self) -> dict[str, Any]: ...


def open_remote(name: str, config: Address, *, root: Path) -> Remote:
    """The remote of that name in mlo.yaml. Nothing is contacted yet. Raises ProjectError, ExtraMissing, RemoteError."""
    remote = _open(name, config.url, root, config.options)
    remote.is_shared = config.trust == "shared"
    return remote


def open_url(url: str, *, root: Path, name: str = "") -> Remote:
    """A remote by its URL alone; a path is a folder, relative to `root`."""
    return _open(name or shown(url), url, root, {})


def folder_of(url: str, root: Path) -> Path | None:
    """The folder that a URL names; None if it names something else."""
    scheme = _SCHEME.match(url)
    if scheme is not None and scheme[1].lower() not in ("file", "local"):
        return None
    return (root / user_path(url[scheme.end() :] if scheme else url, "the url of a remote")).absolute()


def shown(url: str) -> str:
    """The URL without a password."""
    return _PASSWORD.sub(r"\1:***@", url)


def _open(name: str, url: str, root: Path, options: dict[str, Any]) -> Remote:
    if not url.strip():
        raise ProjectError(f"remote {name} has an empty url", hint="write a folder or a URL such as s3://bucket/path")
    given = dict(options)
    patience = Patience.taken_from(given, name)
    folder = folder_of(url, root)
    if folder is not None:
        # Without links, so that what lies there is the same whoever asks.
        return FolderRemote(name, shown(url), str(folder.resolve()))
    protocol = _SCHEME.match(url)[1].lower()  # type: ignore[index]
    if protocol in EXTRAS:
        module, extra = EXTRAS[protocol]
        require(module, extra=extra, purpose=f"remote {name} ({shown(url)})")
    try:
        return _open_url(name, url, protocol, given, patience)
    except MloError:
        raise
    except (TypeError, ValueError, KeyError, ImportError) as error:
        raise ProjectError(
            f"remote {name}: {shown(url)} cannot be opened: {error}",
            hint="write a folder, or a URL that begins with s3:// gs:// abfs:// sftp:// or https://, and options that "
            "its client library knows",
        ) from None
    except Exception as error:
        raise RemoteError(f"remote {name} ({shown(url)}): {error}", hint="mlo remote check") from error


def _open_url(name: str, url: str, protocol: str, options: dict[str, Any], patience: Patience) -> Remote:
    # Each kind's module brings its client library, so it is imported when such a remote is opened.
    if protocol in ("s3", "s3a"):
        from mlops_cli.core.remotes.s3 import open_s3

        return open_s3(name, shown(url), url[url.index("://") + 3 :].strip("/"), options, patience, protocol)
    if protocol in ("ssh", "sftp"):
        from mlops_cli.core.remotes.ssh import open_ssh

        return open_ssh(name, url, shown(url), options, patience, protocol)
    if protocol in ("http", "https"):
        from mlops_cli.core.remotes.http import open_http

        return open_http(name, url, shown(url), options, patience, protocol)
    import fsspec

    # A cached listing would hide what another machine pushed a minute ago.
    fresh = {} if protocol == "memory" else {"use_listings_cache": False, "skip_instance_cache": True}
    system, base = fsspec.core.url_to_fs(url, **fresh, **_limits(protocol, patience), **options)
    if protocol in _RETRY_THEMSELVES:
        patience = replace(patience, tries=1)
    endpoint = str(options.get("endpoint_url") or options.get("host") or "")
    return FilesystemRemote(name, shown(url), system, base, protocol=protocol, endpoint=endpoint, patience=patience)


def _limits(protocol: str, patience: Patience) -> dict[str, Any]:
    """The time limits in the words of a client library."""
    if protocol in ("gs", "gcs"):
        return {"requests_timeout": patience.read_s}
    if protocol in ("abfs", "abfss", "az", "adl"):
        return {"connection_timeout": patience.connect_s, "read_timeout": patience.read_s}
    return {}
