"""A docker image as the environment of a stage: the command line that runs a command in it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from mlops_cli.core.errors import ProjectError
from mlops_cli.core.pipeline.admission import THREAD_VARIABLES
from mlops_cli.core.pipeline.command import Command
from mlops_cli.core.pipeline.environments_kept import EnvironmentFailed
from mlops_cli.core.project.images import check_image

_ENDING_S = 30.0
_TOLD_TOO = ("PYTHONUNBUFFERED", *THREAD_VARIABLES)  # what mlo says to every stage, and a user may have said instead
_CAUSES = (
    (
        r"[Cc]annot connect to the Docker daemon|permission denied.*docker.*sock",
        "docker is here, and its daemon does not answer you: docker info",
    ),
    (
        r"manifest unknown|pull access denied|no such image|not found: manifest",
        "the image is not to be had: docker pull it where you call mlo, or correct its name and digest",
    ),
    (r"could not select device driver|nvidia-container", "GPUs in containers need the NVIDIA container toolkit"),
    (r"executable file not found", "the image lacks that program; a cmd that is one text needs a sh in it"),
)


class DockerEnvironment:
    """An image. Nothing is made or kept for it here: docker does that."""

    # What a notebook in it is run by.
    python: Path | None = Path("python")

    def __init__(self, image: str, *, cache: Path, environ: Mapping[str, str]) -> None:
        """Raises ProjectError for an image without a digest, EnvironmentFailed if there is no docker."""
        check_image(image)
        found = find_docker(environ)
        if found is None:
            raise absent_docker(image)
        self._docker = found
        self._image = image
        self._cache = cache
        self._environ = environ
        self.key = sha256(image.encode()).hexdigest()[:32]

    def describe(self) -> dict[str, Any]:
        return {"docker": self._image}

    def variables(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Of docker itself: which daemon it talks to, and by which credentials. They do not get in."""
        own = {name: value for name, value in self._environ.items() if name.startswith(("DOCKER_", "BUILDKIT_"))}
        return {**environ, **own}

    def wrap(self, command: Command, *, root: Path, folder: Path, told: Mapping[str, str], title: str) -> Command:
        """`docker run` of the command, as this user, with the project where it lies here.

        Variables are named and not valued: a command line can be read by everybody on the machine.
        """
        name = container_name(title)
        arguments = [self._docker, "run", "--rm", "--init", "--name", name]
        for place in self._mounted(root, told):
            arguments += ["-v", place]
        arguments += ["-w", str(folder), "--user", f"{os.getuid()}:{os.getgid()}"]
        gpus = told.get("CUDA_VISIBLE_DEVICES", self._environ.get("CUDA_VISIBLE_DEVICES", ""))
        if gpus and not gpus.startswith("-"):
            # docker reads the value as CSV; the quotes hold several devices together. Inside they are 0, 1, ...
            arguments += ["--gpus", f'"device={gpus}"' if "," in gpus else f"device={gpus}"]
        names = {*told, *(name for name in _TOLD_TOO if name in self._environ)} - {"CUDA_VISIBLE_DEVICES"}
        for variable in sorted(names | {"PYTHONUNBUFFERED"}):
            arguments += ["-e", variable]
        if "HOME" not in told:  # the user has no home in there, and much cannot do without
            arguments += ["-e", "HOME=/tmp"]
        inner = ["sh", "-c", command] if isinstance(command, str) else command
        return [*arguments, self._image, *inner]

    def _mounted(self, root: Path, told: Mapping[str, str]) -> list[str]:
        """The project; what of mlo lies outside of it: the cache, which links may lead to, and the spool."""
        places = {str(root): ""}
        if not self._cache.is_relative_to(root) and self._cache.is_dir():
            places[str(self._cache)] = ":ro"
        spool = told.get("MLO_SPOOL")
        if spool is not None and not Path(spool).is_relative_to(root):
            places[spool] = ""
        for place in places:
            if ":" in place:
                raise ProjectError(f"docker cannot mount {place}: it holds a colon", hint="move it to another folder")
        return [f"{place}:{place}{how}" for place, how in places.items()]

    def explain(self, lines: str) -> str | None:
        return next((hint for pattern, hint in _CAUSES if re.search(pattern, lines)), None)

    def end(self, title: str) -> None:
        """Ends the container, whose processes are not ours; no word if there is none any more."""
        name = container_name(title)
        for command in (["kill", name], ["rm", "--force", name]):
            try:
                subprocess.run(
                    [self._docker, *command],
                    env=dict(self._environ),
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=_ENDING_S,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired):
                return

    def close(self) -> None:
        """Nothing is held."""


def find_docker(environ: Mapping[str, str]) -> str | None:
    return shutil.which("docker", path=environ.get("PATH"))


def absent_docker(image: str) -> EnvironmentFailed:
    return EnvironmentFailed(
        f"the image {image.partition('@')[0]} needs docker, which is not on PATH",
        hint="install docker, or describe the environment by python and lock, or by conda",
    )


def container_name(title: str) -> str:
    """A name docker takes: of two titles never the same one."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "-", title)
    return plain if plain == title else f"{plain}-{sha256(title.encode()).hexdigest()[:8]}"
