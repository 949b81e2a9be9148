"""The command line as a whole: its table, its help, its exit codes, what it costs to start."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlops_cli.cli import main as main_module
from mlops_cli.cli.lazy import load_command
from mlops_cli.cli.main import main
from mlops_cli.cli.table import COMMANDS, Row
from mlops_cli.core.errors import Exit, MloError

HEAVY = {"rich", "pandas", "numpy", "git", "fastapi", "uvicorn", "sklearn", "scipy", "pyarrow", "skops", "fsspec"}


def loaded_after(*arguments: str, cwd: Path | None = None) -> set[str]:
    """The top-level modules in memory after one command line, in a process of its own."""
    code = (
        "import sys, json\n"
        "from mlops_cli.cli.main import main\n"
        f"main({list(arguments)!r})\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})), file=sys.stderr)"
    )
    # Coverage would bring modules of its own.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, check=True, env=environ
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


def leaves(command: Any, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        return [(path, command)]
    return [leaf for name, below in inner.items() for leaf in leaves(below, (*path, name))]


def test_help_imports_nothing_heavy() -> None:
    assert loaded_after("--help") & HEAVY == set()


def test_a_command_imports_only_what_it_needs(tmp_path: Path) -> None:
    assert loaded_after("init", cwd=tmp_path) & HEAVY == set()


def test_what_is_typed_all_day_imports_no_more_than_it_needs(tmp_path: Path) -> None:
    """Each of these costs more time than looking at ten thousand files."""
    loaded_after("init", cwd=tmp_path)
    for command in ("status", "checkout", "list"):
        found = loaded_after("data", command, cwd=tmp_path)
        assert found & (HEAVY | {"pydantic", "git", "fsspec", "pathspec", "ruamel", "sqlite3"}) == set(), command


def test_help_lists_every_command_under_its_panel(mlo: Any) -> None:
    text = mlo("--help").stdout
    for row in COMMANDS:
        assert re.search(rf"^{re.escape(row.panel)}:$", text, re.MULTILINE)
        assert re.search(rf"^  {row.name} +{re.escape(row.summary.split()[0])}", text, re.MULTILINE)


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.name)
def test_the_table_says_what_the_command_says_of_itself(row: Row) -> None:
    assert (load_command(row).help or "").strip().splitlines()[0] == row.summary


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.name)
def test_every_command_has_help_with_examples_and_the_common_options(row: Row, mlo: Any) -> None:
    for path, command in leaves(load_command(row), (row.name,)):
        text = mlo(*path, "--help").stdout
        assert re.search(rf"^ +mlo {row.name}\b", text, re.MULTILINE), f"no example in {' '.join(path)} --help"
        names = [parameter.name for parameter in command.params]
        assert len(names) == len(set(names)), "a parameter bears the name of a common option"
        assert {"--json", "--quiet", "--debug", "--env", "-C"} <= {
            name for option in command.params for name in option.opts
        }


def test_help_fits_a_narrow_terminal_and_asks_no_parser(mlo: Any) -> None:
    assert max(map(len, mlo("--help").stdout.splitlines())) <= 80
    assert "typer" not in loaded_after("--help")


def test_alone_mlo_prints_its_help_and_answers_2(mlo: Any) -> None:
    answer = mlo(exit_code=2)
    assert answer.stdout == ""
    assert answer.stderr.startswith("Usage: mlo")


def test_a_mistyped_command_is_answered_with_the_nearest(mlo: Any) -> None:
    assert "Did you mean 'promote'" in mlo("promotee", exit_code=2).stderr


def test_an_error_is_an_object_under_json(mlo: Any, here: Path) -> None:
    answer = mlo("status", "--json", exit_code=5)
    assert answer.stdout == ""
    error = json.loads(answer.stderr)
    assert set(error) == {"type", "code", "exit_code", "message", "hint"}
    assert error["exit_code"] == 5
    assert "mlo init" in error["hint"]


def test_a_wrong_option_is_usage(mlo: Any) -> None:
    assert json.loads(mlo("init", "--nonsense", "--json", exit_code=2).stderr)["code"] == "usage"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MloError("m"), Exit.BUG),
        (ZeroDivisionError("0"), Exit.BUG),
        (KeyboardInterrupt(), Exit.INTERRUPTED),
        (OSError(28, "No space left on device"), Exit.MACHINE),
        (PermissionError(13, "Permission denied", "/x"), Exit.MACHINE),
    ],
)
def test_whatever_happens_has_its_exit_code_and_no_traceback(
    mlo: Any, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: Exit
) -> None:
    def fail(*_: object) -> int:
        raise error

    monkeypatch.setattr(main_module, "_run", fail)
    answer = mlo("init", exit_code=int(code))
    assert "Traceback" not in answer.stderr
    assert answer.stderr


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(main_module, "_run", fail)
    with pytest.raises(MloError) as caught:
        main(["init", "--debug"])
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_reader_that_goes_away_ends_mlo_quietly(tmp_path: Path) -> None:
    command = f"{sys.executable} -m mlops_cli --help | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert "Traceback" not in done.stderr
    assert done.stdout.splitlines()[0].startswith("Usage")


def test_the_readme_lists_the_exit_codes_of_the_enum() -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text()
    rows = dict(re.findall(r"^\| (\d+) \| ([^|]+?) \|$", text, re.MULTILINE))
    assert sorted(map(int, rows)) == sorted(map(int, Exit))


@pytest.mark.parametrize("words", [("--help",), ("drift", "check", "--help"), ("runs", "list")])
def test_a_reader_that_went_away_ends_every_command_as_a_shell_expects(words: tuple[str, ...], here: Path) -> None:
    (here / "mlo.yaml").write_text("name: x\n")
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = subprocess.run([sys.executable, "-m", "mlops_cli", *words], stdout=writer, cwd=here, check=False)
    finally:
        os.close(writer)
    assert ended.returncode == 141
