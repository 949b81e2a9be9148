"""`mlo serve` beside MLflow, MLServer and BentoML: the same models, one-row requests, the same load.

    python tests/benchmarks/serve.py
    python tests/benchmarks/serve.py --only mlo --only mlserver-alone --seconds 3 --rounds 1
    python tests/benchmarks/serve.py --only flights --only overload --only memory

Load comes from wrk on the same machine, over connections that are kept, as fast as answers come. Servers take turns;
one that is not measured does not run. What each answers is compared before it is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import serve_worlds as worlds
from harness import machine
from serve_worlds import Server, World

CONNECTIONS = (1, 8, 64)
READY_S = 120.0
WRK = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [==[%s]==]
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format('\\n{"requests": %%d, "us": %%d, "p50_us": %%d, "p99_us": %%d, "bad": %%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
"""


@dataclass(frozen=True)
class Load:
    """What wrk saw: requests a second, and milliseconds."""

    rate: float
    p50_ms: float
    p99_ms: float


@dataclass
class Seen:
    """Every round of one server, by connections; its memory after the load in MiB, all its processes together."""

    loads: dict[int, list[Load]] = field(default_factory=dict)
    mib: list[float] = field(default_factory=list)

    def median(self, connections: int) -> Load:
        loads = self.loads[connections]
        return Load(
            *(statistics.median(getattr(load, name) for load in loads) for name in ("rate", "p50_ms", "p99_ms"))
        )


# -- one server ------------------------------------------------------------------------------------------------------


@contextmanager
def running(server: Server) -> Iterator[subprocess.Popen[bytes]]:
    """The server as a process group of its own, once it answers as the model does."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [str(part) for part in server.command],
            cwd=server.folder,
            env={**environ, **server.environ},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + READY_S
            while (answer := ask(server)) is None:
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise SystemExit(f"{server.label} did not start:\n{log.read().decode(errors='replace')[-4000:]}")
                time.sleep(0.1)
            if server.reads(answer) != server.expected:
                raise SystemExit(f"{server.label} answered {answer!r}, which should mean {server.expected}")
            yield process
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def ask(server: Server) -> Any:
    request = urllib.request.Request(server.url, server.body.encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())
    except OSError:
        return None


def load(server: Server, connections: int, seconds: float, *, may_refuse: bool = False) -> Load:
    script = Path(tempfile.gettempdir()) / f"mlo-bench-{os.getpid()}.lua"
    script.write_text(WRK % server.body)
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "30s", "-s", str(script), server.url]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    script.unlink()
    return read_wrk(printed, server.label, may_refuse=may_refuse)


def read_wrk(printed: str, label: str, *, may_refuse: bool) -> Load:
    """wrk's last line of JSON. A fast refusal is no answer: it stops everything, or counts for nothing."""
    document = json.loads(printed.strip().splitlines()[-1])
    answered = document["requests"] - document["bad"]
    if not answered or (document["bad"] and not may_refuse):
        raise SystemExit(f"{label}: {document['bad']} of {document['requests']} requests failed")
    return Load(answered / document["us"] * 1e6, document["p50_us"] / 1000, document["p99_us"] / 1000)


def memory(pid: int) -> float:
    """Resident MiB of a process and all below it; what they share counts for each."""
    listed = subprocess.run(["ps", "-eo", "pid=,pgid=,rss="], capture_output=True, text=True, check=True).stdout
    rows = [tuple(map(int, line.split())) for line in listed.splitlines()]
    return sum(rss for _, group, rss in rows if group == pid) / 1024


def measure(server: Server, seen: Seen, connections: Sequence[int], seconds: float) -> None:
    with running(server) as process:
        load(server, 8, min(2.0, seconds))
        for count in connections:
            seen.loads.setdefault(count, []).append(load(server, count, seconds))
        seen.mib.append(memory(process.pid))


def compare(servers: Sequence[Server], connections: Sequence[int], rounds: int, seconds: float) -> dict[str, Seen]:
    seen = {server.label: Seen() for server in servers}
    for turn in range(rounds):
        for server in servers:
            print(f"round {turn + 1}: {server.label}", file=sys.stderr)
            measure(server, seen[server.label], connections, seconds)
    return seen


# -- overload and memory ---------------------------------------------------------------------------------------------


