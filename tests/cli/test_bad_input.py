"""Bad input of every kind: a clear error with its code and a hint, and nothing changed."""

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def standing(folder: Path) -> dict[str, bytes]:
    """Every file of the user's and of the store: what must not change. Locks, logs and indexes may."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink() and ".git/" not in str(path) and ".mlo" not in path.parts
    }


def error_of(answer: Any) -> Any:
    """The error's object; lines of news may stand before it."""
    return json.loads(answer.stderr[answer.stderr.index("{\n") :])


def refused(mlo: Any, folder: Path, line: str, exit_code: int, *words: str) -> None:
    """The command fails with that exit code and a hint, says all the words, and changes nothing."""
    before = standing(folder)
    events = mlo("audit", "--json", exit_code=None).stdout
    answer = mlo(*line.split(), "--json", exit_code=exit_code)
    error = error_of(answer)
    assert error["exit_code"] == exit_code
    assert error["hint"], error
    for word in words:
        assert word in error["message"] + error["hint"], error
    assert standing(folder) == before
    assert mlo("audit", "--json", exit_code=None).stdout == events


def edit(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1))


def no_project(folder: Path) -> None:
    (folder / "mlo.yaml").unlink()


def unknown_key(folder: Path) -> None:
    edit(folder, "mlo.yaml", "    outs: [model]", "    output: [model]")


def cycle(folder: Path) -> None:
    edit(folder, "mlo.yaml", "deps: [data/raw, prepare.py]", "deps: [data/raw, prepare.py, metrics.json]")


def shared_output(folder: Path) -> None:
    edit(folder, "mlo.yaml", "outs: [model]", "outs: [model, data/test.parquet]")


def missing_dependency(folder: Path) -> None:
    edit(folder, "mlo.yaml", "deps: [data/raw, prepare.py]", "deps: [data/raw, gone.py]")


def unknown_gate(folder: Path) -> None:
    edit(folder, "mlo.yaml", '"auc >= 0.6"', '"aucc >= 0.6"')


def broken_gate(folder: Path) -> None:
    edit(folder, "mlo.yaml", '"auc >= 0.6"', '"auc >= "')


def bad_window(folder: Path) -> None:
    edit(folder, "mlo.yaml", "drift: {persistence: 1/1}", "drift: {window: sometimes}")


