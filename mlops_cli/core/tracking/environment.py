"""What a run ran on: Python, system, processor, GPUs, packages. Read from files; nothing heavy is imported."""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

from mlops_cli.core.base.distributions import installed

# Instruction sets on which numeric libraries choose other code, and so give other last digits.
_TELLING = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_bf16", "amx_tile", "asimd", "sve", "sve2")
_NVIDIA = Path("/proc/driver/nvidia")
_DRIVER = re.compile(r"^NVRM version:.*?Kernel Module.*?\s(?P<version>\d+(?:\.\d+)+)", re.MULTILINE)


def describe_environment(nvidia: Path = _NVIDIA) -> dict[str, Any]:
    """`{"python", "implementation", "platform", "cpu": {"model", "count", "flags"}, "packages": {name: version}}`.

    Only where there are any: `gpu` (`{"driver", "models"}`), `blas` (what numpy and scipy compute with) and `urls` (of
    packages that came from an address).
    """
    system = os.uname()
    gpu = _gpu(nvidia)
    return {
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "platform": f"{system.sysname}-{system.release}-{system.machine}",
        "cpu": _cpu(system.machine),
        **({"gpu": gpu} if gpu else {}),
        **installed(sys.path).facts(),
    }


def _gpu(nvidia: Path) -> dict[str, Any]:
    """What the driver says of itself and of each GPU; nothing where there is no driver."""
    try:
        driver = _DRIVER.search((nvidia / "version").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return {}
    models = []
    try:
        for folder in sorted((nvidia / "gpus").iterdir()):
            for line in (folder / "information").read_text(encoding="utf-8", errors="replace").splitlines():
                key, _, value = line.partition(":")
                if key.strip() == "Model":
                    models.append(value.strip())
    except OSError:  # a container may see the driver, and not the cards
        pass
    return {"driver": driver["version"] if driver else "", "models": models}


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
