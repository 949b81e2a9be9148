"""What a run ran on: Python, system, processor, installed packages. Read from files; nothing heavy is imported."""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

# Instruction sets on which numeric libraries choose other code, and so give other last digits.
_TELLING = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_bf16", "amx_tile", "asimd", "sve", "sve2")
_DISTRIBUTION = re.compile(r"(?P<name>.+?)-(?P<version>[^-]+)(?:-py\d.*)?\.(?:dist|egg)-info$")


def describe_environment() -> dict[str, Any]:
    """`{"python", "implementation", "platform", "cpu": {"model", "count", "flags"}, "packages": {name: version}}`."""
    system = os.uname()
    return {
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "platform": f"{system.sysname}-{system.release}-{system.machine}",
        "cpu": _cpu(system.machine),
        "packages": installed_packages(sys.path),
    }


def installed_packages(path: list[str]) -> dict[str, str]:
    """Version of each distribution on `path`, by normalised name, sorted; the first on the path counts.

    Names of `.dist-info` folders say both; opening each METADATA would take fifty times as long.
    """
    found: dict[str, str] = {}
    for folder in path:
        try:
            names = sorted(os.listdir(folder or "."))
        except OSError:
            continue
        for name in names:
            match = _DISTRIBUTION.match(name)
            if match:
                found.setdefault(re.sub(r"[-_.]+", "-", match["name"]).lower(), match["version"])
    return dict(sorted(found.items()))


def _cpu(machine: str) -> dict[str, Any]:
    model, flags = _proc_cpuinfo()
    return {
        "model": model or platform.processor() or machine,
        "count": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "flags": [flag for flag in _TELLING if flag in flags],
    }


def _proc_cpuinfo() -> tuple[str, set[str]]:
    """Model and flags of the first processor in /proc/cpuinfo; nothing where there is none."""
    model, flags = "", set[str]()
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return model, flags
    for line in text.partition("\n\n")[0].splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            model = value.strip()
        elif key.strip() in {"flags", "Features"}:
            flags = set(value.split())
    return model, flags
