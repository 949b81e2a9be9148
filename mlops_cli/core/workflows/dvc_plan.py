"""What `mlo import dvc` will write, made without writing anything, and its answer."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from mlops_cli.core.data.dvc_files import DvcOut
from mlops_cli.core.data.dvc_groups import kept_groups
from mlops_cli.core.data.dvc_project import DvcProject
from mlops_cli.core.data.dvc_render import config_losses, remote_sections, render
from mlops_cli.core.data.dvc_stages import Carried, Left, in_order, translate
from mlops_cli.core.data.names import lock_name
from mlops_cli.core.errors import IntegrityError, MloError, NotFound, ProjectError, UsageError, WouldOverwrite
from mlops_cli.core.pipeline.environment import USUAL, USUAL_PREFIXES
from mlops_cli.core.pipeline.graph import Graph, build_graph
from mlops_cli.core.pipeline.metrics import read_metrics
from mlops_cli.core.project.expand import expand
from mlops_cli.core.project.load import FILE_NAME, Source
from mlops_cli.core.project.paths import is_reserved
from mlops_cli.core.project.settings import Loaded, load
from mlops_cli.core.workflows.dvc_content import CACHE, Contents
from mlops_cli.core.workflows.init import name_of

_CARRIED_OVER = ("params", "model", "serve", "drift", "retrain", "cache", "registry", "hash")


class DataRow(msgspec.Struct, frozen=True):
    """One output of DVC's. `places` counts its files by where their bytes came from; `stage` writes it, if one does.

    planned: a dry run looked no further. kept: mlo.lock has another version already.
    """

    path: str
    state: Literal["planned", "imported", "kept", "missing", "damaged"]
    files: int = 0
    size: int = 0
    digest: str | None = None
    places: dict[str, int] = {}
    checked_out: bool = False
    modified: bool = False
    stage: str | None = None


class StageRow(msgspec.Struct, frozen=True):
    """A stage of mlo.yaml. `reason` says why it will run, where DVC's result does not hold."""

    name: str
    state: Literal["planned", "up to date", "will run", "frozen"]
    reason: str = ""


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What `mlo import dvc` did, or with `dry_run` would do. `left` is all that could not be carried over.

    `written` are files of the project; `copies` are the user's own files of those names, kept under another name.
    `missing` and `damaged` are files of which no good bytes were found.
    """

    root: str
    name: str
    dry_run: bool = False
    config: str = ""
    written: list[str] = []
    copies: list[str] = []
    data: list[DataRow] = []
    stages: list[StageRow] = []
    remotes: dict[str, str] = {}
    left: list[Left] = []
    missing: list[str] = []
    damaged: list[str] = []

    def raise_if_incomplete(self) -> None:
        """Raises IntegrityError or NotFound that names the data of which no good bytes were found."""
        if self.damaged:
            raise IntegrityError(
                f"{len(self.damaged)} files are damaged in DVC's cache, and whole nowhere: {_some(self.damaged)}",
                hint="find good copies (dvc fetch after removing them), then run the same command again",
            )
        if self.missing:
            raise NotFound(
                f"{len(self.missing)} files are in neither the work tree nor DVC's cache nor its remotes: "
                f"{_some(self.missing)}",
                hint="all else is imported; bring them (dvc fetch, or dvc push where they are), and run this again",
            )


class Plan:
    """What will be written, made without writing anything."""

    def __init__(
        self, dvc: DvcProject, environ: Mapping[str, str], environment: str | None, *, force: bool, dry_run: bool
    ) -> None:
        self.dvc = dvc
        self.root = dvc.root
        translation = translate(dvc, is_usual=_is_usual)
        self.left = list(translation.left) + config_losses(dvc)
        self.stages = [self._readable(stage) for stage in translation.stages]
        groups = kept_groups(translation.groups, {stage.name: stage.document for stage in self.stages})
        said = tuple(f"stage {member}" for group in groups for member in group.members)
        self.left = [it for it in self.left if it.item.partition(": ")[0] not in said]
        self.left += [Left(*left) for group in groups for left in group.left]
        self.data = [item for item in translation.data if self._is_possible(item.path, item.source)]
        for stage in self.stages:
            for path in stage.outs:
                self._is_possible(path, f"stage {stage.name}", must=True)
        remotes, lost = remote_sections(dvc.config)
        self.left += lost
        self.old = self._existing(force=force or dry_run)
        links = {"link": list(dvc.config.links)} if dvc.config.links else {}
        settings: dict[str, Any] = {"cache": links, "remotes": remotes}
        name = name_of(self.root)
        if self.old is not None:
            name = self.old.get("name", name)
            settings |= {key: self.old[key] for key in _CARRIED_OVER if key in self.old}
            settings["remotes"] = {**remotes, **(self.old.get("remotes") or {})}
            gone = sorted(
                set(self.old.get("stages") or {})
                - {stage.name for stage in self.stages}
                - {group.name for group in groups}
            )
            if gone:
                self.left.append(
                    Left(
                        f"stages of your {FILE_NAME}: {', '.join(gone)}", "DVC's stages stand there now", "see the copy"
                    )
                )
        self.remotes = settings["remotes"]
        self.text = render(str(name), self.stages, settings, groups)
        loaded = self._loaded(environ, environment)
        self.project, self.settings = loaded.project, loaded.settings
        if not force and not dry_run and self._stands() and self._own_text() != self.text.encode():
            raise WouldOverwrite(
                f"{self.root / 'mlo.yaml'} exists already",
                hint="--dry-run shows what would come; --force writes it, and keeps a copy of yours",
            )
        self.graph: Graph = build_graph(
            expand(self.project.stages, self.project.params), root=self.root, data=[item.path for item in self.data]
        )

    @property
    def caches(self) -> list[Path]:
        own = self.root / ".dvc" / "cache"
        return list(dict.fromkeys([Path(self.dvc.config.cache), own]))

    @property
    def outs(self) -> list[tuple[str, DvcOut]]:
        """Every output whose content is looked for, each path once."""
        found = {item.path: item.out for item in self.data}
        for stage in self.stages:
            found |= {path: out for path, out in stage.outs.items() if out.name is not None or out.files}
        return list(found.items())

    def foreseen(self, contents: Contents) -> Imported:
        rows = []
        for path, out in self.outs:
            files = contents.files(out)
            known = len(files) if files is not None else 0
            cached = sum(contents.here(name) is not None for _, name in files or ())
            places = {place: count for place, count in ((CACHE, cached),) if count}
            rows.append(DataRow(path, "planned", files=known, places=places, stage=self.maker(path)))
        stages = [StageRow(stage.name, "frozen" if stage.frozen else "planned") for stage in self.stages]
        return self.answer(data=rows, stages=stages, dry_run=True, config=self.text)

    def answer(self, **more: Any) -> Imported:
        urls = {name: remote if isinstance(remote, str) else remote["url"] for name, remote in self.remotes.items()}
        left = more.pop("left", self.left)
        return Imported(root=str(self.root), name=self.project.name, remotes=urls, left=left, **more)

    def maker(self, path: str) -> str | None:
        return next((stage.name for stage in self.stages if path in stage.outs), None)

    def _loaded(self, environ: Mapping[str, str], environment: str | None) -> Loaded:
        """The project as any command will read it: with the user's settings, which may name another cache."""
        overlay = f"mlo.{environment}.yaml"
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / FILE_NAME).write_text(self.text, encoding="utf-8")
            if environment and (self.root / overlay).is_file():
                shutil.copyfile(self.root / overlay, Path(folder) / overlay)
            return load(Path(folder), environ, environment=environment)

    def _own_text(self) -> bytes | None:
        return (self.root / FILE_NAME).read_bytes() if (self.root / FILE_NAME).is_file() else None

    def _stands(self) -> bool:
        return os.path.lexists(self.root / FILE_NAME)

    def _existing(self, *, force: bool) -> dict[str, Any] | None:
        """The mlo.yaml that --force carries on from."""
        if not force or not self._stands():
            return None
        if not (self.root / FILE_NAME).is_file():
            raise WouldOverwrite(f"{self.root / FILE_NAME} is no file", hint="move it away")
        return Source(self.root / FILE_NAME).document

    def _is_possible(self, path: str, source: str, *, must: bool = False) -> bool:
        """Whether data may lie there. Raises IntegrityError for what is git's or mlo's own."""
        if is_reserved(path) or path.partition("/")[0] == ".dvc":
            raise IntegrityError(
                f"{source} names {path}, which belongs to git, mlo or DVC", hint="it was altered; restore it from git"
            )
        try:
            lock_name(self.root, Path(path))
        except UsageError as error:
            if must:
                raise ProjectError(f"{source} writes {path}: {error.message}", hint=error.hint) from None
            self.left.append(Left(f"{source}: {path}", error.message, error.hint or "move it"))
            return False
        return True

    def _readable(self, stage: Carried) -> Carried:
        """Metrics that mlo could not read would make the stage fail: they become plain outputs."""
        bad: dict[str, str] = {}
        for path in stage.document.get("metrics", ()):
            place = self.root / path
            if place.is_file():
                try:
                    read_metrics(place, path, time_ms=0)
                except MloError as error:
                    bad[path] = error.message
        if not bad:
            return stage
        for path, message in bad.items():
            item = f"stage {stage.name}: metrics {path}"
            self.left.append(Left(item, message, "write numbers only, then list it under metrics: again"))
        document = dict(stage.document)
        document["outs"] = [*document.get("outs", ()), *bad]
        document["metrics"] = [path for path in document["metrics"] if path not in bad]
        return msgspec.structs.replace(stage, document=in_order(document))


def _is_usual(name: str) -> bool:
    return name.upper() in USUAL or name.startswith(USUAL_PREFIXES)


def _some(paths: Sequence[str]) -> str:
    shown = ", ".join(paths[:5])
    return f"{shown} and {len(paths) - 5} more" if len(paths) > 5 else shown
