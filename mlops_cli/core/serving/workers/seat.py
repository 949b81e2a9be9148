"""A process's place among those of one server: its number, its end of the line, and the listening sockets of all."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

VARIABLE = "MLO_SERVE_SEAT"


@dataclass(frozen=True, slots=True)
class Seat:
    """`listeners` are shared by all: each process accepts on its own, and on those of the dead."""

    number: int
    line: socket.socket
    listeners: tuple[socket.socket, ...]

    @property
    def listener(self) -> socket.socket:
        return self.listeners[self.number]

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Seat | None:
        """The seat that the supervisor gave this process; None for a process of its own."""
        text = environ.get(VARIABLE)
        if text is None:
            return None
        number, line, *listeners = map(int, text.split(":"))
        return cls(number, socket.socket(fileno=line), tuple(socket.socket(fileno=fd) for fd in listeners))


def seat_text(number: int, line: socket.socket, listeners: Sequence[socket.socket]) -> str:
    """What `Seat.of` reads; file descriptors keep their numbers in the new process."""
    return ":".join(map(str, (number, line.fileno(), *(listener.fileno() for listener in listeners))))
