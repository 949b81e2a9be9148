"""Figures of several libraries become files, without mlo knowing the libraries."""

from __future__ import annotations

from typing import Any

import pytest

from mlops_cli.core.errors import UsageError
from mlops_cli.core.tracking.figures import figure_bytes


class Matplotlib:
    def savefig(self, file: Any, *, format: str) -> None:  # noqa: A002 - matplotlib's own word
        if format == "xyz":
            raise ValueError("Format 'xyz' is not supported")
        file.write(f"drawn as {format}".encode())


class Axes:
    figure = Matplotlib()


class Plotly:
    def to_html(self) -> str:
        return "<html>plot</html>"

    def to_image(self, *, format: str) -> bytes:  # noqa: A002
        return f"image {format}".encode()


class Pillow:
    def save(self, file: Any, *, format: str) -> None:  # noqa: A002
        file.write(f"saved as {format}".encode())


@pytest.mark.parametrize(
    ("figure", "name", "expected"),
    [
        (Matplotlib(), "roc", ("roc.png", b"drawn as png")),
        (Matplotlib(), "plots/roc.svg", ("plots/roc.svg", b"drawn as svg")),
        (Axes(), "roc.pdf", ("roc.pdf", b"drawn as pdf")),
        (Plotly(), "curve", ("curve.html", b"<html>plot</html>")),
        (Plotly(), "curve.html", ("curve.html", b"<html>plot</html>")),
        (Plotly(), "curve.png", ("curve.png", b"image png")),
        (Pillow(), "photo", ("photo.png", b"saved as png")),
        ("<svg></svg>", "line", ("line.svg", b"<svg></svg>")),
        ("<html><svg/></html>", "page", ("page.html", b"<html><svg/></html>")),
        (b"\x89PNG", "raw.png", ("raw.png", b"\x89PNG")),
    ],
)
def test_each_kind_of_figure_has_its_bytes(figure: Any, name: str, expected: tuple[str, bytes]) -> None:
    assert figure_bytes(figure, name) == expected


def test_what_is_no_figure_is_named() -> None:
    with pytest.raises(UsageError, match=r"builtins\.dict is not a figure"):
        figure_bytes({"a": 1}, "x")
    with pytest.raises(UsageError, match="no ending"):
        figure_bytes(b"\x89PNG", "raw")
    with pytest.raises(UsageError, match="cannot be saved as xyz"):
        figure_bytes(Matplotlib(), "roc.xyz")
