"""What `.dvc` files, `dvc.yaml` and `dvc.lock` say, as records with paths from the project's root.

The formats, and what becomes of each key, stand in DVC.md beside this file.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from mlops_cli.core.errors import IntegrityError, ProjectError

_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_STAGE_KEYS = ("outs", "metrics", "plots")


class ObjectName(msgspec.Struct, frozen=True):
    """The name of an object in DVC's cache. `legacy`: the md5 of DVC 2 and older, of a text with LF line ends."""

    md5: str
    legacy: bool = False

    @property
    def is_dir(self) -> bool:
        return self.md5.endswith(".dir")


class DvcOut(msgspec.Struct, frozen=True, kw_only=True):
    """An output. `path` is None where it lies outside the project; `name` is None where no md5 is recorded.

    `files` are a folder's files where DVC lists them in place (cloud versioning); `plot` is how it is drawn.
    """

    path: str | None
    written: str
    kind: str = "outs"
    name: ObjectName | None = None
    files: list[tuple[str, ObjectName]] | None = None
    other_hash: str | None = None
    cache: bool = True
    persist: bool = False
    push: bool = True
    remote: str | None = None
    executable: bool = False
    cloud: bool = False
    desc: str | None = None
    plot: dict[str, Any] | None = None
    unknown: list[str] = []


class DvcDep(msgspec.Struct, frozen=True, kw_only=True):
    """A dependency; `origin` is what `dvc import` and `dvc import-url` say of where data came from."""

    path: str | None
    written: str
    name: ObjectName | None = None
    origin: dict[str, Any] = {}


class DvcLocked(msgspec.Struct, frozen=True, kw_only=True):
    """What dvc.lock says of a stage's last run. `params` by file and dotted name."""

    cmd: list[str]
    deps: list[DvcDep] = []
    params: dict[str, dict[str, Any]] = {}
    outs: list[DvcOut] = []


class DvcStage(msgspec.Struct, frozen=True, kw_only=True):
    """A stage. `file` is the dvc.yaml or .dvc file it stands in, `wdir` where it runs, both from the root.

    `params` maps each parameter file to the names it reads there; none means all. `template` is its cmd as it stood,
    where values were put into the definition.
    """

    name: str
    file: str
    wdir: str
    cmd: list[str]
    deps: list[DvcDep] = []
    params: dict[str, list[str]] = {}
    outs: list[DvcOut] = []
    frozen: bool = False
    always_changed: bool = False
    desc: str | None = None
    template: str | None = None
    templated: list[str] = []
    locked: DvcLocked | None = None
    unknown: list[str] = []


class DvcData(msgspec.Struct, frozen=True, kw_only=True):
    """A .dvc file that tracks data."""

    file: str
    outs: list[DvcOut]
    deps: list[DvcDep] = []
    desc: str | None = None


def from_root(folder: str, written: str) -> str | None:
    """A path written in `folder`, from the root; None if it leads out of the project or is a URL."""
    if "\0" in written:
        raise IntegrityError(f"{written!r} is not a path", hint="the DVC file that names it was altered")
    if not written or _URL.match(written) or written.startswith(("/", "~")):
        return None
    path = posixpath.normpath(posixpath.join(folder, written.replace("\\", "/")))
    return None if path == ".." or path.startswith("../") else path


def object_name(item: Mapping[str, Any], where: str) -> ObjectName | None:
    """The object that an output or dependency names. Raises IntegrityError for what is no md5: it becomes a path."""
    md5 = item.get("md5")
    if md5 is None or md5 == "":
        return None
    text = str(md5).lower()
    if not _MD5.fullmatch(text):
        raise IntegrityError(
            f"{where}: {str(md5)[:80]!r} is not an md5", hint="the file was altered; restore it from git"
        )
    return ObjectName(text, legacy=item.get("hash") != "md5")


