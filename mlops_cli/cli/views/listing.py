"""What `mlo data list` and `mlo data du` say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_cli.cli.output import Output, human_bytes, plural

if TYPE_CHECKING:
    from mlops_cli.core.workflows.data_list import DataList, DataUse

_DIGEST_SHOWN = 12  # hex digits; --json has all


def show_list(result: DataList, output: Output) -> None:
    if not result.rows:
        where = f"at {result.revision}" if result.revision else "yet; start with: mlo data add PATH"
        output.line(f"no data is versioned {where}")
        return
    staged = any(row.stage for row in result.rows)
    rows = []
    for row in result.rows:
        algorithm, _, digits = row.digest.partition(":")
        name = f"{row.path}/" if row.kind == "dir" else row.path
        cells = [name, human_bytes(row.size), f"{row.files:,}", row.kind, f"{algorithm}:{digits[:_DIGEST_SHOWN]}"]
        rows.append([*cells, *([row.stage or ""] if staged else [])])
    headers = ["path", "size", "files", "kind", "digest", *(["stage"] if staged else [])]
    output.table(headers, rows, right=["size", "files"])


def show_use(result: DataUse, output: Output) -> None:
    if result.entries:
        rows = [
            [row.path, f"{row.files:,}", human_bytes(row.size), human_bytes(row.unique), human_bytes(row.own)]
            for row in result.entries
        ]
        files = sum(row.files for row in result.entries)
        if len(rows) > 1:
            rows.append(["together", f"{files:,}", human_bytes(result.size), human_bytes(result.unique), ""])
        output.table(["path", "files", "size", "unique", "own"], rows, right=["files", "size", "unique", "own"])
        output.line("unique: each content once, with the folders' trees; own: what no other entry shares", style="dim")
    else:
        output.line("no data is versioned yet; start with: mlo data add PATH")
    for row in result.entries:
        if row.unread:
            output.note(
                f"{plural(row.unread, 'folder')} of {row.path} count in size only: their trees are not in the cache"
            )
    past = result.revisions
    if past is not None:
        output.line(
            f"in {plural(past.commits, 'commit')} that changed mlo.lock: {plural(past.entries, 'version')} of entries, "
            f"{human_bytes(past.size)}; each content once {human_bytes(past.unique)}"
        )
        if past.unread:
            output.note(
                f"{plural(past.unread, 'folder')} of other revisions are not counted: their trees are not in the cache"
            )
    cache = result.cache
    packed = f"{plural(cache.packed, 'object')} in {plural(cache.packs, 'pack')} ({human_bytes(cache.packs_bytes)})"
    loose = f"{plural(cache.loose, 'loose object')} ({human_bytes(cache.loose_bytes)})"
    others = f"{human_bytes(cache.other_bytes)} of other files"
    if cache.environments:
        others = f"{plural(cache.environments, 'environment')} ({human_bytes(cache.environment_bytes)}), {others}"
    output.line(f"the cache holds {human_bytes(cache.size)}: {packed}, {loose}, {others}")
    output.line(
        f"mlo.lock as it stands needs {human_bytes(result.needed)} of it; the rest is for other revisions, runs and "
        "models, or garbage, which mlo data gc tells apart"
    )
