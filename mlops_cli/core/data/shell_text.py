"""What a command line and a script tell about themselves, as far as they spell it out."""

from __future__ import annotations

import re
from pathlib import Path

_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)[^}]*\})")
_ASSIGNED = re.compile(r"(?:^|[\s;&|(])(?:export\s+|for\s+|read\s+)?([A-Za-z_]\w*)(?:=|\s+in\s)")
_READ_VARIABLE = re.compile(r"""os\.(?:environ(?:\.get)?\s*[\[(]|getenv\s*\()\s*['"](\w+)['"]""")
_BASH = re.compile(r"\[\[|<\(|>\(|\bsource\s|pipefail|<<<|&>|\$'|\bdeclare\s|\bfunction\s")
_SCRIPT_BYTES = 1 << 20


def needs_bash(text: str) -> bool:
    """Whether a command says what /bin/sh need not understand."""
    return _BASH.search(text) is not None


def variables_used(text: str) -> list[str]:
    """The environment variables that a command names, without those that it sets itself."""
    used = [first or second for first, second in _VARIABLE.findall(text)]
    assigned = {match[1] for match in _ASSIGNED.finditer(text)}
    return [name for name in dict.fromkeys(used) if not name.isdigit() and name not in assigned and name != "_"]


def script_text(script: Path) -> str:
    """A script's source; empty for what is no file, or too large for one."""
    try:
        if script.stat().st_size > _SCRIPT_BYTES:
            return ""
        return script.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def variables_read(script: Path) -> set[str]:
    """The variables that a Python script asks the environment for."""
    return set(_READ_VARIABLE.findall(script_text(script)))
