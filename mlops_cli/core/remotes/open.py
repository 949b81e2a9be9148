"""From a URL to a remote: a folder, `file://`, `memory://`, `s3://`, `gs://`, `abfs://`, `sftp://` and whatever else
fsspec speaks. fsspec is imported when a remote is opened, not before."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Protocol

from mlops_cli.core.base.extras import require
from mlops_cli.core.base.files import user_path
from mlops_cli.core.errors import ProjectError, RemoteError
from mlops_cli.core.remotes.filesystem import FilesystemRemote

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
}


class Address(Protocol):
    """What mlo.yaml says of a remote; project.schema.RemoteConfig is one."""

    @property
    def url(self) -> str: ...
    @property
    def options(self) -> dict[str, Any]: ...


def open_remote(name: str, config: Address, *, root: Path) -> FilesystemRemote:
    """The remote of that name in mlo.yaml. Nothing is contacted yet. Raises ProjectError, ExtraMissing, RemoteError."""
    return _open(name, config.url, root, config.options)


def open_url(url: str, *, root: Path, name: str = "") -> FilesystemRemote:
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


def _open(name: str, url: str, root: Path, options: dict[str, Any]) -> FilesystemRemote:
    if not url.strip():
        raise ProjectError(f"remote {name} has an empty url", hint="write a folder or a URL such as s3://bucket/path")
    folder = folder_of(url, root)
    protocol = "file" if folder is not None else _SCHEME.match(url)[1].lower()  # type: ignore[index]
    if protocol in EXTRAS:
        module, extra = EXTRAS[protocol]
        require(module, extra=extra, purpose=f"remote {name} ({shown(url)})")
    import fsspec

    endpoint = str(options.get("endpoint_url") or options.get("host") or "")
    try:
        if folder is not None:
            # Absolute and without links, because keys are cut from what fsspec lists.
            base = str(folder.resolve())
            system = fsspec.filesystem("file", auto_mkdir=False, skip_instance_cache=True)
        else:
            # A cached listing would hide what another machine pushed a minute ago.
            fresh = {} if protocol == "memory" else {"use_listings_cache": False, "skip_instance_cache": True}
            system, base = fsspec.core.url_to_fs(url, **fresh, **options)
    except (ValueError, ImportError) as error:
        raise ProjectError(
            f"remote {name}: {shown(url)} cannot be opened: {error}",
            hint="write a folder, or a URL that begins with s3:// gs:// abfs:// or sftp://",
        ) from None
    except Exception as error:
        raise RemoteError(f"remote {name} ({shown(url)}): {error}", hint="mlo remote check") from error
    return FilesystemRemote(name, shown(url), system, base, protocol=protocol, endpoint=endpoint)
