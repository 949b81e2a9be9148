"""One process and its group: output, exit codes, timeouts, and nobody left behind."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from mlops_cli.core.errors import StageFailed
from mlops_cli.core.pipeline.environment import command_path, stage_environment
from mlops_cli.core.pipeline.process import Exited, end_marked, marked, run_process, tail

MARK = {"MLO_RUN_ID": f"test-{os.getpid()}"}


def start(tmp_path: Path, command: str | list[str], **options: object) -> Exited:
    environ = {"PATH": os.environ["PATH"], **MARK, "MLO_STAGE": tmp_path.name}
    return run_process(command, folder=tmp_path, environ=environ, log=tmp_path / "log", **options)  # type: ignore[arg-type]


def left(tmp_path: Path) -> list[int]:
    return marked({**MARK, "MLO_STAGE": tmp_path.name})


def test_output_and_errors_go_to_the_log_and_to_who_listens(tmp_path: Path) -> None:
    heard: list[bytes] = []
    assert start(tmp_path, "echo out; echo err >&2", echo=heard.append).code == 0
    assert (tmp_path / "log").read_bytes() == b"out\nerr\n" == b"".join(heard)


def test_a_list_is_run_without_a_shell(tmp_path: Path) -> None:
    start(tmp_path, ["printf", "%s", "$HOME && *"])
    assert (tmp_path / "log").read_bytes() == b"$HOME && *"


def test_the_exit_code_is_the_shells(tmp_path: Path) -> None:
    assert start(tmp_path, "exit 7").code == 7
    assert start(tmp_path, "kill -9 $$").code == 137


def test_a_command_that_cannot_start_says_so(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="no-such-program"):
        start(tmp_path, ["no-such-program"])
    with pytest.raises(StageFailed, match="null"):
        start(tmp_path, ["a\0b"])


def test_more_than_the_system_lets_pass_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="larger") as caught:
        start(tmp_path, ["true", *["x" * 100_000] * 100])
    assert "params" in (caught.value.hint or "")


def test_a_stage_reads_nothing_from_the_terminal(tmp_path: Path) -> None:
    assert start(tmp_path, "cat").code == 0


def test_large_output_does_not_block(tmp_path: Path) -> None:
    assert start(tmp_path, "head -c 3000000 /dev/zero").code == 0
    assert (tmp_path / "log").stat().st_size == 3_000_000


def test_a_listener_that_goes_away_does_not_stop_the_stage(tmp_path: Path) -> None:
    def closed(_: bytes) -> None:
        raise BrokenPipeError

    assert start(tmp_path, "head -c 300000 /dev/zero; echo done", echo=closed).code == 0


def test_background_processes_end_with_the_stage(tmp_path: Path) -> None:
    assert start(tmp_path, "sleep 1000 & echo started").code == 0
    assert left(tmp_path) == []


def test_a_timeout_ends_the_whole_group(tmp_path: Path) -> None:
    exited = start(tmp_path, "(sleep 1000; echo never) & sleep 1000", timeout_s=0.05)
    assert exited.timed_out
    assert exited.code != 0
    assert left(tmp_path) == []


def test_who_ignores_the_first_signal_gets_the_second(tmp_path: Path) -> None:
    exited = start(tmp_path, "trap '' TERM; while :; do sleep 1000; done", timeout_s=0.05, grace_s=0.1)
    assert exited == Exited(137, timed_out=True, seconds=exited.seconds)
    assert left(tmp_path) == []


def test_who_left_the_group_is_found_by_its_environment(tmp_path: Path) -> None:
    start(
        tmp_path,
        "setsid sh -c 'echo > ready; sleep 1000' < /dev/null > /dev/null 2>&1 & while ! [ -e ready ]; do :; done",
    )
    assert left(tmp_path)
    assert end_marked({**MARK, "MLO_STAGE": tmp_path.name}, grace_s=5) >= 1
    assert left(tmp_path) == []


def test_an_interrupt_ends_the_group_and_goes_on_up(tmp_path: Path) -> None:
    (tmp_path / "fifo").unlink(missing_ok=True)
    os.mkfifo(tmp_path / "fifo")

    def interrupt() -> None:
        (tmp_path / "fifo").read_bytes()
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path, "sleep 1000 & echo ready > fifo; wait")
    thread.join()
    assert left(tmp_path) == []


def test_the_tail_is_what_one_saw_last(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert tail(log) == ""
    log.write_bytes(b"".join(b"line %d\n" % n for n in range(100)) + b"10%\r50%\r100%\n\xff\n")
    assert tail(log, 3) == "line 99\n100%\n\ufffd"


def test_a_stage_sees_the_usual_variables_and_those_it_names(tmp_path: Path) -> None:
    environ = {"HOME": "/h", "LC_ALL": "C", "SECRET": "s", "TOKEN": "t", "OMP_NUM_THREADS": "2", "PATH": "/bin"}
    seen = stage_environment(environ, ["TOKEN"], {"MLO_STAGE": "x"}, python=tmp_path / "bin" / "python")
    assert {"HOME": "/h", "LC_ALL": "C", "TOKEN": "t", "OMP_NUM_THREADS": "2", "MLO_STAGE": "x"}.items() <= seen.items()
    assert "SECRET" not in seen


def test_the_virtual_environment_of_mlo_gives_the_python(tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    assert command_path({"PATH": "/bin"}, python, in_virtual=True) == f"{python.parent}:/bin"
    mine = {"PATH": "/bin", "VIRTUAL_ENV": str(tmp_path / "venv")}
    assert command_path(mine, python, in_virtual=True) == f"{python.parent}:/bin"


def test_an_environment_that_was_activated_by_hand_keeps_its_python(tmp_path: Path) -> None:
    chosen = tmp_path / "other" / "bin"
    chosen.mkdir(parents=True)
    (chosen / "python").write_text("#!/bin/sh\n")
    (chosen / "python").chmod(0o755)
    active = {"PATH": str(chosen), "VIRTUAL_ENV": str(chosen.parent)}
    assert command_path(active, tmp_path / "venv" / "bin" / "python", in_virtual=True) == str(chosen)


def test_without_any_python_on_the_path_mlos_own_comes_last(tmp_path: Path) -> None:
    assert command_path({"PATH": str(tmp_path)}, tmp_path / "p" / "python", in_virtual=False).endswith(
        str(tmp_path / "p")
    )
