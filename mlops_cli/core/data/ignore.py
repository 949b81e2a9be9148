"""mlo's own block in the project's .gitignore. Lines outside it are the user's and never touched."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mlops_cli.core.base.files import machine_errors, write_atomic
from mlops_cli.core.errors import ProjectError

BEGIN = "# >>> mlo: versioned by mlo, see mlo.lock"
END = "# <<< mlo"


def ignored_line(name: str) -> str:
    """A pattern that matches this path below the root and nothing else."""
    escaped = "".join(f"\\{character}" if character in "\\*?[" else character for character in name)
    if escaped.endswith(" "):
        escaped = f"{escaped[:-1]}\\ "
    return f"/{escaped}"


def ignores_private(root: Path) -> bool:
    """Whether .gitignore keeps mlo's private folder out of git, as `mlo init` has it do."""
    try:
        lines = (root / ".gitignore").read_bytes().split()
    except FileNotFoundError:
        return False
    return not {b"/.mlo/", b"/.mlo", b".mlo/", b".mlo"}.isdisjoint(lines)


def edit_ignored(
    root: Path, *, add: Iterable[str] = (), remove: Iterable[str] = (), keep: Iterable[str] | None = None
) -> bool:
    """Put paths into mlo's block and take others out; whether the file changed. Raises ProjectError, MachineError.

    With `keep`, every path that is in neither `add` nor `keep` goes as well; patterns of another form are the user's.
    """
    path = root / ".gitignore"
    with machine_errors(f"cannot read {path}"):
        try:
            # Bytes of any encoding pass through unchanged.
            text = path.read_bytes().decode("utf-8", "surrogateescape")
        except FileNotFoundError:
            text = ""
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = text.split(newline)
    start, stop = _block(lines, path)
    here = lines[start + 1 : stop] if stop > start else []
    wanted = {line for line in here if line} - {ignored_line(name) for name in remove}
    if keep is not None:
        known = {ignored_line(name) for name in keep}
        wanted = {line for line in wanted if line in known or not line.startswith("/")}
    wanted |= {ignored_line(name) for name in add}
    if sorted(wanted) == here:
        return False
    block = [BEGIN, *sorted(wanted), END] if wanted else []
    if stop > start:
        lines[start : stop + 1] = block
    elif block:
        while lines and not lines[-1]:
            lines.pop()
        lines += [*([""] if lines else []), *block, ""]
    write_atomic(path, newline.join(lines).encode("utf-8", "surrogateescape"))
    return True


def _block(lines: list[str], path: Path) -> tuple[int, int]:
    """Where the block begins and ends; (0, 0) if there is none."""
    begins = [number for number, line in enumerate(lines) if line.startswith("# >>> mlo")]
    ends = [number for number, line in enumerate(lines) if line.startswith("# <<< mlo")]
    if not begins and not ends:
        return 0, 0
    if len(begins) != 1 or len(ends) != 1 or ends[0] < begins[0]:
        raise ProjectError(
            f"{path} has no clear block of mlo's: {len(begins)} begin, {len(ends)} end",
            hint=f"keep one pair of the lines `{BEGIN}` and `{END}`",
        )
    return begins[0], ends[0]
