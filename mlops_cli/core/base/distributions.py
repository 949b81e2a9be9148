"""Which Python distributions lie in folders, read from the names of what installers leave there."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

_DISTRIBUTION = re.compile(r"(?P<name>.+?)-(?P<version>[^-]+)(?:-py\d.*)?\.(?:dist|egg)-info$")
# What numpy and scipy note of how they were built: the first name and version after the key.
_BUILT_WITH = re.compile(
    r'"blas":\s*\{[^}]*?"name":\s*r?"(?P<name>[^"]+)"[^}]*?"version":\s*r?"(?P<version>[^"]*)"', re.DOTALL
)
_BUNDLED = re.compile(r"lib(?P<name>[a-z_]*(?:openblas|mkl_rt|blis|accelerate)[0-9a-z_]*?)(?:[-.](?P<rest>.*))?$")
# Of libopenblas64_p-r0-0cf96a72.3.23.dev.so: the version 0.3.23 around the digest that auditwheel puts into a name.
_VERSION = re.compile(r"r(?P<major>\d+)(?:-[0-9a-f]{8})?(?P<rest>(?:\.\d+)+)")
_CONFIG_BYTES = 16_384


class Installed(msgspec.Struct, frozen=True):
    """What is installed: versions and, for what came from an address and not from an index, the addresses, by
    normalised name; `blas` is what each of numpy and scipy computes with."""

    packages: dict[str, str] = {}
    urls: dict[str, str] = {}
    blas: dict[str, str] = {}

    def facts(self) -> dict[str, Any]:
        """As a run's record holds it: what is empty is left out, but for the packages."""
        more = {"urls": self.urls, "blas": self.blas}
        return {"packages": self.packages, **{name: value for name, value in more.items() if value}}


def installed(folders: Sequence[str]) -> Installed:
    """The distributions in these folders of a Python path; of several of one name the first counts.

    Names of `.dist-info` folders say name and version; opening each METADATA would take fifty times as long.
    """
    packages: dict[str, str] = {}
    urls: dict[str, str] = {}
    blas: dict[str, str] = {}
    for folder in folders:
        try:
            names = sorted(os.listdir(folder or "."))
        except OSError:
            continue
        for name in names:
            match = _DISTRIBUTION.match(name)
            if match is None:
                continue
            package = normal_name(match["name"])
            if package in packages:
                continue
            packages[package] = match["version"]
            url = _direct_url(os.path.join(folder, name))
            if url is not None:
                urls[package] = url
        for package in ("numpy", "scipy"):
            if package in names and package not in blas and (found := _blas(folder, package)):
                blas[package] = found
    if "mkl" in packages:
        blas["mkl"] = packages["mkl"]
    return Installed(dict(sorted(packages.items())), dict(sorted(urls.items())), blas)


def normal_name(name: str) -> str:
    """A distribution's name as all its spellings are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement_lines(packages: Mapping[str, str], urls: Mapping[str, str]) -> list[str]:
    """`name==version`, or `name @ address`: what `uv pip install` reads, one line a distribution."""
    return [f"{name} @ {urls[name]}" if name in urls else f"{name}=={version}" for name, version in packages.items()]


def _direct_url(folder: str) -> str | None:
    """Where a distribution was installed from, if that was said by an address (PEP 610)."""
    try:
        with open(os.path.join(folder, "direct_url.json"), "rb") as file:
            document = msgspec.json.decode(file.read(), type=dict[str, Any])
        url = str(document["url"])
        version = document.get("vcs_info") or {}
        if version:
            url = f"{version['vcs']}+{url}@{version['commit_id']}"
        if document.get("subdirectory"):
            url += f"#subdirectory={document['subdirectory']}"
    except (OSError, msgspec.DecodeError, LookupError, TypeError, AttributeError):
        return None
    return url


def _blas(folder: str, package: str) -> str | None:
    """What a package says that it was built with; else the library that it brought along."""
    try:
        with open(os.path.join(folder, package, "__config__.py"), "rb") as file:
            match = _BUILT_WITH.search(file.read(_CONFIG_BYTES).decode("utf-8", "replace"))
    except OSError:
        match = None
    if match is not None:
        return f"{match['name']} {match['version']}".strip()
    places = [f"{package}.libs", os.path.join(package, ".dylibs"), os.path.join(package, ".libs")]
    for place in places:
        try:
            libraries = sorted(os.listdir(os.path.join(folder, place)))
        except OSError:
            continue
        for library in libraries:
            bundled = _BUNDLED.match(library)
            if bundled is not None:
                version = _VERSION.search(bundled["rest"] or "")
                return f"{bundled['name']} {version['major']}{version['rest']}" if version else bundled["name"]
    return None
