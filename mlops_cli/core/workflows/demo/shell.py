"""Commands as the demo runs them: shown as a person would type them, answered line by line, and gone when it ends."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from mlops_cli.core.errors import Exit, MloError

DRAIN_S = 10.0  # how long a command may take to end after Ctrl-C before it is killed
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Narrator(Protocol):
    """Who tells the demo to people. `answered` gets one line at a time, as it is printed."""

    def step(self, number: int, of: int, title: str, text: str) -> None: ...
    def typed(self, command: str) -> None: ...
    def answered(self, line: str) -> None: ...


class DemoFailed(MloError):
    """A step did not give what it should. Carries the exit code of the command that failed, if it has one."""

    code = "demo_failed"

    def __init__(self, message: str, *, hint: str, exit_code: int = int(Exit.BUG)) -> None:
        super().__init__(message, hint=hint)
        known = exit_code in list(Exit) and exit_code != Exit.DONE
        self.exit_code = Exit(exit_code) if known else Exit.BUG


class Shell:
    """Runs commands in one folder, each in a process group of its own, and leaves none behind."""

    def __init__(self, folder: Path, environ: Mapping[str, str], narrator: Narrator) -> None:
        self.folder = folder
        self.environ = dict(environ)
        self.narrator = narrator
        self.doing = ""  # the step, for errors
        self.typed = ""  # the last command, as a person would type it
        self._living: list[subprocess.Popen[Any]] = []
        self._starting = False
        self._asked_to_stop = False

    # -- running -------------------------------------------------------------------------------------------

    def mlo(self, *arguments: str, expect: int = 0) -> list[str]:
        """Run one mlo command; the lines it printed. Raises DemoFailed if it does not exit as expected."""
        self.show(shlex.join(["mlo", *arguments]))
        return self._run([sys.executable, "-m", "mlops_cli", *arguments], expect)

    def python(self, *arguments: str) -> list[str]:
        self.show(shlex.join(["python", *arguments]))
        return self._run([sys.executable, *arguments], 0)

    def git(self, *arguments: str, shown: bool = True) -> list[str]:
        """Signing and hooks are off: the machine's git configuration may ask for both."""
        if shown:
            self.show(shlex.join(["git", *arguments]))
        options = ("commit.gpgsign=false", "tag.gpgsign=false", "core.hooksPath=/dev/null", "init.defaultBranch=main")
        return self._run(["git", *(part for option in options for part in ("-c", option)), *arguments], 0, heard=shown)

    def show(self, command: str) -> None:
        """Show a command that the demo does without a process, such as cp."""
        self.typed = command
        self.narrator.typed(command)

    def fail(self, message: str, exit_code: int = int(Exit.BUG)) -> DemoFailed:
        """The error of a step that went wrong, with the command to run again by hand."""
        again = f"cd {shlex.quote(str(self.folder))} && export MLO_NOW=@.mlo/now && {self.typed}"
        return DemoFailed(f"{self.doing}: {message}", hint=f"look at it with: {again}", exit_code=exit_code)

    def _run(self, command: list[str], expect: int, *, heard: bool = True) -> list[str]:
        process = self._start(command, subprocess.PIPE)
        assert process.stdout is not None  # noqa: S101 - it was asked for above
        lines = []
        with process.stdout:
            for line in process.stdout:
                lines.append(line.rstrip("\n"))
                if heard:
                    self.narrator.answered(lines[-1])
        code = process.wait()
        self._living.remove(process)
        if code != expect:
            last = next((line for line in reversed(lines) if line.startswith("error: ")), "")
            raise self.fail(f"`{self.typed}` answered {code}, not {expect}{': ' if last else ''}{last[7:]}", code)
        return lines

    def background(self, *arguments: str, output: Path) -> subprocess.Popen[Any]:
        """Start an mlo command that stays; what it prints goes to the file `output`."""
        self.show(shlex.join(["mlo", *arguments]) + " &")
        with output.open("wb") as file:
            return self._start([sys.executable, "-m", "mlops_cli", *arguments], file)

    def _start(self, command: list[str], stdout: Any) -> subprocess.Popen[Any]:
        # A signal between fork and the list below would leave a process that nobody ends; so it waits meanwhile.
        self._starting = True
        try:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                text=True,
                errors="replace",
            )
            self._living.append(process)
        finally:
            self._starting = False
        if self._asked_to_stop:
            raise KeyboardInterrupt
        return process

    # -- ending --------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Ctrl-C, a kill and a closed terminal all end the demo, and every process it started."""
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)
        try:
            yield
        finally:
            for number in _SIGNALS:  # a second Ctrl-C must not cut the tidying short
                signal.signal(number, signal.SIG_IGN)
            self.end_all()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._asked_to_stop = True
        if not self._starting:
            raise KeyboardInterrupt

    def end_all(self) -> None:
        """SIGINT first, so that mlo ends its own stages; SIGKILL to the group of what does not end."""
        for process in self._living:
            _signal_group(process, signal.SIGINT)
        for process in self._living:
            try:
                process.wait(DRAIN_S)
            except subprocess.TimeoutExpired:
                _signal_group(process, signal.SIGKILL)
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self._living.clear()

    def stop(self, process: subprocess.Popen[Any]) -> int:
        """End a background command as a service manager does; its exit code."""
        process.terminate()
        try:
            code = process.wait(DRAIN_S)
        except subprocess.TimeoutExpired:
            raise self.fail(f"process {process.pid} did not end within {DRAIN_S:.0f} s of SIGTERM") from None
        self._living.remove(process)
        return code

    def wait_for(self, what: str, seconds: float, look: Callable[[], Any]) -> Any:
        """The first answer of `look` that is true, asked 20 times a second. Raises DemoFailed after `seconds`."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = look()
            if found:
                return found
            dead = [process for process in self._living if process.poll() is not None]
            if dead:
                raise self.fail(f"the server ended with {dead[0].returncode} while the demo waited for {what}")
            time.sleep(0.05)
        raise self.fail(f"waited {seconds:.0f} s for {what}")


def _signal_group(process: subprocess.Popen[Any], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if process.poll() is None:
            os.killpg(process.pid, number)


def demo_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of the demo's commands: no setting of mlo or git from outside, and this Python first on PATH."""
    kept = {name: value for name, value in environ.items() if not name.startswith(("MLO_", "GIT_"))}
    if not Path(sys.executable).is_relative_to(kept.get("VIRTUAL_ENV", sys.prefix)):
        kept.pop("VIRTUAL_ENV", None)
    kept.pop("CONDA_PREFIX", None)
    kept["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    # OpenMP threads that spin while they wait take ten times as long where others use the same two cores.
    kept.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return {**kept, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "PYTHONUNBUFFERED": "1"}


def require_git() -> None:
    if shutil.which("git") is None:
        raise DemoFailed(
            "the demo keeps its code in git, and there is no git here", hint="install git", exit_code=Exit.PROJECT
        )
