"""How much of this machine the stages that run at once may take: job slots, CPUs, GPUs, memory, mutexes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mlops_cli.core.base.sizes import parse_size
from mlops_cli.core.pipeline.graph import Node

# What numeric libraries read to know how many threads to start.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
)


@dataclass(frozen=True, slots=True)
class Machine:
    """What this machine has: processors, GPUs by the names CUDA_VISIBLE_DEVICES knows them by, bytes of memory."""

    cpus: int
    gpus: tuple[str, ...]
    memory: int

    @classmethod
    def here(cls, environ: Mapping[str, str]) -> Machine:
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return cls(cpus, _gpus(environ), _memory())


def _gpus(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Those that this process may use: CUDA_VISIBLE_DEVICES says which, else the driver's list."""
    said = environ.get("CUDA_VISIBLE_DEVICES")
    if said is not None:
        # CUDA itself stops at the first that it does not know, as -1.
        names = [name.strip() for name in said.split(",")]
        end = next((place for place, name in enumerate(names) if name in ("", "-1")), len(names))
        return tuple(names[:end])
    try:
        count = len(os.listdir("/proc/driver/nvidia/gpus"))
    except OSError:
        return ()
    return tuple(map(str, range(count)))


def _memory() -> int:
    """Of the machine, or of the control group around this process if that has less."""
    amounts = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(limit).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            amounts.append(int(text))
    return min(amounts)


@dataclass(frozen=True, slots=True)
class Slot:
    """A stage's share of the machine while it runs. `threads` is None where it may start as many as it likes."""

    threads: int | None = None
    gpus: tuple[str, ...] | None = None

    def variables(self, environ: Mapping[str, str]) -> dict[str, str]:
        """What the stage's process is told of its share; a number of threads that somebody set stays."""
        told = {}
        if self.threads is not None:
            told = {name: str(self.threads) for name in THREAD_VARIABLES if name not in environ}
        if self.gpus is not None:
            told["CUDA_VISIBLE_DEVICES"] = ",".join(self.gpus)
        return told


@dataclass(slots=True)
class Admission:
    """Who may run now. Not safe to use from several threads at once."""

    machine: Machine
    jobs: int
    _running: dict[str, tuple[Node, Slot]] = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        return len(self._running) >= self.jobs

    def admit(self, node: Node) -> Slot | None:
        """A share for the stage, or None while others have what it needs. A stage always runs alone if it must."""
        wants = node.stage.resources
        others = [running for running, _ in self._running.values()]
        taken = {name for _, slot in self._running.values() for name in slot.gpus or ()}
        free = [name for name in self.machine.gpus if name not in taken]
        if others:
            if self.is_full or wants.gpus > len(free):
                return None
            if _bytes(node) and _bytes(node) + sum(map(_bytes, others)) > self.machine.memory:
                return None
            if wants.cpus and wants.cpus + sum(it.stage.resources.cpus or 1 for it in others) > self.machine.cpus:
                return None
            if any(set(node.stage.mutexes) & set(other.stage.mutexes) for other in others):
                return None
        share = max(1, self.machine.cpus // self.jobs)
        threads = wants.cpus or (share if self.jobs > 1 else None)
        slot = Slot(threads, tuple(free[: wants.gpus]) if wants.gpus else None)
        self._running[node.name] = (node, slot)
        return slot

    def leave(self, name: str) -> None:
        self._running.pop(name, None)


def _bytes(node: Node) -> int:
    wanted = node.stage.resources.memory
    return parse_size(wanted) if wanted is not None else 0
