"""Run one command and write what it needed, as JSON: `launch.py ANSWER COMMAND...`, by a Python without site packages.

Linux starts a child's peak memory at what its parent holds, so the parent must be small: this is it.
"""

import os
import sys
import time


def main(answer: str, command: list[str]) -> int:
    start = time.perf_counter()
    child = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(child, 0)  # with its own children's, if it waited for them
    seconds = time.perf_counter() - start
    os.sync()
    synced = time.perf_counter() - start
    peak = usage.ru_maxrss / (1024 if sys.platform.startswith("linux") else 1 << 20)
    with open(answer, "w") as file:
        file.write(f'{{"seconds": {seconds}, "synced": {synced}, "peak_mib": {peak}}}')
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
