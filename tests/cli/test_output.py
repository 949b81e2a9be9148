"""What is printed where: tables on and off a terminal, bars that wait, words for numbers."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_cli.cli.output import Output, human_bytes, plural

TABLE = """
from mlops_cli.cli.output import Output
Output().table(
    ("run", "status", "note", "auc"),
    [("0123abcd", "finished", "a long remark that goes on and on and on and on, past every edge there is", 0.123456)],
    right=("auc",),
)
"""


def on_a_terminal(code: str, columns: int) -> str:
    """What a script prints to a terminal of that width."""
    leader, follower = pty.openpty()
    environ = {**os.environ, "COLUMNS": str(columns), "TERM": "dumb"}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=follower, stderr=follower, env=environ)
    os.close(follower)
    shown = b""
    try:
        while block := os.read(leader, 4096):
            shown += block
    except OSError:  # Linux says EIO when the last writer is gone
        pass
    process.wait()
    os.close(leader)
    return shown.decode()


def test_off_a_terminal_a_table_is_aligned_text_and_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    Output().table(("name", "size"), [("a", 5), ("x" * 300, None)], right=("size",))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["a", "5"]
    assert lines[2] == "x" * 300


def test_on_a_narrow_terminal_numbers_and_names_stay_whole() -> None:
    shown = on_a_terminal(TABLE, 60)
    assert "0123abcd" in shown
    assert "finished" in shown
    assert "0.123456" in shown
    assert "…" in shown
    assert "past every edge" not in shown


def test_markup_in_data_is_printed_as_it_is() -> None:
    assert "[red]x[/red]" in on_a_terminal(
        "from mlops_cli.cli.output import Output\nOutput().table(['a'], [['[red]x[/red]']])", 80
    )


def test_a_bar_is_drawn_only_for_work_that_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    output = Output()
    drawn: list[int] = []
    monkeypatch.setattr(output, "_draw", lambda *_: drawn.append(1))
    output.begin("reading", 10, "files")
    output.advance(3)
    assert drawn == []
    now[0] = 1.0
    output.advance(3)
    assert drawn == [1]
    output.end()


def test_nothing_is_drawn_off_a_terminal_or_when_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    for output in (Output(), Output(quiet=True), Output(as_json=True)):
        output.begin("reading", 10, "files")
        output.advance(10)
        output.end()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [
        (1, "file", "1 file"),
        (3, "file", "3 files"),
        (2, "entry", "2 entries"),
        (5, "day", "5 days"),
        (4862, "day", "4,862 days"),
    ],
)
def test_numbers_have_their_words(count: int, noun: str, text: str) -> None:
    assert plural(count, noun) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (5_200_000, "5.2 MB"), (2e12, "2.0 TB")]
)
def test_sizes_are_in_the_units_of_disks(size: float, text: str) -> None:
    assert human_bytes(size) == text


def test_the_common_options_may_stand_before_the_command(tmp_path: Path, mlo: object) -> None:
    (tmp_path / "mlo.yaml").write_text("name: there\n")
    answer = mlo("-C", tmp_path, "--json", "status")  # type: ignore[operator]
    assert answer.json["project"] == "there"
    assert mlo("status", "-h").stdout.startswith("Usage: mlo status")  # type: ignore[operator]
