"""The ten steps, in order. Each asserts that it gave what it should; the event log is the witness."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from mlops_cli.core.events.protocol import Event
from mlops_cli.core.workflows.demo import layout
from mlops_cli.core.workflows.demo.shell import Narrator, Shell, demo_environment, require_git
from mlops_cli.core.workflows.demo.traffic import Asking, Client, Traffic, requests_of, send
from mlops_cli.core.workflows.workspace import Workspace

MODEL = "flights"
RATES = (0.04, 0.08, 0.16)  # of the sweep; the second is that of mlo.yaml
READY_S = 60.0
RELOAD_S = 10.0
LOGGED_S = 20.0
HOLDOUT = "data/holdout/2013-07.parquet"
APRIL = "data/holdout/2013-04.parquet"
PAGE = "drift.html"
SILENT = ("distance", "sched_dep_time")


class StepTime(msgspec.Struct, frozen=True):
    number: int
    title: str
    seconds: float


class DemoVersion(msgspec.Struct, frozen=True):
    """A version and its AUC on its own test rows, and on July's flights."""

    title: str
    run: str
    auc_test: float
    auc_july: float


class DemoPoint(msgspec.Struct, frozen=True):
    """A point of the sweep; `restored` says that its stages had been run before."""

    run: str
    learning_rate: float
    auc: float
    restored: bool


class DemoDrift(msgspec.Struct, frozen=True):
    """What the check of April's window said; `alarms` worst first."""

    verdict: str
    rows: int
    alarms: list[str]
    silent: list[str]


class DemoResult(msgspec.Struct, frozen=True, kw_only=True):
    """What the demo did. The gain is in AUC on July, with its one-sided 97.5% lower bound; `reload_s` the longest
    time from a command that moved the alias to the first answer of the version it moved to; `swapped` the requests
    that were answered while the alias moved back and forth, all of them without an error."""

    folder: str
    seconds: float
    steps: list[StepTime]
    sweep: list[DemoPoint]
    versions: list[DemoVersion]
    production: str
    drift: DemoDrift
    gain: float
    gain_lower: float
    test: str
    requests: Traffic
    reload_s: float
    swapped: int
    events: int


def play_demo(folder: Path, environ: Mapping[str, str], *, narrator: Narrator) -> DemoResult:
    """Play all ten steps in `folder`. Raises WouldOverwrite if it is not empty, DemoFailed if a step goes wrong."""
    require_git()
    layout.lay_out(folder)
    shell = Shell(folder, demo_environment(environ), narrator)
    with shell.session():
        return _Play(shell, folder).play()


