"""The exit code of a command of mlo, and the most memory its process held.

The process asks for itself: what the system tells of a child begins with the size of its parent.
"""

from __future__ import annotations

import os
import subprocess
import sys

_ASK = """
import resource, sys
from mlops_cli.cli.main import main
code = main(sys.argv[1:])
if sys.platform == "darwin":
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
else:
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
print(f"\\n{code} {peak}")
"""


def peak_of(*words: str) -> tuple[int, int]:
    """Exit code, and bytes."""
    done = subprocess.run(
        [sys.executable, "-c", _ASK, *words],
        env={name: value for name, value in os.environ.items() if not name.startswith("COV")},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    code, peak = done.stdout.split()[-2:]
    return int(code), int(peak)
