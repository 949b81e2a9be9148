"""`launch: {torchrun: {processes: N}}`: a script started by torch's own launcher, on this machine."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Collection, Mapping
from pathlib import Path

from mlops_cli.core.errors import ExtraMissing, ProjectError
from mlops_cli.core.pipeline.admission import THREAD_VARIABLES
from mlops_cli.core.project.stages import Stage

LAUNCH = {"MLO_LAUNCH": "torchrun"}  # tells mlo's Python API that only rank 0 logs
_PYTHON = re.compile(r"python(?:3(?:\.\d+)?)?")
_FIRST = re.compile(r"\s*(?P<first>[^\s'\"|&;<>()$`\\]+)(?P<rest>.*)", re.DOTALL)
_OPTION = re.compile(r"\s+(?P<option>-[^\s'\"]*)(?P<rest>.*)", re.DOTALL)
_JOINED = frozenset({"&&", "||", ";", "|", "&", "|&", ";;"})
_NO_TORCH = re.compile(r"No module named '?torch(?:'|\.|\s|$)")
_CHECK = "import importlib.util as u, sys; sys.exit(3 if u.find_spec('torch') is None else 0)"
_INSTALL = "pip install torch in the environment of the stage"


def torchrun_command(stage: Stage, name: str) -> list[str] | str:
    """The command of a stage as torchrun starts it: `python -m torch.distributed.run ... train.py`.

    Raises ProjectError for a command that is not one Python script, or one module (`-m`).
    """
    if stage.launch is None or not stage.cmd:
        raise ProjectError(f"stage {name} has no cmd for torchrun", hint="cmd: python train.py")
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={stage.launch.torchrun.processes}"]
    if isinstance(stage.cmd, list):
        python, rest = _taken_apart(stage.cmd, name)
        return [python, *launcher, *rest]
    _refuse_several(stage.cmd, name)
    python, rest_text = _taken_apart_text(stage.cmd, name)
    return f"{shlex.quote(python)} {' '.join(launcher)} {rest_text}"


def refuse_without_torch(command: list[str] | str, environ: Mapping[str, str], folder: Path, name: str) -> None:
    """Raises ExtraMissing if the python that would run has no torch; looks for it without loading it."""
    words = command if isinstance(command, list) else command.split(maxsplit=1)
    python = words[0] if "/" in words[0] else shutil.which(words[0], path=environ.get("PATH"))
    if python is None or not os.access(folder / python, os.X_OK):
        return  # starting it says so
    done = subprocess.run(
        [str(folder / python), "-c", _CHECK],
        cwd=folder,
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode == 3:
        raise ExtraMissing(f"stage {name} is started by torchrun, and {python} has no torch", hint=_INSTALL)


def divided(environ: Mapping[str, str], own: Collection[str], processes: int) -> dict[str, str]:
    """The threads that mlo gave the stage, for each of its processes; a number that the user set stays."""
    given = {name: environ[name] for name in THREAD_VARIABLES if name in own and name in environ}
    return {name: str(max(1, int(threads) // processes)) for name, threads in given.items()}


def explain_torch(last_lines: str) -> str | None:
    """What to do about a failure whose last lines say that torch is missing."""
    return _INSTALL if _NO_TORCH.search(last_lines) else None


def _taken_apart(words: list[str], name: str) -> tuple[str, list[str]]:
    """The python of a list, and what torchrun is given."""
    first, rest = words[0], words[1:]
    if first.endswith(".py"):
        return "python", words
    if not _PYTHON.fullmatch(Path(first).name):
        raise _no_script(first, name)
    while rest and rest[0].startswith("-") and rest[0] != "-m":
        _refuse_option(rest[0], name)
        rest = rest[1:]
    if not rest or rest == ["-m"]:
        raise _no_script(shlex.join(words), name)
    return first, rest


def _taken_apart_text(text: str, name: str) -> tuple[str, str]:
    """The same of a line for the shell, whose quotes and variables stay as they are."""
    match = _FIRST.match(text)
    if match is None:
        raise _no_script(text, name)
    first, rest = match["first"], match["rest"]
    if first.endswith(".py"):
        return "python", text.strip()
    if not _PYTHON.fullmatch(Path(first).name):
        raise _no_script(first, name)
    while (option := _OPTION.match(rest)) is not None and option["option"] != "-m":
        _refuse_option(option["option"], name)
        rest = option["rest"]
    if rest.strip() in ("", "-m"):
        raise _no_script(text, name)
    return first, rest.strip()


def _refuse_option(option: str, name: str) -> None:
    if option == "-u":  # torchrun's workers are unbuffered anyway
        return
    hint = "put the code into a file" if option.startswith("-c") else "say it by a variable such as PYTHONOPTIMIZE"
    raise ProjectError(f"stage {name}: torchrun cannot pass {option} on to the processes that it starts", hint=hint)


def _refuse_several(text: str, name: str) -> None:
    """Of `python a.py && python b.py` only the first would be several processes."""
    words = shlex.shlex(text, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    words.commenters = ""
    try:
        joined = next((word for word in words if word in _JOINED), None)
    except ValueError as error:
        raise ProjectError(f"stage {name}: cmd does not read: {error}", hint="close the quote") from None
    if joined is None and "\n" in text.replace("\\\n", " ").strip():
        joined = "a second line"
    if joined is not None:
        raise ProjectError(
            f"stage {name}: launch goes with one command, and its cmd has {joined}",
            hint="make the other commands stages of their own",
        )


def _no_script(found: str, name: str) -> ProjectError:
    return ProjectError(
        f"stage {name}: torchrun starts a Python script, and cmd is {found}",
        hint="write cmd: python train.py --epochs 3",
    )
