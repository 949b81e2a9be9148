"""A run as people watch it: a live table on a terminal, what stages print above it, plain lines elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command_line import Mlo
from terminal import play

from mlops_cli.core.project import yaml12

# Long enough for the table to come; a stage waits for what it waits for, never for luck.
LONG = "sleep 1.2"


def write_project(folder: Path, stages: dict[str, Any]) -> None:
    (folder / "mlo.yaml").write_text(yaml12.dump({"name": "kit", "stages": stages}))


def two(here: Path, more: str = "") -> None:
    write_project(
        here,
        {
            "left": {"cmd": f"echo one of left; {LONG}; echo two of left; {more} echo x > l", "outs": ["l"]},
            "right": {"cmd": f"printf '10%%\\r20%%\\r'; {LONG}; printf '30%%\\n'; echo x > r", "outs": ["r"]},
        },
    )


@pytest.mark.slow
def test_side_by_side_the_stages_print_above_a_table_that_goes(here: Path) -> None:
    two(here)
    played = play(here, "run", "-j", "2")
    assert played.exit_code == 0
    assert b"2 stages" in played.shown  # the table was there
    assert b"2 running" in played.shown
    left = played.left
    assert "left  | one of left" in left
    assert "left  | two of left" in left
    assert "right | 30%" in left
    assert not any("2 stages" in line for line in left)
    assert played.cursor_is_visible


@pytest.mark.slow
def test_one_at_a_time_bytes_pass_as_they_are_and_the_table_gives_way(here: Path) -> None:
    write_project(
        here,
        {
            "bar": {"cmd": "printf '10%%\\r20%%\\r30%%\\n'; echo x > b", "outs": ["b"]},
            "silent": {"cmd": f"{LONG}; echo x > s", "deps": ["b"], "outs": ["s"]},
        },
    )
    played = play(here, "run")
    assert b"10%\r20%\r30%\r\n" in played.shown
    assert b"1 ran, 1 running" in played.shown
    assert not any("2 stages" in line for line in played.left)


def test_a_short_run_draws_nothing(here: Path) -> None:
    write_project(here, {name: {"cmd": f"echo x > {name}", "outs": [name]} for name in ("a", "b")})
    shown = play(here, "run").shown
    assert b"2 stages" not in shown
    assert b"\x1b[1A" not in shown


@pytest.mark.slow
def test_a_failure_and_an_interrupt_leave_a_sane_terminal(here: Path) -> None:
    two(here, more="exit 3;")
    failed = play(here, "run", "-j", "2")
    assert failed.exit_code == 9
    assert any("stage left failed with exit code 3" in line for line in failed.left)
    assert not any("2 stages" in line for line in failed.left)
    write_project(here, {name: {"cmd": "sleep 60", "outs": [name]} for name in ("a", "b")})
    stopped = play(here, "run", "-j", "2", interrupt_at=b"2 running")
    assert stopped.exit_code == 130
    assert not any(line.startswith("2 stages") for line in stopped.left)
    assert any("interrupted: 0 of 2 stages are done and kept" in line for line in stopped.left)
    assert stopped.cursor_is_visible


@pytest.mark.slow
def test_of_many_stages_those_that_run_are_shown_and_the_rest_counted(here: Path) -> None:
    stages = {f"s{number}": {"cmd": f"echo x > s{number}.txt", "outs": [f"s{number}.txt"]} for number in range(198)}
    stages |= {f"wait{number}": {"cmd": f"{LONG}; echo > w{number}", "outs": [f"w{number}"]} for number in range(2)}
    write_project(here, stages)
    shown = play(here, "run", "-j", "2", rows=10).shown.decode()
    drawn = shown.split("198 ran, 2 running")[-2].splitlines()[-3:]
    assert ["wait0" in drawn[0], "wait1" in drawn[1], "200 stages" in drawn[2]] == [True, True, True]


@pytest.mark.slow
def test_what_a_stage_prints_cannot_move_the_cursor_into_the_table(here: Path) -> None:
    two(here, more="printf '\\033[5A\\033[31mred\\033[0m\\033]0;title\\007\\n';")
    played = play(here, "run", "-j", "2")
    assert b"\x1b[5A" not in played.shown
    assert b"title" not in played.shown
    assert any("red" in line for line in played.left)


def test_elsewhere_there_are_plain_lines(here: Path, mlo: Mlo) -> None:
    write_project(here, {name: {"cmd": f"echo x > {name}", "outs": [name]} for name in ("a", "b")})
    said = mlo("run", "-j", "2").stderr
    assert "a: running (it never ran)" in said
    assert "\x1b" not in said
    assert mlo("run", "--json", "--force").stderr.count("\x1b") == 0


def test_a_single_stage_prints_as_it_prints_even_if_more_might_run(here: Path, mlo: Mlo) -> None:
    write_project(here, {"only": {"cmd": "printf '1%%\\r2%%\\n'; echo x > o", "outs": ["o"]}})
    assert "1%\r2%\n" in mlo("run", "-j", "4").stderr
