"""A figure of whichever library as the bytes of a file, without importing any of them."""

from __future__ import annotations

import io
from pathlib import PurePosixPath
from typing import Any

from mlops_cli.core.errors import UsageError

_HTML = {".html", ".htm"}


def figure_bytes(figure: Any, name: str) -> tuple[str, bytes]:
    """The name with its ending, and the file's bytes.

    Takes what has `savefig` (matplotlib; png unless the name says svg, pdf ...), `to_html` or `write_html` (plotly,
    altair's `save`), `save` (Pillow), SVG or HTML as text, and bytes as they are. Raises UsageError.
    """
    ending = PurePosixPath(name).suffix.lower()
    if isinstance(figure, bytes | bytearray | memoryview):
        if not ending:
            raise UsageError(f"figure {name} came as bytes and its name has no ending", hint=f"name it {name}.png")
        return name, bytes(figure)
    if isinstance(figure, str):
        guessed = ".svg" if "<svg" in figure[:1000] and "<html" not in figure[:1000].lower() else ".html"
        return name if ending else f"{name}{guessed}", figure.encode()
    owner = figure if hasattr(figure, "savefig") else getattr(figure, "figure", None)
    if owner is not None and hasattr(owner, "savefig"):
        return _saved(owner.savefig, name, ending or ".png")
    if hasattr(figure, "to_html") and (not ending or ending in _HTML):
        return name if ending else f"{name}.html", str(figure.to_html()).encode()
    if hasattr(figure, "to_image") and ending:  # plotly with a picture's ending
        return name, bytes(figure.to_image(format=ending[1:]))
    if hasattr(figure, "save"):
        return _saved(figure.save, name, ending or ".png")
    raise UsageError(
        f"a {type(figure).__module__}.{type(figure).__name__} is not a figure that mlo can draw",
        hint="give a figure of matplotlib, plotly, altair or Pillow, SVG text, or bytes; files go to log_artifact",
    )


def _saved(save: Any, name: str, ending: str) -> tuple[str, bytes]:
    buffer = io.BytesIO()
    try:
        save(buffer, format=ending[1:])
    except (ValueError, KeyError, OSError) as error:
        raise UsageError(
            f"figure {name} cannot be saved as {ending[1:]}: {error}", hint="name it .png or .svg"
        ) from None
    return name if name.lower().endswith(ending) else f"{name}{ending}", buffer.getvalue()
