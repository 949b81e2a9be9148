"""One process of a stage with everything it starts: its own group, a log, a timeout, and no orphans."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.errors import MachineError, StageFailed
from mlops_cli.core.pipeline.interrupts import Stop
from mlops_cli.core.pipeline.masking import Mask
from mlops_cli.core.pipeline.output import Echo, Output

GRACE_S = 5.0  # between SIGTERM and SIGKILL
_KILLED_S = 1.0  # for the system to end what was killed
_TICK_S = 0.2
_CHECK_CMD = "check cmd in mlo.yaml and PATH"


@dataclass(frozen=True, slots=True)
class Exited:
    """How a process ended. `code` is as a shell says it: 128 + n for signal n."""

    code: int
    timed_out: bool
    seconds: float


def run_process(
    command: str | list[str],
    *,
    folder: Path,
    environ: Mapping[str, str],
    log: Path,
    echo: Echo | None = None,
    timeout_s: float | None = None,
    grace_s: float = GRACE_S,
    stop: Stop | None = None,
    mask: Mask | None = None,
) -> Exited:
    """Run a command to its end: a string by `sh -c`, a list as it stands. Output goes to `log` and to `echo`.

    When the process ends, for whatever reason, its whole group is ended; so it is on a timeout and on an
    exception such as KeyboardInterrupt, which it raises itself where `stop` is asked for. Raises StageFailed if the
    command cannot be started.
    """
    stop = stop or Stop()
    arguments = ["/bin/sh", "-c", command] if isinstance(command, str) else command
    begun = time.monotonic()
    with machine_errors(f"cannot write {log}"):
        log.parent.mkdir(parents=True, exist_ok=True)
        log_file = log.open("ab", buffering=0)
    with log_file:
        with _held_back() as interrupts:
            process = _start(arguments, folder, environ)
            pipe = cast(BinaryIO, process.stdout)
            output = Output(pipe, cast(BinaryIO, log_file), echo, mask or Mask())
            ended = threading.Event()
            waiter = threading.Thread(target=_wait, args=(process, ended), daemon=True)
            try:
                output.start()
                waiter.start()
            except RuntimeError as error:  # the system has no thread left for us
                end_group(process.pid, 0)
                raise MachineError(f"cannot watch what was started: {error}", hint="raise ulimit -u") from None
        try:
            if interrupts:
                raise KeyboardInterrupt
            timed_out = not _in_time(ended, timeout_s, stop)
        finally:
            end_group(process.pid, grace_s, stop)
            process.wait()
            waiter.join()
            output.finish(stop)
    code = process.returncode if process.returncode >= 0 else 128 - process.returncode
    return Exited(code, timed_out, time.monotonic() - begun)


def _wait(process: subprocess.Popen[bytes], ended: threading.Event) -> None:
    process.wait()
    ended.set()


def _in_time(ended: threading.Event, timeout_s: float | None, stop: Stop) -> bool:
    """Wait for the end, or until the time is up.

    In short waits: a signal that comes between Python's last look and the call to the system that blocks is only
    noticed when that call returns; and one that asks `stop` in another thread must not wait for ever.
    """
    deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
    while (left_s := deadline - time.monotonic()) > 0:
        if ended.wait(min(left_s, _TICK_S)):
            return True
        if stop.is_asked:
            raise KeyboardInterrupt
    return ended.is_set()


def _start(arguments: list[str], folder: Path, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    try:
        # A session of its own: Ctrl-C reaches mlo alone, which then ends the group; and no terminal to hang on.
        return subprocess.Popen(
            arguments,
            cwd=folder,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            bufsize=0,
        )
    except OSError as error:
        if error.errno == errno.E2BIG:
            raise StageFailed(
                f"cannot start {arguments[0]!r}: what it is given is larger than the system lets pass",
                hint="declare fewer params, or keep a long list in a file that is one of the deps",
            ) from None
        if not isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError):
            raise
        raise StageFailed(f"cannot start {arguments[0]!r}: {error.strerror}", hint=_CHECK_CMD) from None
    except ValueError as error:
        raise StageFailed(f"cannot start {arguments[0]!r}: {error}", hint=_CHECK_CMD) from None


def end_group(group: int, grace_s: float = GRACE_S, stop: Stop | None = None) -> None:
    """SIGTERM to a group, SIGKILL to what is left of it after `grace_s`; a second interrupt kills at once."""
    if not _signal(group, signal.SIGTERM):
        return
    try:
        gone = _gone(lambda: _lives(group), grace_s, stop)
    except BaseException:
        _signal(group, signal.SIGKILL)
        raise
    if not gone:
        _signal(group, signal.SIGKILL)
        _gone(lambda: _lives(group), _KILLED_S)


def end_marked(marks: Mapping[str, str], grace_s: float = GRACE_S, stop: Stop | None = None) -> int:
    """End every process of this user whose environment holds all of `marks`; how many there were.

    For what left its group (a daemon), and for what outlived an mlo that was killed.
    """
    told: set[int] = set()

    def are_there() -> bool:
        found = set(marked(marks))
        for process in found - told:  # one may have started another since we last looked
            _tell(process, signal.SIGTERM)
        told.update(found)
        return bool(found)

    if not _gone(are_there, grace_s, stop):
        for process in marked(marks):
            _tell(process, signal.SIGKILL)
        _gone(are_there, _KILLED_S)
    return len(told)


def _tell(process: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(process, number)


def marked(marks: Mapping[str, str]) -> list[int]:
    """The processes whose environment holds all of `marks`, this one excepted."""
    wanted = {f"{name}={value}" for name, value in marks.items()}
    return [process for process, environ in _environments() if wanted <= environ and process != os.getpid()]


def _environments() -> Iterator[tuple[int, set[str]]]:
    """Each process of this user with its `NAME=value` words. A zombie has none."""
    if Path("/proc/self/environ").exists():  # Linux; elsewhere ps knows
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):
                    yield int(folder.name), set((folder / "environ").read_text(errors="replace").split("\0"))
        return
    listing = subprocess.run(["ps", "axEww", "-o", "pid=,command="], capture_output=True, text=True, check=False)
    for line in listing.stdout.splitlines():
        number, *words = line.split()
        yield int(number), set(words)


def _signal(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # macOS says EPERM for a group of zombies
        return False
    return True


def _lives(group: int) -> bool:
    """Whether a group holds more than zombies, which an init that reaps late leaves there."""
    if not _signal(group, 0):
        return False
    if not Path("/proc/self/stat").exists():
        return True
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                # The name of the process stands in brackets and may hold anything; then come state, parent, group.
                state, _, found = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[:3]
                if int(found) == group and state not in "ZX":
                    return True
    return False


def _gone(is_there: Callable[[], bool], wait_s: float, stop: Stop | None = None) -> bool:
    deadline = time.monotonic() + wait_s
    pause_s = 0.001
    while is_there():
        if time.monotonic() > deadline or (stop is not None and stop.is_hurried):
            return False
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, 0.05)
    return True


@contextlib.contextmanager
def _held_back() -> Iterator[list[int]]:
    """Collect interrupts meanwhile: a process that was started but is not known yet would be left behind."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    # Only where a handler of Python's would raise; what ends mlo outright is not ours to delay.
    numbers = [
        number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if callable(signal.getsignal(number))
    ]
    before = {number: signal.signal(number, lambda number, _: caught.append(number)) for number in numbers}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def tail(log: Path, lines: int = 20, *, start: int = 0) -> str:
    """The last lines of a log from byte `start` on, at most 8 KB of them."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(start, file.tell() - 8192))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    # A progress bar redraws its line after a carriage return; the last state is what one saw.
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.rstrip().split("\n")[-lines:])
