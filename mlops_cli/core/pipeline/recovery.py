"""After a run died: end its processes, put half-written outputs aside, bring the previous ones back."""

from __future__ import annotations

import contextlib
import os
import shutil

from mlops_cli.core.base.files import FileLock
from mlops_cli.core.errors import Locked
from mlops_cli.core.pipeline.journal import DeadRun, Page, dead_runs
from mlops_cli.core.pipeline.process import end_marked
from mlops_cli.core.pipeline.stage import Surroundings, kept_log
from mlops_cli.core.pipeline.worktree import put_back


def begin(around: Surroundings) -> list[str]:
    """Mend what died, and count as alive from now on. Returns the ids of the runs that were mended."""
    with _alone(around).held():
        _clear_halves(around)
        mended = _mend(around)
        around.journal.open()
    return mended


def _clear_halves(around: Surroundings) -> None:
    """Remove what `write_atomic` leaves of mlo.lock and .gitignore when it is killed half-way.

    Not while anybody holds the project: it may be writing one right now, and the next run is soon enough.
    """
    root = around.paths.root
    found = [
        name for name in os.listdir(root) if name.startswith((".mlo.lock.", "..gitignore.")) and name[-4:] == ".tmp"
    ]
    if found:
        with contextlib.suppress(Locked), FileLock(around.paths.locks / "project", command="mlo run").held(wait=False):
            for name in found:
                (root / name).unlink(missing_ok=True)


def recover(around: Surroundings) -> list[str]:
    """Mend what other runs left that died since this one began.

    To be asked by who holds the paths of a stage, before it looks at them: another run may have died over them, and
    nobody else holds those paths now.
    """
    running = around.paths.running
    if not any(dead_runs(running)):
        return []
    with _alone(around).held():
        return _mend(around)


def _alone(around: Surroundings) -> FileLock:
    return FileLock(around.paths.locks / "recovery", command="mlo run")


def _mend(around: Surroundings) -> list[str]:
    mended = []
    for dead in dead_runs(around.paths.running):
        if not dead.was_idle:  # also where no page reads: a process of it may go on writing for hours
            end_marked({"MLO_RUN_ID": dead.run}, around.grace_s, around.stop)
        for page in dead.pages:
            _settle(page, dead.run, around)
        if dead.pages:
            mended.append(dead.run)
        _clear(dead, around)
    if mended:
        around.tree.forget()
    return mended


def _settle(page: Page, run: str, around: Surroundings) -> None:
    result = around.results.get(page.key)
    if result is not None and result.run == run:
        return  # it was accepted; only the page was still to go
    problems = put_back(around.tree, page.previous, around.paths.failed / run)
    back = "; ".join(problems) or "the outputs of before are back"
    around.progress.note(
        f"run {run[:8]} was killed while stage {page.stage} ran; what it left is in "
        f"{around.paths.relative(around.paths.failed / run)}, {back}"
    )


def _clear(dead: DeadRun, around: Surroundings) -> None:
    """What the stages printed is kept; the pages go last, for whoever is killed here has to mend again."""
    for log in sorted(dead.folder.glob("*.log")):
        around.paths.failed.mkdir(parents=True, exist_ok=True)
        shutil.move(log, kept_log(around.paths, dead.run, log.name.removesuffix(".log")))
    shutil.rmtree(dead.folder, ignore_errors=True)
    for file in dead.files:
        file.unlink(missing_ok=True)
