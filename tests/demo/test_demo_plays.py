"""`mlo demo` from the first line to the last, in a process of its own, as a newcomer runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from demo_processes import MARK, gone, marked
from dying import unmeasured

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")]

LIMIT_S = 400


def hostile(folder: Path) -> dict[str, str]:
    """A machine whose git wants signatures and runs hooks, and whose user has settings of mlo lying about."""
    hooks = folder / "hooks"
    hooks.mkdir()
    (hooks / "pre-commit").write_text("#!/bin/sh\nexit 1\n")
    (hooks / "pre-commit").chmod(0o755)
    config = folder / "gitconfig"
    config.write_text(
        f"[commit]\n\tgpgsign = true\n[gpg]\n\tprogram = /bin/false\n[core]\n\thooksPath = {hooks}\n"
        "[user]\n\tuseConfigOnly = true\n"
    )
    settings = {
        "GIT_CONFIG_GLOBAL": str(config),
        "GIT_DIR": str(folder / "nowhere"),
        "MLO_ENV": "nothing",
        "MLO_NOW": "1999-01-01",
        "MLO_SERVE_PORT": "1",
    }
    return {**os.environ, **settings}


def start(folder: Path, *arguments: str, mark: str, environ: dict[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "mlops_cli", "demo", *arguments],
        cwd=folder,
        env={**(environ or unmeasured()), MARK: mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def outer_repository(folder: Path) -> Path:
    outer = folder / "outer"
    outer.mkdir()
    subprocess.run(["git", "init", "-q", str(outer)], check=True)
    (outer / "mlo.yaml").write_text("name: outer\n")  # and another project of mlo around it
    return outer


def test_all_ten_steps_inside_another_repository_on_a_hostile_machine(tmp_path: Path) -> None:
    outer, mark = outer_repository(tmp_path), uuid.uuid4().hex
    process = start(outer, "deep/flights", mark=mark, environ=hostile(tmp_path))
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, out + err
    assert err == ""
    assert "Warning" not in out
    assert gone(mark), marked(mark)
    folder = outer / "deep" / "flights"
    # The commands are shown as one types them, in order.
    shown = [line[2:] for line in out.splitlines() if line.startswith("$ ")]
    order = [
        "mlo data add data/raw",
        "mlo run",
        "mlo run -P learning_rate=0.04,0.08,0.16 --sweep -j 2",
        "mlo register",
        "mlo promote flights@1 production",
        "mlo serve flights@production --port 0 --json &",
        "mlo drift check",
        "mlo drift report --current data/holdout/2013-04.parquet --window 7d -o drift.html",
        "mlo retrain --holdout data/holdout/2013-07.parquet",
        "mlo why flights@production",
        "mlo rollback flights",
        "mlo promote flights@2",
    ]
    places = [shown.index(command) for command in order]
    assert places == sorted(places)
    assert [line.partition("  ")[0] for line in out.splitlines() if "/10  " in line[:7]] == [
        f"{n}/10" for n in range(1, 11)
    ]
    for text in ("Done in", "flights@2", "production", "What to try next", "cd deep/flights"):
        assert text in out.partition("Done in")[2] or text == "Done in"
    log = subprocess.run(
        ["git", "log", "--format=%s %ae"], cwd=folder, capture_output=True, text=True, check=True
    ).stdout
    assert log.splitlines() == [
        f"{subject} demo@mlo.invalid"
        for subject in ("Second model", "April to June", "First model", "January to March", "Lay out the project")
    ]
    assert (
        subprocess.run(["git", "status", "--short"], cwd=folder, capture_output=True, text=True, check=True).stdout
        == ""
    )
    untouched = subprocess.run(["git", "log"], cwd=outer, capture_output=True, text=True, check=False)
    assert untouched.returncode != 0  # nothing was committed around it
    # What it suggests to try next works.
    hints = [
        line.strip().partition("  # ")[0].strip() for line in out.partition("What to try next")[2].splitlines()[1:]
    ]
    for hint in hints:
        if hint and not hint.startswith(("cd ", "mlo serve")):
            typed = hint.replace("mlo ", f"{sys.executable} -m mlops_cli ", 1)
            answer = subprocess.run(["bash", "-c", typed], cwd=folder, capture_output=True, text=True, check=False)
            assert answer.returncode == (3 if "drift" in hint else 0), hint + answer.stdout + answer.stderr


def test_json_is_one_object_and_nothing_else(tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    process = start(tmp_path, "--json", "there", mark=mark)
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, out + err
    assert err == ""
    result = json.loads(out)
    assert [step["number"] for step in result["steps"]] == list(range(1, 11))
    assert [version["title"] for version in result["versions"]] == ["flights@1", "flights@2"]
    champion, challenger = (version["auc_july"] for version in result["versions"])
    assert champion == pytest.approx(0.67, abs=0.03)
    assert challenger == pytest.approx(0.74, abs=0.03)
    assert 0 < result["gain_lower"] < result["gain"]
    assert result["drift"]["alarms"][0] == "temp"
    assert "dewp" in result["drift"]["alarms"]
    assert result["drift"]["silent"] == ["distance", "sched_dep_time"]
    assert (result["requests"]["rows"], result["drift"]["rows"]) == (4000, 4000)
    assert (
        result["requests"]["single_requests"] > 100 < result["requests"]["rows"] - result["requests"]["single_requests"]
    )
    assert result["production"] == "flights@2"
    assert [(point["learning_rate"], point["restored"]) for point in result["sweep"]] == [
        (0.04, False),
        (0.08, True),
        (0.16, False),
    ]
    assert all(0.6 < point["auc"] < 0.8 for point in result["sweep"])
    assert gone(mark), marked(mark)


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGINT, "$ mlo data add"),
        (signal.SIGINT, "train: running"),
        (signal.SIGTERM, "$ mlo register"),
        (signal.SIGINT, "$ curl -s"),
        (signal.SIGHUP, "$ mlo drift check"),
    ],
)
def test_an_interrupted_demo_leaves_no_process(tmp_path: Path, number: signal.Signals, moment: str) -> None:
    mark = uuid.uuid4().hex
    process = start(tmp_path, "there", mark=mark)
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if moment in line:
            break
    assert moment in seen[-1], "".join(seen)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, "".join(seen) + out + err
    assert "interrupted" in err
    assert "Traceback" not in err + out
    assert gone(mark), marked(mark)