async def open_loop(server: Server, rate: float, seconds: float, connections: int) -> tuple[list[float], int]:
    """Send at a fixed rate whether or not answers come; the seconds of each accepted request from when it was due, and
    how many were refused. A request that finds no free connection waits for one, and its time runs."""
    host, port = server.address
    request = (
        f"POST {server.path} HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(server.body)}\r\n\r\n{server.body}"
    ).encode()
    idle: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(connections):
        idle.put_nowait(await asyncio.open_connection(host, port))
    accepted: list[float] = []
    refused = 0

    async def send(due: float) -> None:
        nonlocal refused
        connection = await idle.get()
        reader, writer = connection
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        await reader.readexactly(int(length.partition(b":")[2]))
        if head.startswith(b"HTTP/1.1 200"):
            accepted.append(time.perf_counter() - due)
        else:
            refused += 1
        idle.put_nowait(connection)

    start = time.perf_counter()
    tasks = []
    for number in range(int(rate * seconds)):
        due = start + number / rate
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(send(due)))
    await asyncio.gather(*tasks)
    while not idle.empty():
        idle.get_nowait()[1].close()
    return accepted, refused


def overload(root: Path, seconds: float) -> None:
    """Three times what it can answer: those that are let in are answered within the SLA."""
    server = worlds.overloaded(root)
    with running(server):
        load(server, 8, 2.0, may_refuse=True)
        capacity = load(server, 16, seconds, may_refuse=True).rate
        accepted, refused = asyncio.run(open_loop(server, 3 * capacity, 2 * seconds, 400))
    p99 = float(np.quantile(accepted, 0.99)) * 1000
    total = len(accepted) + refused
    print(
        f"\noverload: {3 * capacity:,.0f} req/s offered, {capacity:,.0f} req/s are what it can do; of {total:,} "
        f"{len(accepted):,} accepted, p99 {p99:.1f} ms of {worlds.SLA_MS} ms promised; {refused:,} refused with 503"
    )


def steady(root: Path) -> None:
    """The memory of a server that has answered 20,000 and 220,000 requests."""
    (server,) = [one for one in worlds.linear(root).servers if one.label == "mlo"]
    sizes, sent = [], 0
    with running(server) as process:
        for goal in (20_000, 220_000):
            while sent < goal:
                load_ = load(server, 8, 1.0)
                sent += int(load_.rate)
            sizes.append(memory(process.pid))
    print(f"\nmemory after 20,000 requests {sizes[0]:.0f} MiB, after {sent:,} {sizes[1]:.0f} MiB")


# -- the tables ------------------------------------------------------------------------------------------------------


def show(world: World, seen: dict[str, Seen], connections: Sequence[int]) -> None:
    print(f"\n{world.title}; req/s, p99 in ms, memory\n")
    print(f"| server | {' | '.join(f'{count}' for count in connections)} | MiB |")
    print("|---" * (len(connections) + 2) + "|")
    for label, one in seen.items():
        cells = [f"{one.median(count).rate:,.0f}, {one.median(count).p99_ms:.1f}" for count in connections]
        print(f"| {label} | {' | '.join(cells)} | {statistics.median(one.mib):,.0f} |")


def judge(seen: dict[str, Seen], budgets: Sequence[tuple[str, int, float, float | None]]) -> bool:
    """Print each budget with its ratio; whether all hold. A budget: peer, connections, times as many requests, and the
    share of the peer's p99."""
    holds = True
    for label, connections, times, share in budgets:
        if label not in seen or "mlo" not in seen or connections not in seen[label].loads:
            continue
        ours, theirs = seen["mlo"].median(connections), seen[label].median(connections)
        ratio, tail = ours.rate / theirs.rate, theirs.p99_ms / ours.p99_ms
        good = ratio >= times and (share is None or tail >= share)
        holds &= good
        wanted = f">= {times:g} x" + (f", p99 <= 1/{share:g}" if share is not None else "")
        print(f"{'holds' if good else 'MISSED'}: {label} at {connections}: {ratio:.1f} x, p99 1/{tail:.1f} ({wanted})")
    return holds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--only", action="append", default=[], help="a server, or flights, overload, memory, linear")
    given = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk makes the load: apt-get install wrk")
    only = set(given.only)

    def wanted(world: World, name: str) -> list[Server]:
        labels = {server.label for server in world.servers} & only
        if only and not labels and name not in only:
            return []
        return [server for server in world.servers if not labels or server.label in labels]

    print(machine())
    holds = True
    with tempfile.TemporaryDirectory(prefix="mlo-serve-") as place:
        makers: list[tuple[str, Callable[[Path], World], Sequence[int]]] = [
            ("linear", worlds.linear, CONNECTIONS),
            ("flights", worlds.flights, (8,)),
        ]
        for name, make, connections in makers:
            if only and name not in only and not only & set(worlds.LABELS):
                continue
            world = make(Path(place))
            if servers := wanted(world, name):
                seen = compare(servers, connections, given.rounds, given.seconds)
                show(world, seen, connections)
                holds &= judge(seen, world.budgets)
        if not only or "overload" in only:
            overload(Path(place), given.seconds)
        if not only or "memory" in only:
            steady(Path(place))
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
