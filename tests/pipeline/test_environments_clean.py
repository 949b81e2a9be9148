"""Environments in a cache: counted, left alone by fsck, removed when nobody used them for long."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from environments_kit import made, opened, program

from mlops_cli.core.pipeline.environments_kept import remove, unused

Mlo = Callable[..., Any]
DAY_S = 86_400.0
FILE = "environment.yml"
# Makes a prefix as micromamba does: cheap, and as much an environment as any other.
MICROMAMBA = f"""
while [ $# -gt 0 ]; do [ "$1" != --prefix ] || prefix=$2; shift; done
mkdir -p "$prefix/bin"; ln -s {sys.executable} "$prefix/bin/python"; printf 0123456789 > "$prefix/ten"
"""


@pytest.fixture
def shell(here: Path, tmp_path: Path) -> dict[str, str]:
    (here / "mlo.yaml").write_text("name: x\n")
    subprocess.run(["git", "init", "-q"], check=True)
    (here / FILE).write_text("dependencies: []\n")
    program(tmp_path / "bin/micromamba", MICROMAMBA)
    return {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}


def age(here: Path, days: float) -> None:
    """Let everything about its environments be that old."""
    then = time.time() - days * DAY_S
    for path in (here / ".mlo/cache/envs").glob("*/*"):
        os.utime(path, (then, then), follow_symlinks=False)


def test_one_that_nobody_used_for_a_month_goes_when_that_is_asked_for(
    here: Path, shell: dict[str, str], mlo: Mlo
) -> None:
    opened(here, shell, conda=FILE).close()
    assert mlo("data", "gc", "--json").json["environments"] == 0
    age(here, 29)
    assert mlo("data", "gc", "--json").json["environments"] == 0
    age(here, 31)
    foreseen = mlo("data", "gc", "--json").json
    assert (foreseen["environments"], foreseen["deleted"]) == (1, False)
    assert foreseen["environment_bytes"] >= 10
    assert foreseen["freed"] >= foreseen["environment_bytes"]
    assert "would delete 1 environment of stages that nobody used for 30 days" in mlo("data", "gc").stdout
    assert len(made(here)) == 1
    done = mlo("data", "gc", "--yes", "--json").json
    assert (done["environments"], done["environment_bytes"]) == (1, foreseen["environment_bytes"])
    assert list((here / ".mlo/cache/envs").iterdir()) == []
    assert mlo("data", "gc").stdout.startswith("nothing to delete")
    opened(here, shell, conda=FILE).close()
    assert len(made(here)) == 1


def test_using_it_counts_and_so_does_a_stage_that_runs_in_it(here: Path, shell: dict[str, str], mlo: Mlo) -> None:
    opened(here, shell, conda=FILE).close()
    age(here, 31)
    running = opened(here, shell, conda=FILE)
    assert mlo("data", "gc", "--json").json["environments"] == 0
    age(here, 31)  # it runs for a month, or somebody set the clock
    assert mlo("data", "gc", "--yes", "--json").json["environments"] == 0
    assert len(made(here)) == 1
    cache = here / ".mlo/cache"
    assert not remove(cache, made(here)[0].parent.name, time.time())
    running.close()
    assert mlo("data", "gc", "--yes", "--json").json["environments"] == 1


def test_a_half_built_one_goes_after_a_day(here: Path, shell: dict[str, str], mlo: Mlo) -> None:
    opened(here, shell, conda=FILE).close()
    next((here / ".mlo/cache/envs").glob("*/ready.json")).unlink()
    assert unused(here / ".mlo/cache", time.time()) == []
    age(here, 2)
    assert mlo("data", "gc", "--yes", "--json").json["environments"] == 1


def test_what_a_killed_cleaning_left_goes(here: Path, shell: dict[str, str], mlo: Mlo) -> None:
    opened(here, shell, conda=FILE).close()
    folder = made(here)[0].parent
    folder.rename(folder.with_name(f".gone-{folder.name}-0"))
    assert mlo("data", "gc", "--yes", "--json").json["environments"] == 1
    assert list((here / ".mlo/cache/envs").iterdir()) == []


def test_bytes_are_counted_and_fsck_has_nothing_to_say(here: Path, shell: dict[str, str], mlo: Mlo) -> None:
    (here / "data").write_text("x")
    mlo("data", "add", "data")
    opened(here, shell, conda=FILE).close()
    (here / ".mlo/cache/running").mkdir()
    (here / ".mlo/cache/running" / ("0" * 64)).write_text("held")
    envs = [path for path in (here / ".mlo/cache/envs").rglob("*") if path.is_symlink() or path.is_file()]
    use = mlo("data", "du", "--json").json["cache"]
    assert use["environments"] == 1
    assert use["environment_bytes"] == sum(path.lstat().st_size for path in envs)
    assert "1 environment (" in mlo("data", "du").stdout
    assert mlo("data", "fsck", "--json").json["bad"] == []
    assert mlo("data", "fsck", "--repair", "--json").json["leftovers"] == 0
    assert len(made(here)) == 1


@pytest.fixture
def running(here: Path, shell: dict[str, str]) -> Iterator[Path]:
    folder = here / ".mlo/cache/running"
    folder.mkdir(parents=True)
    for name in ("stale", "young", "held"):
        (folder / name).write_text(json.dumps({"pid": 1}))
    then = time.time() - 2 * DAY_S
    for name in ("stale", "held"):
        os.utime(folder / name, (then, then))
    with (folder / "held").open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield folder


def test_locks_that_killed_runs_left_go(running: Path, mlo: Mlo) -> None:
    mlo("data", "gc")
    assert len(list(running.iterdir())) == 3
    mlo("data", "gc", "--yes")
    assert sorted(path.name for path in running.iterdir()) == ["held", "young"]
