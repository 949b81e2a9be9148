"""mlo, DVC and cp as contestants: the same verbs on a folder `raw`, each in a git repository of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from harness import Cost, measure, mlo, run


def copy(source: Path, target: Path) -> None:
    run("cp", "-r", source, target)


def same_bytes(left: Path, right: Path) -> None:
    """Stop the benchmark if two folders, or two files, differ."""
    run("diff", "-r", "-q", left, right)


class Contestant:
    """A tool in the folder `place`, with a copy of the data as `raw` in it."""

    label = ""
    lock = ()  # the files that git would carry to a clone

    def __init__(self, place: Path, environ: Mapping[str, str]) -> None:
        self.place = place
        self.environ = dict(environ)

    @property
    def raw(self) -> Path:
        return self.place / "raw"

    def start(self) -> None:
        """An empty project, with nothing in any cache."""
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir(parents=True)
        run("git", "init", "--quiet", cwd=self.place)

    def start_with(self, data: Path) -> None:
        self.start()
        copy(data, self.raw)

    def call(self, *words: str) -> Cost:
        raise NotImplementedError

    def add(self) -> Cost:
        return self.call("add")

    def status(self) -> Cost:
        return self.call("status")

    def push(self) -> Cost:
        return self.call("push")

    def pull(self) -> Cost:
        return self.call("pull")

    def name_remote(self, url: str) -> None:
        raise NotImplementedError

    def clone_of(self, other: Contestant) -> None:
        """Become what git would bring of another's project to another machine."""
        self.start()
        for name in self.lock:
            if (other.place / name).exists():
                (self.place / name).parent.mkdir(exist_ok=True)
                shutil.copy(other.place / name, self.place / name)

    def must_be_clean(self) -> None:
        raise NotImplementedError

    def must_be_changed(self) -> None:
        raise NotImplementedError

    def must_be_pushed(self) -> None:
        raise NotImplementedError


class Mlo(Contestant):
    label = "mlo"
    lock = ("mlo.yaml", "mlo.lock")

    def start(self) -> None:
        super().start()
        (self.place / "mlo.yaml").write_text("name: bench\n")

    def call(self, *words: str) -> Cost:
        more = ["raw"] if words == ("add",) else []
        return measure(mlo(), "data", *words, *more, cwd=self.place, environ=self.environ)

    def name_remote(self, url: str) -> None:
        (self.place / "mlo.yaml").write_text(f"name: bench\nremotes: {{origin: '{url}'}}\n")

    def must_be_clean(self) -> None:
        if found := self._json("status")["changes"]:
            raise SystemExit(f"mlo: the data should be as mlo.lock says, but: {found[:5]}")

    def must_be_changed(self) -> None:
        found = self._json("status")["changes"]
        if [row["state"] for row in found] != ["modified"]:
            raise SystemExit(f"mlo: one change was made, but it says: {found[:5]}")

    def must_be_pushed(self) -> None:
        if self._json("push")["transfer"]["objects"]:
            raise SystemExit("mlo: the push was not complete")

    def _json(self, *words: str) -> dict[str, object] | list[object]:
        done = subprocess.run(
            [mlo(), "data", *words, "--json"],
            cwd=self.place,
            env={**os.environ, **self.environ},
            check=True,
            capture_output=True,
        )
        return json.loads(done.stdout)


class Dvc(Contestant):
    label = "DVC"
    lock = ("raw.dvc", ".dvc/config")

    def __init__(self, place: Path, environ: Mapping[str, str], dvc: Path) -> None:
        super().__init__(place, environ)
        self._dvc = dvc

    def start(self) -> None:
        super().start()
        run(self._dvc, "init", "--quiet", cwd=self.place)
        for key, value in (("core.analytics", "false"), ("core.check_update", "false")):
            run(self._dvc, "config", key, value, cwd=self.place)
        # By default this lies in /var/tmp and would outlive the project.
        run(self._dvc, "config", "--local", "core.site_cache_dir", str(self.place / ".site"), cwd=self.place)
        (self.place / ".site").mkdir()

    def clone_of(self, other: Contestant) -> None:
        super().clone_of(other)

    def call(self, *words: str) -> Cost:
        target = "raw" if words == ("add",) else "raw.dvc"
        return measure(self._dvc, *words, target, cwd=self.place, environ=self.environ)

    def name_remote(self, url: str) -> None:
        run(self._dvc, "remote", "add", "--force", "--default", "origin", url, cwd=self.place)
        if url.startswith("s3:"):
            endpoint = self.environ["AWS_ENDPOINT_URL"]
            run(self._dvc, "remote", "modify", "origin", "endpointurl", endpoint, cwd=self.place)

    def must_be_clean(self) -> None:
        if found := self._json("status", "raw.dvc"):
            raise SystemExit(f"DVC: the data should be as raw.dvc says, but: {found}")

    def must_be_changed(self) -> None:
        if not self._json("status", "raw.dvc"):
            raise SystemExit("DVC: one change was made, but it says none")

    def must_be_pushed(self) -> None:
        if found := self._json("status", "--cloud", "raw.dvc"):
            raise SystemExit(f"DVC: the push was not complete: {found}")

    def _json(self, *words: str) -> dict[str, object]:
        done = subprocess.run(
            [str(self._dvc), *words, "--json"],
            cwd=self.place,
            env={**os.environ, **self.environ},
            check=True,
            capture_output=True,
        )
        return json.loads(done.stdout)


class Cp(Contestant):
    """The floor: copying the data once, to a place beside it."""

    label = "cp -r"

    def call(self, *words: str) -> Cost:
        return measure("cp", "-r", "raw", "copy", cwd=self.place)

    def must_be_clean(self) -> None:
        same_bytes(self.raw, self.place / "copy")
