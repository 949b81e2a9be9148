"""Names of container images: only a digest says which bytes are meant."""

from __future__ import annotations

import re

from mlops_cli.core.errors import ProjectError

_PINNED = re.compile(r"[a-z0-9][A-Za-z0-9._/:-]*@sha256:[0-9a-f]{64}")


def check_image(image: str) -> None:
    """Raises ProjectError for an image that is not named by its digest: a tag may name another tomorrow."""
    if _PINNED.fullmatch(image):
        return
    bare = image.partition("@")[0] or "IMAGE"
    raise ProjectError(
        f"docker: {image} does not name an image by its digest",
        hint=f"docker pull {bare}; docker inspect --format '{{{{index .RepoDigests 0}}}}' {bare} says what to write",
    )
