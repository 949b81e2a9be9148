"""A terminal of one's own: what a process shows there, and what it left of it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path


class Played:
    """All that came to the terminal, and the exit code."""

    def __init__(self, shown: bytes, exit_code: int) -> None:
        self.shown = shown
        self.exit_code = exit_code

    @property
    def cursor_is_visible(self) -> bool:
        return self.shown.rfind(b"\x1b[?25l") <= self.shown.rfind(b"\x1b[?25h")

    @property
    def left(self) -> list[str]:
        """The lines that stand there at the end, as far as mlo moves about: up, erase the line, carriage return."""
        lines, row, column = [""], 0, 0
        text = self.shown.decode("utf-8", "replace")
        place = 0
        while place < len(text):
            character = text[place]
            if text.startswith("\x1b[", place):
                end = next(at for at in range(place + 2, len(text)) if text[at].isalpha())
                count, kind = text[place + 2 : end], text[end]
                if kind == "A":
                    row = max(0, row - int(count or 1))
                elif kind == "K":
                    lines[row] = "" if count == "2" else lines[row][:column]
                place = end + 1
                continue
            if character == "\n":
                row += 1
                lines += [""] * (row + 1 - len(lines))
            elif character == "\r":
                column = 0
            else:
                lines[row] = lines[row][:column].ljust(column) + character + lines[row][column + 1 :]
                column += 1
            place += 1
        return [line.rstrip() for line in lines]


def play(folder: Path, *arguments: str, columns: int = 80, rows: int = 24, interrupt_at: bytes | None = None) -> Played:
    """Run `mlo ARGUMENTS` on a terminal; Ctrl-C is pressed once it has shown `interrupt_at`."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environ = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "mlops_cli", *arguments],
        cwd=folder,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**environ, "TERM": "xterm-256color"},
        start_new_session=True,
    )
    os.close(follower)
    shown = b""
    with contextlib.suppress(OSError):  # Linux says EIO when the last writer is gone
        while block := os.read(leader, 4096):
            shown += block
            if interrupt_at is not None and interrupt_at in shown:
                process.send_signal(signal.SIGINT)
                interrupt_at = None
    exit_code = process.wait()
    os.close(leader)
    return Played(shown, exit_code)
