"""What a person typed after `mlo run`, as a request."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import msgspec

from mlops_cli.core.errors import UsageError
from mlops_cli.core.pipeline.params import assignments
from mlops_cli.core.workflows.plan import RunRequest


def request_from(typed: Mapping[str, Any]) -> RunRequest:
    """From the options by their names, absent ones None. Raises UsageError for those that contradict each other."""
    stages, since = tuple(typed.get("stages") or ()), tuple(typed.get("since") or ())
    if typed.get("single") and not stages:
        raise UsageError("--single runs the stages that are named, and none is", hint="mlo run --single train")
    if typed.get("single") and since:
        raise UsageError("--single and --from contradict each other", hint="name the stages, or say where to begin")
    if typed.get("single") and typed.get("until"):
        raise UsageError("--single and --until contradict each other", hint="name the stages, and leave --until out")
    if typed.get("dry") and typed.get("pull"):
        raise UsageError(
            "--dry changes nothing, so it fetches nothing either", hint="mlo run --dry plans with what is here"
        )
    if typed.get("check"):
        _refuse_beside_check(stages, typed)
    revision, sweep = typed.get("revision"), bool(typed.get("sweep"))
    isolated = bool(typed.get("isolated")) or sweep or revision is not None
    if isolated and typed.get("accept"):
        raise UsageError(
            "--accept takes what stands in the work tree, and a working copy holds no outputs",
            hint="mlo run --accept STAGE, without --isolated, --rev and --sweep",
        )
    return RunRequest(
        stages=stages,
        since=since,
        until=tuple(typed.get("until") or ()),
        alone=bool(typed.get("single")),
        overrides=assignments(typed.get("params") or ()),
        force=bool(typed.get("force")),
        check=bool(typed.get("check")),
        accept=tuple(typed.get("accept") or ()),
        from_cache=not typed.get("no_cache"),
        pull=bool(typed.get("pull")),
        jobs=int(typed.get("jobs") or 1),
        keep_going=bool(typed.get("keep_going")),
        wait=not typed.get("no_wait"),
        parent=typed.get("parent"),
        isolated=isolated,
        revision=revision,
        sweep=sweep,
    )


def _refuse_beside_check(stages: tuple[str, ...], typed: Mapping[str, Any]) -> None:
    if not stages:
        raise UsageError("--check runs the stages that are named twice, and none is", hint="mlo run --check train")
    others = {"sweep": "--sweep", "isolated": "--isolated", "revision": "--rev", "dry": "--dry", "accept": "--accept"}
    others |= {"since": "--from", "until": "--until"}
    for name, option in others.items():
        if typed.get(name):
            raise UsageError(f"--check and {option} contradict each other", hint="say one of the two")


def arguments_of(request: RunRequest) -> list[str]:
    """What a person would type for the request: `request_from` makes the same of it."""
    said: list[str] = ["run", *request.stages]
    said += [word for name, text in request.overrides.items() for word in ("-P", f"{name}={text}")]
    for option, values in (("--from", request.since), ("--until", request.until), ("--accept", request.accept)):
        said += [f"{option}={value}" for value in values]
    for option, text in (("--rev", request.revision), ("--parent", request.parent)):
        said += [f"{option}={text}"] if text is not None else []
    flags = {
        "--single": request.alone,
        "--force": request.force,
        "--check": request.check,
        "--no-cache": not request.from_cache,
        "--pull": request.pull,
        "--keep-going": request.keep_going,
        "--no-wait": not request.wait,
        "--isolated": request.isolated,
        "--sweep": request.sweep,
    }
    said += [flag for flag, is_set in flags.items() if is_set]
    return [*said, f"--jobs={request.jobs}"] if request.jobs > 1 else said


def command_line_of(request: RunRequest, environment: str | None = None) -> str:
    """The line that a person would type for a point of a sweep alone; `environment` is the overlay in force."""
    overlay = ["--env", environment] if environment else []
    return shlex.join(["mlo", *arguments_of(msgspec.structs.replace(request, parent=None)), *overlay])
