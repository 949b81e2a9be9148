"""How `mlo demo` tells its story."""

from __future__ import annotations

import os
import shlex
import sys
import textwrap
from pathlib import Path

from mlops_cli.cli.output import Output
from mlops_cli.core.workflows.demo.play import DemoResult

WIDTH = 118


class Narration:
    """Prints each step, command and answer as it happens, also into a pipe; nothing under --json or --quiet."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._silent = output.as_json or output.quiet

    def step(self, number: int, of: int, title: str, text: str) -> None:
        self._say()
        self._say(f"{number}/{of}  {title}", style="bold")
        self._say(f"      {text}", style="dim")

    def typed(self, command: str) -> None:
        shown = command if len(command) <= WIDTH else textwrap.shorten(command, WIDTH, placeholder=" ...")
        self._say(f"$ {shown}", style="cyan")

    def answered(self, line: str) -> None:
        self._say(f"  {line}" if line else "")

    def _say(self, text: str = "", *, style: str | None = None) -> None:
        if not self._silent:
            self._output.line(text, style=style)
            sys.stdout.flush()


def show_demo(result: DemoResult, output: Output) -> None:
    drift, requests = result.drift, result.requests
    output.line()
    output.line(f"Done in {result.seconds:.0f} s", style="bold green")
    output.line()
    output.table(
        ("version", "auc, own test rows", "auc, July", ""),
        [
            (version.title, f"{version.auc_test:.3f}", f"{version.auc_july:.3f}", _serving(version.title, result))
            for version in result.versions
        ],
        right=("auc, own test rows", "auc, July"),
    )
    output.line()
    output.line(f"learning rates {_rates(result)} (auc of step 2's sweep)")
    output.line(
        f"gain on July   {result.gain:+.4f}, at least {result.gain_lower:+.4f} ({result.test}, one-sided 97.5%)"
    )
    output.line(f"drift in April {', '.join(drift.alarms)}; silent: {', '.join(drift.silent)}")
    output.line(
        f"requests       {requests.rows:,} flights in {requests.single_requests} single requests and "
        f"{requests.batch_requests} batches, {requests.seconds} s"
    )
    output.line(
        f"hot reload     a moved alias answered within {result.reload_s:.1f} s, "
        f"and {result.swapped:,} requests meanwhile without an error"
    )
    slowest = sorted(result.steps, key=lambda step: -step.seconds)[:3]
    output.line(
        "slowest steps  " + ", ".join(f"{step.number} {step.title.lower()} {step.seconds:.1f} s" for step in slowest)
    )
    _show_next(result, output)


def _rates(result: DemoResult) -> str:
    return ", ".join(f"{point.learning_rate:g}: {point.auc:.3f}" for point in result.sweep)


def _serving(title: str, result: DemoResult) -> str:
    return "production" if title == result.production else ""


def _show_next(result: DemoResult, output: Output) -> None:
    folder = Path(result.folder)
    shown = os.path.relpath(folder)
    shown = str(folder) if shown.startswith("..") else shown
    output.line()
    output.line("What to try next (the server is stopped; the folder is yours)", style="bold")
    for command, remark in (
        (f"cd {shlex.quote(shown)}", ""),
        ("mlo status", "where things stand"),
        (f"mlo runs compare {' '.join(version.run[:8] for version in result.versions)}", "the two runs side by side"),
        ("mlo runs list --sort auc", "every run, the best first"),
        (f"mlo runs apply {result.sweep[0].run[:8]}", "the outputs of a point of the sweep, in the work tree"),
        ("mlo run -P learning_rate=0.05", "another value, without touching mlo.lock"),
        ("mlo why train", "why a stage would run"),
        ("mlo serve flights@production", "and open http://127.0.0.1:8080/docs"),
        ("MLO_NOW=2013-05-01T06:00:00Z mlo drift check flights@1", "the check of step 6 again"),
        ("mlo audit", "verify the chain of every event"),
    ):
        output.line(f"  {command:<56}{'# ' + remark if remark else ''}".rstrip())
