"""Many mlo command lines, each in a process of its own with a limit on its memory, from one that imported mlo once.

    python forked_commands.py FOLDER LIMIT_BYTES < LINES

Line n writes FOLDER/n.out and FOLDER/n.err; the exit codes are printed, a line each.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path


def run_each(lines: list[str], limit_bytes: int) -> list[subprocess.CompletedProcess[str]]:
    """What each command line answered, one after the other."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, __file__, folder, str(limit_bytes)],
            input="\n".join(lines),
            env=environ,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        codes = [int(code) for code in done.stdout.split()]
        return [
            subprocess.CompletedProcess(line, code, *(Path(folder, f"{n}.{end}").read_text() for end in ("out", "err")))
            for n, (line, code) in enumerate(zip(lines, codes, strict=True))
        ]


def answer(line: str, folder: str, number: int, limit_bytes: int) -> int:
    from mlops_cli.cli.main import main

    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for handle, end in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{folder}/{number}.{end}", os.O_WRONLY | os.O_CREAT), handle)
    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
    code = main(line.split())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    # Once, not in each child.
    import mlops_cli.cli.commands.data
    import mlops_cli.core.workflows.data_checkout
    import mlops_cli.core.workflows.transfer  # noqa: F401

    for number, line in enumerate(sys.stdin.read().splitlines()):
        sys.stdout.write(f"{answer(line, sys.argv[1], number, int(sys.argv[2]))}\n")
        sys.stdout.flush()  # or each child would write it again
