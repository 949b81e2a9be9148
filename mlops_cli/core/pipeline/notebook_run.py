"""Run one notebook through papermill, in the process of a stage: `python notebook_run.py NOTEBOOK IPYNB HTML`.

It is started by its path with the python of the stage's environment, where mlo itself need not be installed: nothing of
mlo is imported here. Exit code 0 means that every cell ran to its end. The executed copy and its HTML are written
either way, with the values of the variables that `--secret` names taken out; parameters come from MLO_PARAMS.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

# Python put the folder of this file first; its neighbours must not pass for the modules that a notebook imports.
sys.path[:] = [entry for entry in sys.path if not entry or Path(entry) != Path(__file__).parent]

STARTUP_S = 300  # for a kernel to answer, on a machine that is busy
IOPUB_S = 120  # for the last of a cell's outputs, after it ended
MAX_SOCKET = 90  # bytes of a socket's path; the system takes 103
MASK = "***"
STYLE = """
body { font-family: system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; } img { max-width: 100%; }
div.highlight { background: #8881; padding: .1em .8em; border-left: 3px solid #8888; }
table { border-collapse: collapse; } th, td { border: 1px solid #8884; padding: .2em .6em; text-align: right; }
"""
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Run:
    """One notebook on its way: the document, its kernel, and where its copies go."""

    def __init__(self, notebook: Path, ipynb: Path, html: Path, secrets: list[str]) -> None:
        self.notebook = notebook
        self._ipynb = ipynb
        self._html = html
        self._secrets = _words(os.environ.get(name, "") for name in secrets)
        self.scratch = Path(tempfile.mkdtemp(prefix="mlo-"))
        self.document: Any = None
        self.kernel: Any = None
        self.problem = ""
        self.cell = 0  # the one at hand, counted from 1 among those with code
        self.cells = 0

    def go(self) -> int:
        """Run it; what the stage's process shall exit with."""
        try:
            self._execute()
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the stage has failed and is told so
            self.problem = self._explained(error)
        if self.document is not None:
            try:
                self.write()
            except Exception as error:  # noqa: BLE001 - a full disk, a document that nbformat does not take
                self.problem = self.problem or f"its executed copy could not be written: {error}"
        if self.problem:
            print(f"{self.notebook.name}: {self.problem}", flush=True)  # noqa: T201 - this is the stage's output
        return 1 if self.problem else 0

    def end(self, number: int, frame: FrameType | None) -> None:
        """On SIGTERM: the kernel is in a session of its own, so no signal to the group of this process reaches it."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.kill_kernel()
        with contextlib.suppress(Exception):
            if self.document is not None:
                self.write()
        self.clear()
        os._exit(128 + number)

    def kill_kernel(self) -> None:
        group = getattr(getattr(self.kernel, "provisioner", None), "pgid", None)
        if group and group != os.getpgid(0):
            with contextlib.suppress(OSError):
                os.killpg(group, signal.SIGKILL)

    def clear(self) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)

    # -- running -------------------------------------------------------------------------------------------

    def _execute(self) -> None:
        # Startup files and settings of the user's would be inputs that nobody declared.
        os.environ |= {
            "IPYTHONDIR": str(self.scratch / "ipython"),
            "JUPYTER_CONFIG_DIR": str(self.scratch / "jupyter"),
            "JUPYTER_RUNTIME_DIR": str(self.scratch / "runtime"),
            "JUPYTER_PLATFORM_DIRS": "1",
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        }
        from papermill.execute import remove_error_markers
        from papermill.iorw import load_notebook_node
        from papermill.parameterize import parameterize_notebook

        document = load_notebook_node(str(self.notebook))
        parameters = json.loads(os.environ.get("MLO_PARAMS") or "{}")
        if parameters:
            document = parameterize_notebook(document, parameters, kernel_name="python3", language="python")
        self.document = remove_error_markers(document)
        self.cells = sum(map(_has_code, self.document.cells))
        _engine(self).execute_notebook(self.document, "python3", progress_bar=False)

    def failed(self, cell: Any) -> None:
        """The cell at hand raised what was not allowed to pass."""
        error = next((output for output in cell.outputs if output.output_type == "error"), None)
        name, value = (error.ename, error.evalue) if error is not None else ("an error", "")
        where = f"cell {self.cell} of {self.cells}"
        if name == "SystemExit" and value in ("", "0", "None"):
            self.ended("sys.exit()")
            return
        self.problem = f"{where} failed: {name}{f': {value}' if value else ''}"

    def ended(self, how: str) -> None:
        """The cell at hand asked for the end. In the last one that is an end as a script has it; in any other it would
        pass for a success with half of the notebook not run."""
        if self.cell < self.cells:
            self.problem = f"cell {self.cell} of {self.cells} ended it by {how}, so the cells after that did not run"

    def _explained(self, error: Exception) -> str:
        if isinstance(error, ImportError) and error.name and error.name.partition(".")[0] in _NEEDED:
            return f"this python has no {error.name}: pip install {' '.join(_NEEDED)}"
        where = f" in cell {self.cell} of {self.cells}" if self.cell else ""
        if type(error).__name__ == "DeadKernelError":
            return f"the kernel was gone{where}: exit() in a cell, a crash, or no memory left"
        traceback.print_exception(error)
        return f"it could not be run{where}: {error}"

    # -- the report ----------------------------------------------------------------------------------------

    def write(self) -> None:
        """The executed copy, and a page of it for the browser; neither is ever there by half."""
        import nbformat

        document = nbformat.from_dict(self._without_secrets(json.loads(json.dumps(self.document))))
        document.metadata.pop("papermill", None)  # paths of this machine
        _put(self._ipynb, nbformat.writes(document))
        try:
            _put(self._html, _page(document, self.notebook.stem))
        except Exception as error:  # noqa: BLE001 - a page that cannot be drawn is no reason to lose the result
            print(f"{self.notebook.name}: no HTML: {error}", flush=True)  # noqa: T201

    def _without_secrets(self, document: Any) -> Any:
        """What people wrote and what the kernel said, masked; not the words that make it a notebook."""
        document["metadata"] = self._masked(document["metadata"])
        for cell in document["cells"]:
            cell.update({key: self._masked(cell[key]) for key in ("source", "metadata")})
            for output in _joined(cell):
                output.update({key: self._masked(output[key]) for key in _SAID if key in output})
                shown = output.get("data", {})
                shown.update({kind: self._masked(it, keys=kind.endswith("json")) for kind, it in shown.items()})
        return document

    def _masked(self, value: Any, *, keys: bool = False) -> Any:
        """The texts in it, and the `keys` where these are no words of Jupyter's own."""
        if isinstance(value, str):
            for word in self._secrets:
                value = value.replace(word, MASK)
            return value
        if isinstance(value, list):
            return [self._masked(item, keys=keys) for item in value]
        if isinstance(value, dict):
            return {self._masked(key) if keys else key: self._masked(item, keys=keys) for key, item in value.items()}
        return value


_SAID = ("text", "ename", "evalue", "traceback", "metadata")
_NEEDED = ("papermill", "nbconvert", "ipykernel")


def _engine(run: Run) -> Any:
    """Papermill's engine with the kernel of this very python, whatever kernels the user has installed."""
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from papermill.engines import Engine

    spec = KernelSpec(
        argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        display_name="Python 3",
        language="python",
    )

    class Kernel(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            return spec

    class Own(Engine):
        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **kwargs: Any) -> None:
            kernel = Kernel(kernel_name=kernel_name)
            kernel.connection_file = str(run.scratch / "kernel.json")
            if len(os.fsencode(kernel.connection_file)) < MAX_SOCKET:
                # Of two kernels that look for a free port at once, one may take the other's.
                kernel.transport = "ipc"
            run.kernel = kernel
            _client(run)(nb_man, km=kernel, timeout=None, startup_timeout=STARTUP_S, iopub_timeout=IOPUB_S).execute()

    return Own


def _client(run: Run) -> Any:
    """Papermill's client with a loop of its own: papermill's marks cells as completed that never ran."""
    from nbclient.exceptions import CellExecutionError
    from papermill.clientwrap import PapermillNotebookClient

    def look(execute_reply: Any, **more: Any) -> None:
        if any(part.get("source") == "ask_exit" for part in execute_reply["content"].get("payload", ())):
            run.ended("exit()")

    class Client(PapermillNotebookClient):
        def execute(self, **kwargs: Any) -> Any:
            self.reset_execution_trackers()
            self.on_cell_executed = look
            with self.setup_kernel(cleanup_kc=True):
                self._execute_cells()
                with contextlib.suppress(Exception):
                    self.set_widgets_metadata()
            return self.nb

        def _execute_cells(self) -> None:
            for index, cell in enumerate(self.nb.cells):
                if run.problem:
                    return
                if not _has_code(cell):
                    continue
                run.cell += 1
                self.nb_man.cell_start(cell, index)
                try:
                    self.execute_cell(cell, index)
                except CellExecutionError:
                    self.nb_man.cell_exception(self.nb.cells[index], cell_index=index)
                    run.failed(self.nb.cells[index])
                    return
                self.nb_man.cell_complete(self.nb.cells[index], cell_index=index)

        def process_message(self, *args: Any, **kwargs: Any) -> Any:
            output = super().process_message(*args, **kwargs)
            if output:
                _show(output)
            return output

    return Client


def _has_code(cell: Any) -> bool:
    return cell.cell_type == "code" and bool(cell.source.strip())


def _show(output: Any) -> None:
    """Print what a cell gives, as it comes."""
    kind = output.output_type
    if kind == "stream":
        text = "".join(output.text)
    elif kind == "error":
        text = _ESCAPES.sub("", "\n".join(output.traceback)) + "\n"
    else:
        text = "".join(output.get("data", {}).get("text/plain", ""))
        text = f"{text}\n" if text else ""
    sys.stdout.write(text)
    sys.stdout.flush()


def _words(values: Any) -> list[str]:
    """What is masked: each value, and each line of one that has several; the longest first, as in mlo's own log."""
    words = {line.strip() for value in values for line in (value, *value.splitlines())}
    return sorted(filter(None, words), key=len, reverse=True)


def _joined(cell: Any) -> list[Any]:
    """A cell's outputs, neighbouring pieces of one stream as one: a secret may have been cut in two."""
    joined: list[Any] = []
    for output in cell.get("outputs", ()):
        before = joined[-1] if joined else {}
        if output["output_type"] == "stream" == before.get("output_type") and output["name"] == before["name"]:
            before["text"] = "".join(before["text"]) + "".join(output["text"])
        else:
            joined.append(output)
    if "outputs" in cell:
        cell["outputs"] = joined
    return joined


def _page(document: Any, title: str) -> str:
    from html import escape

    from nbconvert import HTMLExporter
    from pygments.formatters import HtmlFormatter

    # The plain template: no script, nothing that a browser would fetch.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of outputs that no page can show
        body, _ = HTMLExporter(template_name="basic").from_notebook_node(document)
    colours = HtmlFormatter().get_style_defs("div.highlight")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}{colours}</style></head><body>\n{body}\n</body></html>\n"
    )


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.new")
    beside.write_bytes(text.encode("utf-8", "backslashreplace"))  # half a character is also an output
    beside.replace(path)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--secret", action="append", default=[])
    for name in ("notebook", "ipynb", "html"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):  # what a cell says need not be what the terminal's language has
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    for stale in (given.ipynb, given.html):  # of an attempt before this one
        stale.unlink(missing_ok=True)
    run = Run(given.notebook, given.ipynb, given.html, given.secret)
    signal.signal(signal.SIGTERM, run.end)
    try:
        return run.go()
    finally:
        run.kill_kernel()
        run.clear()


if __name__ == "__main__":
    raise SystemExit(main())