def nothing(folder: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("break_it", "line", "exit_code", "words"),
    [
        (no_project, "run", 5, ["mlo.yaml", "mlo init"]),
        (unknown_key, "run", 5, ["mlo.yaml:13:5", "output", "did you mean outs?"]),
        (cycle, "run", 5, ["prepare", "train", "evaluate", "->"]),
        (shared_output, "run", 5, ["data/test.parquet", "prepare", "train"]),
        (missing_dependency, "run", 6, ["gone.py", "prepare"]),
        (broken_gate, "status", 5, ["mlo.yaml:"]),
        (bad_window, "run", 5, ["drift.window"]),
        (nothing, "run -P dept=4", 2, ["dept", "depth"]),
        (nothing, "run -P depth=deep", 2, ["depth", "deep"]),
        (nothing, "run trian", 6, ["trian", "train"]),
        (nothing, "data add gone.csv", 6, ["gone.csv"]),
        (nothing, "data add ../outside.csv", 2, ["outside"]),
        (nothing, "data add model", 5, ["model", "train"]),
        (nothing, "runs show ffffffff", 6, ["ffffffff"]),
        (nothing, "register ffffffff", 6, ["ffffffff"]),
        (nothing, "promote huge@1 production", 6, ["huge", "tiny"]),
        (nothing, "promote tiny@9 production", 6, ["9", "1"]),
        (nothing, "promote tiny@shadow production", 6, ["shadow", "production"]),
        (nothing, "promote tiny production", 2, ["tiny"]),
        (nothing, "rollback tiny", 6, ["production"]),
        (nothing, "why tiny@shadow", 6, ["shadow"]),
        (nothing, "why trian", 6, ["trian", "train"]),
        (nothing, "blame data/raw@xxh128:00000000000000000000000000000000", 6, ["data/raw"]),
        (nothing, "predict tiny@production gone.csv out.csv", 6, ["gone.csv"]),
        (nothing, "drift check tiny@shadow", 6, ["shadow"]),
        (nothing, "drift check", 4, ["2013", "predictions"]),
        (nothing, "drift check --current gone.parquet", 6, ["gone.parquet"]),
        (nothing, "retrain --holdout gone.parquet --force", 6, ["gone.parquet"]),
        (nothing, "push", 5, ["mlo remote add"]),
        (nothing, "remote check nowhere", 5, ["mlo remote add"]),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(
    trained: Path,
    mlo: Any,
    monkeypatch: pytest.MonkeyPatch,
    break_it: Callable[[Path], None],
    line: str,
    exit_code: int,
    words: list[str],
) -> None:
    monkeypatch.setenv("MLO_NOW", "2013-05-02T12:00:00Z")
    (trained.parent / "outside.csv").write_text("a\n1\n")
    break_it(trained)
    refused(mlo, trained, line, exit_code, *words)


def test_an_alias_without_gates_is_not_held_back_by_another_alias_s_gate(trained: Path, mlo: Any) -> None:
    unknown_gate(trained)
    mlo("promote", "tiny@1", "staging")
    assert mlo("models", "show", "tiny@staging", "--json").json["aliases"] == ["production", "staging"]


def test_a_gate_with_an_unknown_name_says_which_names_there_are(trained: Path, mlo: Any) -> None:
    mlo("run", "--force", "--quiet")
    mlo("run", "-P", "depth=2", "--quiet")
    mlo("register", "--quiet")
    edit(trained, "mlo.yaml", '"auc >= 0.6"', '"aucc >= 0.6"')
    refused(mlo, trained, "promote tiny@2 production", 5, "aucc", "auc")


def test_a_metric_that_is_no_number_fails_its_stage(trained: Path, mlo: Any) -> None:
    edit(trained, "evaluate.py", '{"auc": roc_auc_score(rows["late"], scores)}', '{"auc": "high"}')
    lock = (trained / "mlo.lock").read_bytes()
    metrics = (trained / "metrics.json").read_bytes()
    error = error_of(mlo("run", "--json", exit_code=9))
    assert "metrics.json" in error["message"]
    assert "auc" in error["message"]
    assert (trained / "mlo.lock").read_bytes() == lock
    assert (trained / "metrics.json").read_bytes() == metrics


def test_a_corrupt_object_is_named_and_never_handed_out(trained: Path, mlo: Any) -> None:
    victim = object_of(trained, entry_of(trained, "data/train.parquet"))
    victim.chmod(0o644)
    victim.write_bytes(b"x" * victim.stat().st_size)
    (trained / "data" / "train.parquet").unlink()
    error = error_of(mlo("data", "checkout", "data/train.parquet", "--json", exit_code=7))
    assert "data/train.parquet" in error["message"]
    assert "damaged" in error["message"]
    assert error["hint"]
    assert not (trained / "data" / "train.parquet").exists()
    assert victim.name in mlo("data", "fsck", "--json", exit_code=7).stdout


def test_a_missing_object_says_where_it_could_be(trained: Path, mlo: Any) -> None:
    digest = entry_of(trained, "data/train.parquet")
    object_of(trained, digest).unlink()
    (trained / "data" / "train.parquet").unlink()
    error = error_of(mlo("data", "checkout", "data/train.parquet", "--json", exit_code=6))
    assert "data/train.parquet" in error["message"]
    assert error["hint"]


def entry_of(folder: Path, path: str) -> str:
    from mlops_cli.core.project.lock import read_lock

    entry = read_lock(folder / "mlo.lock").entry(path)
    assert entry is not None
    return entry.digest


def object_of(folder: Path, digest: str) -> Path:
    hexadecimal = digest.partition(":")[2]
    found = [path for path in (folder / ".mlo" / "cache" / "objects").rglob("*") if hexadecimal.endswith(path.name)]
    assert len(found) == 1
    return found[0]


def test_a_full_disk_is_the_machines_refusal_and_loses_nothing(
    trained: Path, mlo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = standing(trained)
    (trained / "data" / "more.csv").write_text("a,b\n" + "1,2\n" * 1000)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    error = error_of(mlo("data", "add", "data/more.csv", "--json", exit_code=11))
    monkeypatch.undo()
    assert "No space left" in error["message"]
    assert error["hint"]
    (trained / "data" / "more.csv").unlink()
    assert standing(trained) == before


def test_a_folder_that_cannot_be_written_is_the_machines_refusal(trained: Path, mlo: Any) -> None:
    # Root may write anywhere, so a file where a folder must be made stands in for missing permission.
    edit(trained, "mlo.yaml", "name: tiny\n", "name: tiny\ncache: {dir: prepare.py/cache}\n")
    (trained / "data" / "more.csv").write_text("a\n1\n")
    error = error_of(mlo("data", "add", "data/more.csv", "--json", exit_code=11))
    assert "prepare.py" in error["message"]


def test_a_port_that_is_taken_is_named_before_the_model_is_loaded(trained: Path, mlo: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        error = error_of(mlo("serve", "tiny@production", "--port", port, "--json", exit_code=11))
    assert port in error["message"]


def test_a_second_run_names_the_first_and_waits_or_gives_up(tiny: Path, mlo: Any) -> None:
    os.mkfifo(tiny / "gate")
    (tiny / "mlo.yaml").write_text("name: tiny\nstages: {wait: {cmd: 'cat gate > out', outs: [out]}}\n")
    first = subprocess.Popen(
        [sys.executable, "-m", "mlops_cli", "run", "--json"], cwd=tiny, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with (tiny / "gate").open("w") as gate:  # opens once the stage reads, so the first run holds the project
        error = error_of(mlo("run", "--no-wait", "--json", exit_code=10))
        assert f"process {first.pid}" in error["message"]
        gate.write("done\n")
    first.communicate()
    assert first.returncode == 0
    assert mlo("run", "--json").json["stages"][0]["status"] == "cached"


def test_a_window_with_other_columns_is_said_and_not_called_quiet(trained: Path, mlo: Any) -> None:
    (trained / "other.csv").write_text("colour,shape\nred,round\n" * 300)
    refused(mlo, trained, "drift check --current other.csv", 2, "colour", "temp")