def parse_dvc_file(document: Mapping[str, Any], file: str) -> DvcData | DvcStage:
    """A `.dvc` file. One with a `cmd` is a stage of DVC before 1.0, its own lock."""
    wdir = from_root(posixpath.dirname(file), str(document.get("wdir") or "."))
    if wdir is None:
        raise ProjectError(f"{file}: its wdir leads out of the project", hint="mend the file")
    outs = [_out(item, wdir, file) for item in _list(document, "outs", file)]
    deps = [_dep(item, wdir, file) for item in _list(document, "deps", file)]
    desc = document.get("desc")
    if not document.get("cmd"):
        return DvcData(file=file, outs=outs, deps=deps, desc=desc)
    cmd = commands(document["cmd"])
    return DvcStage(
        name=posixpath.basename(file).removesuffix(".dvc") or "stage",
        file=file,
        wdir=wdir,
        cmd=cmd,
        deps=deps,
        outs=outs,
        frozen=bool(document.get("frozen") or document.get("locked")),
        always_changed=bool(document.get("always_changed")),
        desc=desc,
        locked=DvcLocked(cmd=cmd, deps=deps, outs=outs) if all(out.name for out in outs) else None,
    )


def parse_lock(document: Mapping[str, Any], file: str) -> dict[str, DvcLocked]:
    """dvc.lock: schema 2.0, or the mapping of stages that DVC 1.0 wrote. Paths stay relative to the stage's wdir."""
    schema = document.get("schema")
    if schema is not None and str(schema) != "2.0":
        raise ProjectError(f"{file} has schema {schema}; mlo reads 2.0 and 1.0", hint="upgrade mlo")
    stages = document.get("stages") or {} if schema is not None else document
    if not isinstance(stages, Mapping):
        raise IntegrityError(f"{file}: stages are no mapping", hint="the file was altered; restore it from git")
    found = {}
    for name, body in stages.items():
        if not isinstance(body, Mapping):
            raise IntegrityError(f"{file}: {name} is no mapping", hint="the file was altered; restore it from git")
        where = f"{file}: {name}"
        found[str(name)] = DvcLocked(
            cmd=commands(body.get("cmd") or ""),
            deps=[_dep(item, "", where) for item in _list(body, "deps", where)],
            params={
                str(path): dict(values)
                for path, values in (body.get("params") or {}).items()
                if isinstance(values, dict)
            },
            outs=[_out(item, "", where) for item in _list(body, "outs", where)],
        )
    return found


def parse_stage(
    name: str, body: Mapping[str, Any], raw: Mapping[str, Any], file: str, lock: Mapping[str, DvcLocked]
) -> DvcStage:
    """A stage of dvc.yaml with its values put in; `raw` is its definition as it stands there."""
    where = f"{file}: stage {name}"
    folder = posixpath.dirname(file)
    wdir = from_root(folder, str(body.get("wdir") or "."))
    if wdir is None:
        raise ProjectError(f"{where}: its wdir leads out of the project", hint="mlo runs stages inside the project")
    if not body.get("cmd"):
        raise ProjectError(f"{where} has no cmd", hint="dvc status says the same")
    locked = lock.get(name)
    recorded = {out.written: out for out in locked.outs} if locked is not None else {}
    outs = []
    for kind in _STAGE_KEYS:
        for item in _list(body, kind, where):
            outs.append(_declared(item, kind, wdir, recorded, where))
    known = {"cmd", "wdir", "deps", "params", "frozen", "desc", "always_changed", "meta", "vars", *_STAGE_KEYS}
    return DvcStage(
        name=name,
        file=file,
        wdir=wdir,
        cmd=commands(body["cmd"]),
        deps=[_dep({"path": path}, wdir, where) for path in _list(body, "deps", where)],
        params=_params(body, wdir, where),
        outs=outs,
        frozen=bool(body.get("frozen")),
        always_changed=bool(body.get("always_changed")),
        desc=str(body["desc"]) if body.get("desc") else None,
        template="\n".join(commands(raw.get("cmd") or "")) or None,
        locked=_rooted(locked, wdir) if locked is not None else None,
        unknown=sorted(str(key) for key in body if key not in known),
    )


def commands(cmd: Any) -> list[str]:
    """DVC runs each line and each item in a shell of its own."""
    lines = cmd if isinstance(cmd, list) else str(cmd).splitlines()
    return [str(line) for line in lines if str(line).strip()]


def _rooted(locked: DvcLocked, wdir: str) -> DvcLocked:
    return DvcLocked(
        cmd=locked.cmd,
        deps=[msgspec.structs.replace(dep, path=from_root(wdir, dep.written)) for dep in locked.deps],
        params={from_root(wdir, path) or path: values for path, values in locked.params.items()},
        outs=[msgspec.structs.replace(out, path=from_root(wdir, out.written)) for out in locked.outs],
    )


