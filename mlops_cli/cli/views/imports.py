"""How an import looks."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import TYPE_CHECKING

from mlops_cli.cli.output import Output, human_bytes, plural

if TYPE_CHECKING:
    from mlops_cli.core.data.dvc_stages import Left
    from mlops_cli.core.workflows.dvc_plan import DataRow, Imported
    from mlops_cli.core.workflows.import_mlproject import MlprojectImported

_SHOWN = 50  # rows of a list, and items of one line; the rest is counted
_ITEMS = 6


def show_import(found: Imported, output: Output) -> None:
    verb = "would import" if found.dry_run else "imported"
    output.line(f"{verb} DVC project {found.name}: {plural(len(found.data), 'output')}, {_stages(found)}")
    _show_data(found.data, output)
    _show_stages(found, output)
    for name, url in found.remotes.items():
        output.line(f"remote   {name}  {url}")
    _show_left(found.left, output)
    for text, paths in (("missing", found.missing), ("damaged", found.damaged)):
        for path in paths[:_SHOWN]:
            output.line(f"{text}  {path}", style="red")
        if len(paths) > _SHOWN:
            output.line(f"{text}  and {len(paths) - _SHOWN} more", style="red")
    _show_end(found, output)


def show_mlproject(found: MlprojectImported, output: Output) -> None:
    verb = "would import" if found.dry_run else "imported"
    output.line(f"{verb} MLflow project {found.name}: {plural(len(found.stages), 'entry point')}")
    for stage in found.stages[:_SHOWN]:
        command = stage.document["cmd"]
        output.line(f"stage    {stage.name}  {command if isinstance(command, str) else shlex.join(command)}")
    if len(found.stages) > _SHOWN:
        output.line(f"stage    and {len(found.stages) - _SHOWN} more")
    if found.env is not None:
        output.line(f"env      {', '.join(f'{key}: {value}' for key, value in found.env.items())}")
    _show_left(found.left, output)
    output.line()
    _show_files(found, output)
    if found.dry_run:
        return
    output.line("next: add deps and outs to the stages; mlo run --dry; mlo run")


def _show_files(found: Imported | MlprojectImported, output: Output) -> None:
    """What mlo.yaml would be, or what was written."""
    if found.dry_run:
        output.line("mlo.yaml would be:")
        output.line(found.config.rstrip())
        return
    for copy in found.copies:
        output.line(f"your file of before is {copy}")
    output.line(f"wrote {', '.join(found.written)}" if found.written else "everything was there already")


def _show_left(left: list[Left], output: Output) -> None:
    if left:
        output.line()
        output.line("not carried over as it was:")
    for items, one in _grouped(left):
        output.line(f"- {items}", style="yellow")
        output.line(f"    {one.reason}")
        output.line(f"    do: {one.todo}")


def _show_data(rows: list[DataRow], output: Output) -> None:
    if rows:
        output.table(
            ("state", "path", "files", "size", "from"),
            [
                (
                    row.state,
                    row.path,
                    row.files or "",
                    human_bytes(row.size) if row.size else "",
                    ", ".join(f"{place} ({count})" for place, count in row.places.items())
                    + (", checked out" if row.checked_out else "")
                    + (", modified in the work tree" if row.modified else ""),
                )
                for row in rows[:_SHOWN]
            ],
            right=("files", "size"),
        )
    if len(rows) > _SHOWN:
        output.line(f"and {len(rows) - _SHOWN} more")


def _show_stages(found: Imported, output: Output) -> None:
    for stage in found.stages[:_SHOWN]:
        output.line(f"stage    {stage.name}  {stage.state}{f': {stage.reason}' if stage.reason else ''}")
    if len(found.stages) > _SHOWN:
        output.line(f"stage    and {len(found.stages) - _SHOWN} more")


def _show_end(found: Imported, output: Output) -> None:
    output.line()
    _show_files(found, output)
    if found.dry_run:
        return
    files = found.written or ["mlo.yaml", "mlo.lock", ".gitignore"]
    output.line(f"next: mlo data status; mlo run --dry; git add {shlex.join(files)}; mlo push")
    output.line("DVC's files are as they were; DVC's cache also holds the data of other commits, which stays there")


def _stages(found: Imported) -> str:
    states = Counter(stage.state for stage in found.stages)
    told = ", ".join(f"{count} {state}" for state, count in states.items() if state != "planned")
    return plural(len(found.stages), "stage") + (f" ({told})" if told else "")


def _grouped(left: list[Left]) -> list[tuple[str, Left]]:
    """What has the same reason and remedy, on one line."""
    groups: dict[tuple[str, str], list[Left]] = {}
    for item in left:
        groups.setdefault((item.reason, item.todo), []).append(item)
    told = []
    for items in groups.values():
        more = f" and {len(items) - _ITEMS} more" if len(items) > _ITEMS else ""
        told.append((", ".join(item.item for item in items[:_ITEMS]) + more, items[0]))
    return told
