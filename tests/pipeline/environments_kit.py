"""Small wheels, programs that stand in for conda and docker, and environments opened by hand."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest
from pipeline_kit import Notes

from mlops_cli.core.pipeline.command import Opened
from mlops_cli.core.pipeline.environments import open_environment
from mlops_cli.core.project.stages import Environment


def wheel(folder: Path, name: str, version: str, *, code: str = "", needs: tuple[str, ...] = ()) -> Path:
    """A wheel with one module that says its version, as an index would hold it."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files = {
        f"{name}.py": f"VERSION = {version!r}\n{code}",
        f"{info}/METADATA": metadata + "".join(f"Requires-Dist: {other}\n" for other in needs),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text.encode())}\n"
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    place = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(place, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return place


def offline(wheels: Path, **more: str) -> dict[str, str]:
    """The variables of a shell without any index: uv and pip find packages in that folder alone."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("UV_", "PIP_"))},
        "UV_FIND_LINKS": str(wheels),
        "UV_OFFLINE": "1",
        "UV_CACHE_DIR": str(wheels.parent / "uv-cache"),
        "UV_PYTHON_DOWNLOADS": "never",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_NO_INDEX": "1",
        "PIP_NO_CACHE_DIR": "1",
        **more,
    }


def without_uv(folder: Path, environ: dict[str, str]) -> dict[str, str]:
    """The same where a program that calls itself uv does not start, and no other is installed beside mlo."""
    program(folder / "bin/uv", "exit 1")
    return {**environ, "PATH": f"{folder / 'bin'}:{environ['PATH']}"}


def program(path: Path, script: str) -> Path:
    """An executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP)
    return path


def opened(
    root: Path, environ: dict[str, str], *, cache: Path | None = None, notes: Notes | None = None, **env: Any
) -> Opened:
    return open_environment(
        Environment(**env),
        root=root,
        cache=cache or root / ".mlo/cache",
        environ=environ,
        progress=notes or Notes(),
    )


def made(root: Path) -> list[Path]:
    """The folders of environments that are whole, or half built."""
    return sorted(path for path in (root / ".mlo/cache/envs").glob("*/*") if path.is_dir())


def need_uv() -> str:
    """The uv on PATH; a test that needs one skips where there is none."""
    found = shutil.which("uv")
    if found is None:
        if os.environ.get("MLO_REQUIRE_ALL"):
            pytest.fail("no uv on this machine, and MLO_REQUIRE_ALL is set")
        pytest.skip("needs uv (pip install uv)")
    return found
