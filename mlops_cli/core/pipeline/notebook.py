"""A notebook as a stage: what of it a result hangs on, and how it is started.

Only its JSON is read here: planning must not load Jupyter. What runs it is `notebook_run.py`, in a process of its own.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import keyword
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from mlops_cli.core.base.digest import canonical_json
from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.errors import ExtraMissing, ProjectError

RUNNER = Path(__file__).with_name("notebook_run.py")
PACKAGES = ("papermill", "nbconvert", "ipykernel")
MAX_BYTES = 512 << 20  # a notebook with its outputs; what is larger is something else
# Tags that change what running the cell does.
_TAGS = frozenset({"parameters", "injected-parameters", "raises-exception"})
_LACKS = "import importlib.util as u, sys; print(*[name for name in sys.argv[1:] if u.find_spec(name) is None])"
_MAGIC = re.compile(r"\s*(?:[%!?]|.*\?\s*$)")
_SAVE = "open it in Jupyter and save it again"


def source_digest(path: Path, name: str) -> str:
    """The sha256 of a notebook's code: not of its outputs, its counts, its texts or what Jupyter notes besides.

    Raises ProjectError for a file that is no notebook, or not one in Python.
    """
    cells = [
        {"source": source, "tags": sorted(_TAGS & set(_tags(cell)))}
        for cell, source in _code(_read(path, name))
        if source.strip()
    ]
    return f"sha256:{sha256(canonical_json({'version': 1, 'cells': cells})).hexdigest()}"


def check_parameters(path: Path, name: str, parameters: Mapping[str, Any]) -> None:
    """Raises ProjectError unless the cell tagged `parameters` defines each of `parameters`.

    Papermill would only warn, and the notebook would run with values of its own.
    """
    cells = [source for cell, source in _code(_read(path, name)) if "parameters" in _tags(cell)]
    if len(cells) > 1:
        raise ProjectError(
            f"{name} has {len(cells)} cells tagged parameters; only what is set after the first would count",
            hint="keep one of them",
        )
    if not parameters:
        return
    if not cells:
        raise ProjectError(
            f"{name} has no cell tagged parameters, and its stage declares {', '.join(parameters)}",
            hint="give the cell that sets their defaults the tag parameters (Jupyter: Property Inspector)",
        )
    defined = _defined(cells[0], name)
    for parameter in parameters:
        if not parameter.isidentifier() or keyword.iskeyword(parameter):
            raise ProjectError(
                f"the parameter {parameter} cannot be a variable of {name}", hint="give it a name that Python allows"
            )
        if parameter not in defined:
            raise ProjectError(
                f"the cell tagged parameters of {name} does not define {parameter}, which its stage declares",
                hint=f"it defines {', '.join(sorted(defined)) or 'nothing'}; add {parameter} = ... there, "
                "or take it out of the stage's params",
            )


def notebook_python(environ: Mapping[str, str]) -> Path:
    """The python that `python` means in a stage that has no environment of its own."""
    return Path(shutil.which("python", path=environ.get("PATH")) or sys.executable)


def notebook_command(
    notebook: Path,
    report: Callable[[str], Path],
    python: Path,
    *,
    own_python: bool,
    name: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    secrets: Sequence[str] = (),
) -> list[str]:
    """The command that runs a notebook by `python`, which is the kernel's as well.

    `report` names the files that the executed copy and its HTML go to; `secrets` are variables whose values must not
    stand in them. With `own_python` it is the python of this machine that is active, not that of an environment which
    may lie in a container. Raises ExtraMissing if it lacks a package, ProjectError if a parameter would not arrive.
    """
    check_parameters(notebook, name or notebook.name, parameters or {})
    _refuse_without_packages(python, name or notebook.name, own_python=own_python)
    runner = RUNNER
    if not own_python:
        # In a container the project is there, and mlo's own folder is not.
        runner = report("runner.py")
        with machine_errors(f"cannot write {runner}"):
            runner.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(RUNNER, runner)
    told = [part for secret in secrets for part in ("--secret", secret)]
    return [str(python), str(runner), *told, str(notebook), str(report("ipynb")), str(report("html"))]


def _refuse_without_packages(python: Path, name: str, *, own_python: bool) -> None:
    if python.parent == Path(sys.executable).parent:
        lacking = [package for package in PACKAGES if importlib.util.find_spec(package) is None]
        todo = "pip install 'mlops-cli[notebook]'"
    elif python.is_absolute() and python.is_file():
        done = subprocess.run(
            [str(python), "-c", _LACKS, *PACKAGES],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        lacking = done.stdout.split()
        line = f"pip install {' '.join(PACKAGES)}"
        todo = f"{python} -m {line}" if own_python else f"add {', '.join(PACKAGES)} to what the environment holds"
    else:  # it lies in a container; the runner itself looks
        return
    if lacking:
        raise ExtraMissing(
            f"to run {name}, {python} needs {', '.join(lacking)}, which {'is' if len(lacking) == 1 else 'are'} "
            "not installed there",
            hint=todo,
        )


def _read(path: Path, name: str) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ProjectError(f"{name} is {path.stat().st_size:,} bytes", hint="clear its outputs in Jupyter")
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ProjectError(f"there is no notebook {name}", hint="create it, or correct notebook in mlo.yaml") from None
    except IsADirectoryError:
        raise ProjectError(f"{name} is a folder, not a notebook", hint="name a file that ends in .ipynb") from None
    except (ValueError, RecursionError) as error:
        raise ProjectError(f"{name} is no notebook: {error}", hint="name a file that Jupyter opens (.ipynb)") from None
    document: dict[str, Any] = found if isinstance(found, dict) else {}
    version = document.get("nbformat")
    if version is None:
        raise ProjectError(f"{name} is no notebook: it has no nbformat", hint="name a file that Jupyter opens (.ipynb)")
    if version != 4 or not isinstance(document.get("cells"), list):
        raise ProjectError(f"{name} is a notebook of format {version}; mlo runs format 4", hint=_SAVE)
    language = _language(document)
    if language not in (None, "python", "ipython"):
        raise ProjectError(f"{name} is a notebook in {language}; mlo runs those in Python", hint="run it by a cmd")
    return document


def _language(document: Mapping[str, Any]) -> str | None:
    metadata = document.get("metadata")
    for place, key in (("kernelspec", "language"), ("language_info", "name")):
        found = metadata.get(place) if isinstance(metadata, dict) else None
        if isinstance(found, dict) and isinstance(found.get(key), str):
            return str(found[key]).lower()
    return None


def _code(document: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Every code cell with its source, which is a text or a list of lines."""
    for cell in document["cells"]:
        if isinstance(cell, dict) and cell.get("cell_type") == "code":
            source = cell.get("source", "")
            yield cell, source if isinstance(source, str) else "".join(map(str, source))


def _tags(cell: Mapping[str, Any]) -> list[str]:
    metadata = cell.get("metadata")
    tags = metadata.get("tags") if isinstance(metadata, dict) else None
    return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []


def _defined(source: str, name: str) -> set[str]:
    """The names that a cell gives values; IPython's own lines are not Python."""
    plain = "\n".join("" if _MAGIC.match(line) else line for line in source.splitlines())
    try:
        body = ast.parse(plain).body
    except (SyntaxError, ValueError) as error:
        raise ProjectError(
            f"the cell tagged parameters of {name} is not Python: {error}",
            hint="it should hold lines such as alpha = 0.5",
        ) from None
    targets: list[ast.expr] = []
    for statement in body:
        if isinstance(statement, ast.Assign):
            targets += statement.targets
        elif isinstance(statement, ast.AnnAssign):
            targets.append(statement.target)
    return {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}
