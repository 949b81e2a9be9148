"""A small model with a column of every kind, a project that has it registered, and a server around it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from mlops_cli.core.base.clock import Clock, SystemClock
from mlops_cli.core.models.load import load_model
from mlops_cli.core.models.manifest import hash_files, read_manifest
from mlops_cli.core.models.save import EXAMPLE_FILE, save_model
from mlops_cli.core.registry.records import Version
from mlops_cli.core.serving.admission import LaneLimits
from mlops_cli.core.serving.app import Application, Companion
from mlops_cli.core.serving.guard import Guard
from mlops_cli.core.serving.limits import Limits
from mlops_cli.core.serving.loader import Served, make_served
from mlops_cli.core.serving.server import Server, bind, url_of
from mlops_cli.core.serving.shelf import Slot, Source
from mlops_cli.core.store.snapshot import record
from mlops_cli.core.workflows.workspace import Workspace

ROW = {"carrier": "UA", "distance": 500, "temp": 41.5, "pressure": 1013.2, "night": False}
NAMES = list(ROW)


def rows(n: int = 200, seed: int = 7) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    pressure = draw.normal(1013, 8, n)
    pressure[draw.random(n) < 0.2] = np.nan
    return pd.DataFrame(
        {
            "carrier": draw.choice(["UA", "DL", "B6"], n),
            "distance": draw.integers(100, 3000, n),
            "temp": draw.normal(40, 15, n),
            "pressure": pressure,
            "night": draw.random(n) < 0.3,
        }
    )


def save(folder: Path, *, flipped: bool = False) -> Any:
    """Fit on whether it is warm (or, flipped, cold), and save."""
    frame = rows()
    late = (frame["temp"] > 40) ^ flipped
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    transform = ColumnTransformer([("codes", codes, ["carrier"])], remainder="passthrough")
    trees = HistGradientBoostingClassifier(max_iter=8, random_state=0)
    model = make_pipeline(transform, trees).fit(frame, late.astype(int))
    return save_model(model, folder, example=frame)


def served(folder: Path, version: int = 1, **options: Any) -> Served:
    loaded = load_model(folder)
    example = pq.read_table(folder / EXAMPLE_FILE)
    facts = {"name": "flights", "version": version, "run": "a" * 32, "key": version, "time_column": "time_hour"}
    return make_served(loaded, example=example, **{**facts, **options})


@contextmanager
def running(
    model: Served | list[Slot],
    *,
    limits: Limits | None = None,
    token: str | None = None,
    clock: Clock | None = None,
    host: str = "127.0.0.1",
    source: Source | None = None,
    follow: bool = True,
    lane: LaneLimits | None = None,
    beside: Callable[[Application], list[Companion]] = lambda _: [],
    **options: Any,
) -> Iterator[httpx.Client]:
    """A real server in a thread, and a client of it. Leaving ends the server the way SIGTERM does."""
    limits = limits or Limits(last_s=0.0)  # a test's client sends no more
    if isinstance(model, Served):
        slot = Slot("flights@production", model.name, served=model, source=source, follows=follow, limits=lane)
    app = Application(
        [slot] if isinstance(model, Served) else model,
        clock=clock or SystemClock(),
        guard=Guard(host, token),
        limits=limits,
        locked=bool(token),
        **options,
    )
    app.beside += beside(app)
    listener = bind(host, 0)
    ready = threading.Event()
    server = Server(app, limits=limits, ready=ready.set, ending=app.status.drain)
    app.metrics.unread = server.watch.refused
    thread = threading.Thread(target=server.serve_on, args=(listener,))
    address = url_of(listener)
    thread.start()
    try:
        assert ready.wait(30)
        with httpx.Client(base_url=address, timeout=30, trust_env=False) as client:
            client.app = app  # type: ignore[attr-defined]
            client.server = server  # type: ignore[attr-defined]
            yield client
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()
    assert not thread.is_alive()


def eventually(holds: Callable[[], Any]) -> None:
    """Wait until it holds, half a minute at the most."""
    for _ in range(3000):
        if holds():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it never came to hold")


def register(workspace: Workspace, folder: Path) -> Version:
    """Make the model in `folder` the next version, as `mlo register` does."""
    entry = record(workspace.store, workspace.index, folder)
    facts = Version(
        name="flights",
        version=0,
        run="a" * 32,
        model=entry,
        files=hash_files(folder),
        signature=read_manifest(folder).signature,
    )
    return workspace.registry.add_version(facts)[0]


def promote(workspace: Workspace, version: int) -> None:
    workspace.registry.record("promote", f"flights@{version}", {"alias": "production"})


def project(root: Path, folders: tuple[Path, Path], *, more: str = "") -> Workspace:
    """A project with flights@1 in production and flights@2, which answers the opposite."""
    root.mkdir(exist_ok=True)
    (root / "mlo.yaml").write_text(f"name: flights\nmodel: {{name: flights, time: time_hour}}\n{more}")
    workspace = Workspace.find(root, {"MLO_ACTOR": "Ada <ada@example.org>"})
    for folder in folders:
        register(workspace, folder)
    promote(workspace, 1)
    return workspace


class Process:
    """`mlo serve` as a process of its own. `client` reaches it once it has said that it is ready."""

    def __init__(
        self, root: Path, *arguments: str, environ: dict[str, str] | None = None, through: Sequence[str] = ()
    ) -> None:
        command = [*through, sys.executable, "-m", "mlops_cli", "serve", *arguments, "--port", "0", "--json"]
        environment = {**os.environ, "MLO_ACTOR": "Ada", **(environ or {})}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, cwd=root, env=environment, stdout=pipe, stderr=pipe, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(self.process.communicate()[1])
        self.ready = json.loads(line)
        self.client = httpx.Client(base_url=self.ready["url"], timeout=30, trust_env=False)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal; the exit code and what stood on stderr."""
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=60)
        self.client.close()
        return self.process.returncode, err


@contextmanager
def serving(
    root: Path, *arguments: str, environ: dict[str, str] | None = None, through: Sequence[str] = ()
) -> Iterator[Process]:
    """`through`: a command that runs the server's, in its own place."""
    process = Process(root, *arguments, environ=environ, through=through)
    try:
        yield process
    finally:
        with process.process:  # closes its pipes
            process.process.kill()
        process.client.close()