def _params(body: Mapping[str, Any], wdir: str, where: str) -> dict[str, list[str]]:
    """`[lr, {other.yaml: [x]}, {whole.yaml: null}]` by file; an empty list stands for the whole file."""
    found: dict[str, list[str]] = {}
    whole: set[str] = set()
    for item in _list(body, "params", where):
        pairs = item.items() if isinstance(item, Mapping) else [("params.yaml", [item])]
        for file, keys in pairs:
            path = from_root(wdir, str(file)) or str(file)
            found.setdefault(path, []).extend(str(key) for key in keys or ())
            if not keys:
                whole.add(path)
    return {path: [] if path in whole else keys for path, keys in found.items()}


def _declared(item: Any, kind: str, wdir: str, recorded: Mapping[str, DvcOut], where: str) -> DvcOut:
    if isinstance(item, Mapping):
        if len(item) != 1:
            raise ProjectError(f"{where}: {kind} holds {dict(item)!r}"[:200], hint="dvc status says the same")
        written, settings = next(iter(item.items()))
    else:
        written, settings = item, {}
    if isinstance(settings, list):  # a plot drawn several times
        settings = settings[0] if settings and isinstance(settings[0], Mapping) else {}
    settings = settings if isinstance(settings, Mapping) else {}
    out = _out({**settings, "path": written}, wdir, where, kind=kind)
    plot = {key: settings[key] for key in ("x", "y", "title", "template", "x_label", "y_label") if key in settings}
    known = recorded.get(str(written))
    facts = (
        {"name": known.name, "files": known.files, "other_hash": known.other_hash, "executable": known.executable}
        if known is not None
        else {}
    )
    return msgspec.structs.replace(out, plot=plot or None, **facts)


def _out(item: Any, wdir: str, where: str, *, kind: str = "outs") -> DvcOut:
    if not isinstance(item, Mapping) or "path" not in item:
        raise ProjectError(f"{where}: an output has no path", hint="mend the file; dvc status says the same")
    written = str(item["path"])
    name = object_name(item, f"{where}: {written}")
    other = next((key for key in ("etag", "checksum") if item.get(key)), None)
    files = None
    if isinstance(item.get("files"), list) and (name is None or name.is_dir):
        files = [_listed(file, f"{where}: {written}") for file in item["files"] if isinstance(file, Mapping)]
    if item.get("metric"):
        kind = "metrics"
    elif item.get("plot"):
        kind = "plots"
    return DvcOut(
        path=from_root(wdir, written),
        written=written,
        kind=kind,
        name=name,
        files=files,
        other_hash=other if name is None else None,
        cache=item.get("cache", True) is not False,
        persist=bool(item.get("persist")),
        push=item.get("push", True) is not False,
        remote=item.get("remote"),
        executable=bool(item.get("isexec")),
        cloud=bool(item.get("cloud") or item.get("version_id")),
        desc=item.get("desc"),
        unknown=sorted({"checkpoint", "type", "labels", "meta"} & set(item)),
    )


def _listed(file: Mapping[str, Any], where: str) -> tuple[str, ObjectName]:
    name = object_name(file, where)
    if name is None:
        raise ProjectError(f"{where}: a file in it has no md5", hint="dvc update it, so that DVC records one")
    return str(file.get("relpath", "")), name


def _dep(item: Any, wdir: str, where: str) -> DvcDep:
    if not isinstance(item, Mapping):
        item = {"path": item}
    written = str(item.get("path", ""))
    origin = {key: item[key] for key in ("repo", "etag", "db", "fs_config", "dataset") if key in item}
    path = from_root(wdir, written)
    outside = path is None or bool(origin)
    return DvcDep(
        path=None if outside else path,
        written=written,
        name=None if origin or _URL.match(written) else object_name(item, f"{where}: {written}"),
        origin={**origin, "path": written} if outside else {},
    )


def _list(body: Mapping[str, Any], key: str, where: str) -> list[Any]:
    value = body.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise ProjectError(f"{where}: {key} is no list", hint="mend the file; dvc status says the same")
    return value