class _Play:
    def __init__(self, shell: Shell, folder: Path) -> None:
        self.shell = shell
        self.folder = folder
        self.times: list[StepTime] = []
        self.url = ""
        self.traffic: Traffic | None = None
        self.reload_s = 0.0
        self.swapped = 0
        self.points: list[DemoPoint] = []

    def play(self) -> DemoResult:
        begun = time.monotonic()
        steps: list[tuple[str, str, Callable[[], None]]] = [
            (
                "Version the data",
                "1 April 2013. Three months of flights; will the next one be late?",
                self.version_data,
            ),
            (
                "Run the pipeline",
                "prepare, check, train, evaluate; then other learning rates, two at once, each in a copy of its own.",
                self.run,
            ),
            ("Register the model", "The run's model becomes a version that nothing can change.", self.register),
            ("Promote it", "The alias moves only if the gates in mlo.yaml hold.", self.promote),
            ("Serve it", "30 April. April's 4,000 flights come in over HTTP, and are logged.", self.serve),
            ("Look for drift", "1 May. Does the model still see what it was trained on?", self.look_for_drift),
            ("Retrain", "1 August. April to June are in, and July is labelled: train, compare, promote.", self.retrain),
            ("Keep serving", "The server follows the alias; nobody restarted it.", self.keep_serving),
            ("Ask why", "From the alias back to the data and the commit.", self.ask_why),
            ("Roll back, and forward again", "Both versions are still there, to the byte.", self.roll),
        ]
        self.prepare_folder()
        for number, (title, text, act) in enumerate(steps, 1):
            self.shell.doing = f"step {number} ({title.lower()})"
            self.shell.narrator.step(number, len(steps), title, text)
            started = time.monotonic()
            act()
            self.times.append(StepTime(number, title, round(time.monotonic() - started, 2)))
        return self.result(round(time.monotonic() - begun, 1))

    # -- the steps -----------------------------------------------------------------------------------------

    def prepare_folder(self) -> None:
        self.shell.doing = "laying out the folder"
        self.shell.git("init", "-q", ".", shown=False)
        self.shell.git("config", "user.name", "mlo demo", shown=False)
        self.shell.git("config", "user.email", "demo@mlo.invalid", shown=False)
        self.shell.git("add", ".", shown=False)
        self.shell.git("commit", "-q", "-m", "Lay out the project", shown=False)

    def version_data(self) -> None:
        self.shell.environ["MLO_NOW"] = f"@{layout.CLOCK}"
        self.shell.show(
            f"mkdir -p .mlo && export MLO_NOW=@{layout.CLOCK}   # the demo replays 2013; leave it out at work"
        )
        self.set_clock("2013-04-01T06:00:00Z")
        self.add_months(range(1, 4))
        self.shell.mlo("data", "add", "data/raw")
        self.commit("January to March")
        if "data/raw" not in self.workspace().read_lock().data:
            raise self.shell.fail("data/raw is not in mlo.lock")

    def run(self) -> None:
        self.shell.mlo("run")
        self.commit("First model")
        latest = self.workspace().runs.latest()
        if not latest.metrics.get("auc", 0) >= 0.65:
            raise self.shell.fail(f"the run has an auc of {latest.metrics.get('auc')}, which should be 0.70")
        self.shell.mlo("run", "-P", f"learning_rate={','.join(map(str, RATES))}", "--sweep", "-j", "2")
        self.points = self.swept()
        # What all points share is not run again, and the point that mlo.yaml names not at all.
        if [point.restored for point in self.points] != [rate == latest.params["learning_rate"] for rate in RATES]:
            raise self.shell.fail(f"the sweep should have run what is new, and that alone: {self.points}")

    def register(self) -> None:
        self.shell.mlo("register")
        self.one("register", f"{MODEL}@1")

    def promote(self) -> None:
        self.shell.mlo("promote", f"{MODEL}@1", "production")
        self.one("promote", f"{MODEL}@1")

    def serve(self) -> None:
        self.set_clock("2013-04-30T12:00:00Z")
        output = self.folder / ".mlo" / "serve.log"
        self.shell.background("serve", f"{MODEL}@production", "--port", "0", "--json", output=output)
        ready = self.shell.wait_for("the server to be ready", READY_S, lambda: _ready_line(output))
        self.shell.narrator.answered(json.dumps(ready))
        self.url = ready["url"]
        flights = requests_of(self.folder / "months" / "2013-04.parquet")
        self.shell.show(f"curl -s {self.url}/predict --json '{json.dumps(flights[0])}'")
        with self.client() as client:
            self.shell.narrator.answered(json.dumps(client.post("/predict", flights[0])))
            self.traffic = send(client, flights[1:])
        sent = self.traffic
        self.shell.narrator.answered(
            f"... and {sent.rows:,} more: {sent.single_requests} single requests and {sent.batch_requests} batches "
            f"in {sent.seconds} s"
        )
        self.shell.wait_for("the prediction log", LOGGED_S, lambda: self.logged_rows() == len(flights))

    def look_for_drift(self) -> None:
        self.set_clock("2013-05-01T06:00:00Z")
        self.shell.mlo("drift", "check", expect=3)
        data = self.one("drift", f"{MODEL}@1").data
        inputs = self.drifting(data)
        expected = inputs[:1] == ["temp"] and "dewp" in inputs and not set(inputs) & set(SILENT)
        if data["verdict"] != "drift" or not expected:
            raise self.shell.fail(f"temp should come first and {' and '.join(SILENT)} stay silent, not {inputs}")
        self.draw_april()

    def draw_april(self) -> None:
        """A page of April by the flights' own time, week by week: all of them were sent to the server on one day."""
        self.shell.python("prepare.py", "--holdout", "months/2013-04.parquet", APRIL)
        self.shell.mlo("drift", "report", "--current", APRIL, "--window", "7d", "-o", PAGE)
        if not (self.folder / PAGE).is_file():
            raise self.shell.fail(f"{PAGE} was not written")

    def retrain(self) -> None:
        self.set_clock("2013-08-01T06:00:00Z")
        self.add_months(range(4, 7))
        self.shell.mlo("data", "add", "data/raw")
        self.commit("April to June")
        self.shell.python("prepare.py", "--holdout", "months/2013-07.parquet", HOLDOUT)
        self.shell.mlo("retrain", "--holdout", HOLDOUT)
        self.commit("Second model")
        data = self.one("retrain", f"{MODEL}@2").data
        scores = data["scores"]
        if data["decision"] != "promoted" or not scores["challenger"] > max(scores["champion"], 0.7):
            raise self.shell.fail(f"the challenger should win: {data['decision']}, {scores}")

    def keep_serving(self) -> None:
        self.follow(2)
        flight = requests_of(self.folder / "months" / "2013-07.parquet")[0]
        self.shell.show(f"curl -s {self.url}/predict --json '{json.dumps(flight)}'")
        with self.client() as client:
            answer = client.post("/predict", flight)
        self.shell.narrator.answered(json.dumps(answer))
        if answer["version"] != 2:
            raise self.shell.fail(f"version {answer['version']} answered, not version 2")

    def ask_why(self) -> None:
        lines = "\n".join(self.shell.mlo("why", f"{MODEL}@production"))
        version = self.workspace().registry.version(MODEL, 2)
        digest = version.inputs["data/raw"]
        wanted = (f"{MODEL}@2", str(version.commit)[:7], "data/raw", digest.partition(":")[2][:8])
        missing = [text for text in wanted if text not in lines]
        if missing:
            raise self.shell.fail(f"the chain does not name {', '.join(missing)}")

    def roll(self) -> None:
        flight = requests_of(self.folder / "months" / "2013-07.parquet")[0]
        with Asking(self.url, flight) as asking:
            self.shell.mlo("rollback", MODEL)
            back_s = self.follow(1)
            self.shell.mlo("promote", f"{MODEL}@2")
            self.reload_s = max(back_s, self.follow(2))
        answered = asking.answers
        self.swapped = answered.total()
        self.shell.narrator.answered(
            f"... and {answered.total():,} requests meanwhile: version 1 answered {answered[1]:,}, version 2 "
            f"{answered[2]:,}, and none failed"
        )
        if asking.failures or set(answered) != {1, 2}:
            raise self.shell.fail(f"both versions should have answered and none failed: {asking.failures[:3]}")

    # -- shared --------------------------------------------------------------------------------------------

    def set_clock(self, now: str) -> None:
        self.shell.show(f"echo {now} > {layout.CLOCK}")
        layout.set_clock(self.folder, now)

    def add_months(self, months: range) -> None:
        self.shell.show(f"mkdir -p data/raw && cp months/2013-0[{''.join(map(str, months))}].parquet data/raw/")
        layout.add_months(self.folder, months)

    def commit(self, message: str) -> None:
        self.shell.git("add", ".")
        self.shell.git("commit", "-q", "-m", message)

    def swept(self) -> list[DemoPoint]:
        """The points of the last sweep, in the order of the learning rates."""
        runs = self.workspace().runs
        parent = next(run for run in runs.list() if "mlo.sweep" in run.tags)
        points = [
            DemoPoint(
                run.id,
                run.overrides["learning_rate"],
                round(run.metrics.get("auc", 0.0), 4),
                all(stage.status == "restored" for stage in run.stages),
            )
            for run in runs.list(parent=parent.id)
        ]
        return sorted(points, key=lambda point: point.learning_rate)

    def workspace(self) -> Workspace:
        """The project as it stands now, opened anew: other processes write it."""
        return Workspace.find(self.folder, self.shell.environ | {"MLO_NOW": f"@{self.folder / layout.CLOCK}"})

    def one(self, kind: str, subject: str) -> Event:
        """The last event of a kind, which must be about `subject`."""
        events = [event for event in self.workspace().registry.history() if event.kind == kind]
        if not events or events[-1].subject != subject:
            raise self.shell.fail(f"the event log has no {kind} of {subject}")
        return events[-1]

    def drifting(self, data: Mapping[str, Any]) -> list[str]:
        """The alarmed inputs, worst first; the prediction's own alarm is not a column."""
        inputs = {column.name for column in self.workspace().registry.version(MODEL, 1).signature.inputs}
        return [name for name in data["alarms"] if name in inputs]

    def logged_rows(self) -> int:
        from mlops_cli.core.predictions.reader import read_log

        since, until = datetime(2013, 4, 30, tzinfo=UTC), datetime(2013, 5, 1, tzinfo=UTC)
        return sum(table.num_rows for table in read_log(self.folder / ".mlo" / "predictions", since=since, until=until))

    def client(self) -> _Closing:
        return _Closing(self.shell, self.url)

    def follow(self, version: int) -> float:
        """Wait until the server answers with `version`; how long that took, in seconds."""
        begun = time.monotonic()
        self.shell.show(f"curl -s {self.url}/version")
        with self.client() as client:

            def look() -> Any:
                answer = client.get("/version")
                return answer if answer["version"] == version else None

            answer = self.shell.wait_for(f"the server to answer with version {version}", RELOAD_S, look)
        self.shell.narrator.answered(json.dumps(answer))
        return round(time.monotonic() - begun, 2)

    def result(self, seconds: float) -> DemoResult:
        registry = self.workspace().registry
        events = registry.history()
        drift = next(event for event in events if event.kind == "drift").data
        retrain = next(event for event in events if event.kind == "retrain").data
        gain = retrain["answer"]["comparison"]
        july = (gain["champion"], gain["challenger"])
        versions = [
            DemoVersion(version.title, version.run, round(version.scores["auc"] or 0.0, 4), round(auc, 4))
            for version, auc in zip(registry.versions(MODEL), july, strict=True)
        ]
        assert self.traffic is not None  # noqa: S101 - step 5 is behind us
        alarms = self.drifting(drift)
        return DemoResult(
            folder=str(self.folder),
            seconds=seconds,
            steps=self.times,
            sweep=self.points,
            versions=versions,
            production=f"{MODEL}@{registry.alias(MODEL, 'production')}",
            drift=DemoDrift(drift["verdict"], drift["rows"], alarms, [name for name in SILENT if name not in alarms]),
            gain=round(gain["gain"], 4),
            gain_lower=round(gain["lower"], 4),
            test=gain["method"],
            requests=msgspec.structs.replace(
                self.traffic, rows=self.traffic.rows + 1, single_requests=self.traffic.single_requests + 1
            ),
            reload_s=self.reload_s,
            swapped=self.swapped,
            events=len(events),
        )


class _Closing:
    """A client for the length of a `with`; what goes wrong inside is the step's error."""

    def __init__(self, shell: Shell, url: str) -> None:
        self._shell = shell
        self._client = Client(url)

    def __enter__(self) -> Client:
        return self._client

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._client.close()
        if isinstance(error, OSError | ValueError | KeyError):
            raise self._shell.fail(f"the server did not answer as it should: {error}") from error


def _ready_line(output: Path) -> dict[str, Any] | None:
    """The server's ready line, once all of it is written; its log may stand around it."""
    for line in output.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        if line.startswith("{") and line.endswith("\n"):
            ready: dict[str, Any] = json.loads(line)
            return ready
    return None
