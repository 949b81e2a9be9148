"""What a result of a notebook hangs on, and what is refused before its kernel starts."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from notebook_kit import code, notebook, text, write_notebook

from mlops_cli.core.errors import ExtraMissing, ProjectError
from mlops_cli.core.pipeline import notebook as module
from mlops_cli.core.pipeline.notebook import check_parameters, notebook_command, source_digest
from mlops_cli.core.pipeline.notebook_run import Run


def digest(folder: Path, document: object) -> str:
    path = folder / "n.ipynb"
    path.write_text(json.dumps(document))
    return source_digest(path, "n.ipynb")


def test_outputs_counts_and_volatile_metadata_do_not_count(tmp_path: Path) -> None:
    plain = notebook("x = 1", text("words"), "print(x)")
    ran = notebook("x = 1", text("other words"), "print(x)")
    ran["cells"][0] |= {"execution_count": 7, "metadata": {"scrolled": True, "collapsed": False}}
    ran["cells"][2]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["1\n"]}]
    ran["metadata"]["language_info"] = {"name": "python", "version": "3.12.1"}
    ran["metadata"]["kernelspec"]["name"] = "my-kernel"
    ran["nbformat_minor"] = 2
    assert digest(tmp_path, plain) == digest(tmp_path, ran)


def test_a_source_as_one_text_or_as_lines_is_the_same(tmp_path: Path) -> None:
    lines = notebook("x = 1\ny = 2")
    one = notebook("x = 1\ny = 2")
    one["cells"][0]["source"] = "x = 1\ny = 2"
    assert digest(tmp_path, lines) == digest(tmp_path, one)


@pytest.mark.parametrize(
    "other",
    [
        notebook("x = 2", "print(x)"),
        notebook("print(x)", "x = 1"),
        notebook("x = 1\nprint(x)"),
        notebook(code("x = 1", "parameters"), "print(x)"),
        notebook("x = 1", code("print(x)", "raises-exception")),
    ],
)
def test_code_its_order_and_the_tags_that_matter_count(tmp_path: Path, other: object) -> None:
    assert digest(tmp_path, notebook("x = 1", "print(x)")) != digest(tmp_path, other)


def test_a_tag_that_does_nothing_does_not_count(tmp_path: Path) -> None:
    assert digest(tmp_path, notebook("x = 1")) == digest(tmp_path, notebook(code("x = 1", "slide")))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"x = 1", "is no notebook"),
        (b"[]", "has no nbformat"),
        (b'{"cells": []}', "has no nbformat"),
        (b'{"nbformat": 3, "worksheets": []}', "format 3"),
        (b'{"nbformat": 4}', "format 4"),
        (b"\xff\xfe", "is no notebook"),
        (b"[" * 100_000, "is no notebook"),
        (json.dumps(notebook("1", language="R")).encode(), "in r"),
        (json.dumps(notebook("1", language="julia")).encode(), "in julia"),
    ],
)
def test_what_is_no_notebook_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "n.ipynb").write_bytes(content)
    with pytest.raises(ProjectError, match=said):
        source_digest(tmp_path / "n.ipynb", "n.ipynb")


def test_odd_cells_are_borne(tmp_path: Path) -> None:
    document = notebook("x = 1")
    document["cells"] += [None, {"cell_type": "code"}, {"cell_type": "code", "source": "", "metadata": None}]
    assert digest(tmp_path, document) == digest(tmp_path, notebook("x = 1"))


def test_a_notebook_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"there is no notebook sub/n\.ipynb"):
        source_digest(tmp_path / "n.ipynb", "sub/n.ipynb")
    with pytest.raises(ProjectError, match="is a folder"):
        source_digest(tmp_path, "n.ipynb")


# -- parameters ----------------------------------------------------------------------------------------------


def test_declared_parameters_need_a_cell_with_the_tag(tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "n.ipynb", "alpha = 1")
    check_parameters(path, "n.ipynb", {})
    with pytest.raises(ProjectError, match="no cell tagged parameters, and its stage declares alpha"):
        check_parameters(path, "n.ipynb", {"alpha": 1})


@pytest.mark.parametrize(
    "source",
    [
        "alpha = 1",
        "alpha: float = 1",
        "alpha, beta = 1, 2",
        "%matplotlib inline\n!ls\nalpha = 1  # a\n",
        "a = alpha = 1",
    ],
)
def test_the_cell_defines_the_parameter(tmp_path: Path, source: str) -> None:
    path = write_notebook(tmp_path / "n.ipynb", code(source, "parameters"))
    check_parameters(path, "n.ipynb", {"alpha": 2})
    with pytest.raises(ProjectError, match="does not define gamma"):  # and not just any
        check_parameters(path, "n.ipynb", {"alpha": 2, "gamma": 3})


@pytest.mark.parametrize("source", ["beta = 1", "# alpha = 1", "print(alpha)", "", "alpha == 1", "o.alpha = 1"])
def test_a_parameter_that_the_cell_does_not_define_is_refused(tmp_path: Path, source: str) -> None:
    path = write_notebook(tmp_path / "n.ipynb", code(source, "parameters"))
    with pytest.raises(ProjectError, match=r"does not define alpha"):
        check_parameters(path, "n.ipynb", {"alpha": 2})


@pytest.mark.parametrize("name", ["learning-rate", "class", "a b"])
def test_a_parameter_that_is_no_name_of_python_is_refused(tmp_path: Path, name: str) -> None:
    path = write_notebook(tmp_path / "n.ipynb", code("alpha = 1", "parameters"))
    with pytest.raises(ProjectError, match="cannot be a variable"):
        check_parameters(path, "n.ipynb", {name: 2})


def test_two_cells_with_the_tag_are_refused(tmp_path: Path) -> None:
    cells = [code("alpha = 1", "parameters"), code("alpha = 2", "parameters")]
    with pytest.raises(ProjectError, match="2 cells tagged parameters"):
        check_parameters(write_notebook(tmp_path / "n.ipynb", *cells), "n.ipynb", {"alpha": 3})


def test_a_cell_that_is_not_python_is_refused(tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "n.ipynb", code("alpha = ", "parameters"))
    with pytest.raises(ProjectError, match="is not Python"):
        check_parameters(path, "n.ipynb", {"alpha": 3})


# -- the command ---------------------------------------------------------------------------------------------


def test_the_command_names_runner_notebook_and_reports(tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "n.ipynb", "1")
    command = notebook_command(
        path, lambda ending: tmp_path / f"r.{ending}", Path(sys.executable), own_python=True, secrets=["TOKEN"]
    )
    assert command == [
        sys.executable,
        str(module.RUNNER),
        *("--secret", "TOKEN"),
        *(str(tmp_path / name) for name in ("n.ipynb", "r.ipynb", "r.html")),
    ]


def test_a_missing_package_names_the_line_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACKAGES", ("papermill", "no_such_package"))
    path = write_notebook(tmp_path / "n.ipynb", "1")
    with pytest.raises(ExtraMissing, match="no_such_package") as caught:
        notebook_command(path, tmp_path.joinpath, Path(sys.executable), own_python=True)
    assert caught.value.hint == "pip install 'mlops-cli[notebook]'"
    assert caught.value.exit_code == 5


def test_a_python_of_another_environment_is_asked_itself(tmp_path: Path) -> None:
    bare = tmp_path / "bin" / "python"
    bare.parent.mkdir()
    bare.write_text("#!/bin/sh\necho papermill ipykernel\n")
    bare.chmod(0o755)
    path = write_notebook(tmp_path / "n.ipynb", "1")
    with pytest.raises(ExtraMissing, match=r"needs papermill, ipykernel") as caught:
        notebook_command(path, tmp_path.joinpath, bare, own_python=True)
    assert caught.value.hint == f"{bare} -m pip install papermill nbconvert ipykernel"
    with pytest.raises(ExtraMissing) as caught:
        notebook_command(path, tmp_path.joinpath, bare, own_python=False)
    assert "what the environment holds" in (caught.value.hint or "")


def test_in_a_container_the_runner_lies_beside_the_report(tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "n.ipynb", "1")
    command = notebook_command(path, lambda end: tmp_path / "run" / f"a.{end}", Path("python"), own_python=False)
    assert command[:2] == ["python", str(tmp_path / "run" / "a.runner.py")]
    assert (tmp_path / "run" / "a.runner.py").read_bytes() == module.RUNNER.read_bytes()


# -- the runner, without a kernel ----------------------------------------------------------------------------


def runner(folder: Path, *secrets: str) -> Run:
    run = Run(folder / "n.ipynb", folder / "o.ipynb", folder / "o.html", list(secrets))
    run.clear()
    return run


@pytest.mark.parametrize(
    ("cell", "name", "value", "said"),
    [
        (1, "SystemExit", "", "cell 1 of 2 ended it by sys.exit()"),
        (1, "SystemExit", "None", "cell 1 of 2 ended it by sys.exit()"),
        (2, "SystemExit", "0", ""),
        (2, "SystemExit", "3", "cell 2 of 2 failed: SystemExit: 3"),
        (2, "SystemExit", "no data", "cell 2 of 2 failed: SystemExit: no data"),
        (2, "KeyError", "", "cell 2 of 2 failed: KeyError"),
        (2, None, "", "cell 2 of 2 failed: an error"),
    ],
)
def test_only_a_clean_exit_of_the_last_cell_is_an_end(
    tmp_path: Path, cell: int, name: str | None, value: str, said: str
) -> None:
    run = runner(tmp_path)
    run.cell, run.cells = cell, 2
    outputs = [] if name is None else [NotebookNode(output_type="error", ename=name, evalue=value)]
    run.failed(NotebookNode(outputs=outputs))
    assert run.problem.startswith(said)
    assert bool(run.problem) is bool(said)


WIDGETS = "application/vnd.jupyter.widget-state+json"


def stream(text: str, name: str = "stdout") -> dict[str, str]:
    return {"output_type": "stream", "name": name, "text": text}


@pytest.mark.parametrize("secret", ["hunter2", "code", "stream", "a", "text/plain", 'two\nlines "x"'])
def test_secrets_are_taken_out_and_it_stays_a_notebook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("TOKEN", secret)
    run = runner(tmp_path, "TOKEN", "ABSENT")
    cell = code(f"x = 1 # {secret}")
    half = len(secret) // 2
    cell["outputs"] = [
        *(stream(secret[:half]), stream(secret[half:]), stream(f"{secret} \ud800", "stderr")),
        {
            "output_type": "display_data",
            "metadata": {"of": secret},
            "data": {"text/plain": secret, "application/json": {secret: [secret]}},
        },
        {"output_type": "error", "ename": "E", "evalue": secret, "traceback": [secret, f"in {secret}"]},
    ]
    document = notebook(cell)
    state = {"model_name": "TextModel", "model_module": "m", "model_module_version": "1", "state": {"value": secret}}
    document["metadata"]["widgets"] = {WIDGETS: {"state": {"b": state}, "version_major": 2, "version_minor": 0}}
    run.document = nbformat.reads(json.dumps(document), as_version=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run.write()
    made = nbformat.read(tmp_path / "o.ipynb", as_version=4)
    nbformat.validate(made)
    shown = made.cells[0]
    assert [output.output_type for output in shown.outputs] == ["stream", "stream", "display_data", "error"]
    assert shown.outputs[2]["data"]["text/plain"].startswith("***")
    for line in secret.splitlines():
        for said in (shown.source, shown.outputs[0].text, shown.outputs[3].evalue, *shown.outputs[3].traceback):
            assert line not in said
        assert line not in json.dumps(shown.outputs[2]["data"]["application/json"])
        assert line not in json.dumps(made.metadata["widgets"][WIDGETS]["state"]["b"]["state"]["value"])
    page = (tmp_path / "o.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "http" not in page


def test_the_neighbours_of_the_runner_are_no_modules_of_its_own(tmp_path: Path) -> None:
    """`metrics.py` and `environment.py` lie beside it; a notebook may have files of such names."""
    (tmp_path / "metrics.py").write_text("")
    place = str(module.RUNNER.parent)
    script = f"import runpy, sys; sys.path.insert(0, {place!r}); runpy.run_path({str(module.RUNNER)!r}); "
    done = subprocess.run(
        [sys.executable, "-c", f"{script}import metrics; print(metrics.__file__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(tmp_path / "metrics.py")
