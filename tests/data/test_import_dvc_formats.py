"""DVC's formats, read without DVC: templates, commands, configuration, names of objects, hostile input."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Mlo

from mlops_cli.core.data.dvc_config import read_config
from mlops_cli.core.data.dvc_files import DvcStage, ObjectName, from_root, object_name, parse_lock
from mlops_cli.core.data.dvc_objects import checked_files, manifest_md5, md5_bytes, parse_manifest
from mlops_cli.core.data.dvc_params import read_values, select
from mlops_cli.core.data.dvc_stages import command, stage_names
from mlops_cli.core.data.dvc_template import MAX_STAGES, Template, expand
from mlops_cli.core.errors import IntegrityError, ProjectError
from mlops_cli.core.project import yaml12


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def fill(value: Any, values: dict[str, Any], **parsing: str) -> Any:
    return Template(values, source="dvc.yaml", parsing=parsing).fill(value, command=True)


def names(stages: dict[str, Any], values: dict[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    template = Template(values or {}, source="dvc.yaml")
    return {name: body for name, _, body in expand(stages, template, lambda item, folder: {})}


def put(root: Path, data: bytes, name: str | None = None, *, legacy: bool = False) -> str:
    """An object in DVC's cache."""
    name = name or md5(data)
    place = root / ".dvc" / "cache" / ("" if legacy else "files/md5") / name[:2] / name[2:]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    return name


@pytest.fixture
def bare(here: Path) -> Path:
    """A DVC project with nothing in it."""
    (here / ".dvc" / "cache").mkdir(parents=True)
    (here / ".dvc" / "config").touch()
    return here


def folder_of(root: Path, rows: list[dict[str, str]], *, path: str = "raw") -> None:
    """A .dvc file for a folder with this manifest."""
    data = json.dumps(rows).encode()
    name = put(root, data, f"{md5(data)}.dir")
    (root / f"{path}.dvc").write_text(f"outs: [{{md5: {name}, hash: md5, path: {path}}}]\n")


def everything(root: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in root.rglob("*")}


# -- templates -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${a}", 1),
        ("x ${a} y", "x 1 y"),
        ("${model.depth}-${model.sizes[1]}", "3-20"),
        ("${yes}", True),
        ("is ${yes}", "is true"),
        (r"echo \${HOME}", "echo ${HOME}"),
        ("run ${model}", "run --depth 3 --sizes 10 20"),
        (["${a}", {"k": "${a}"}], [1, {"k": 1}]),
        ("${a}}", "1}"),
    ],
)
def test_values_are_put_in_as_dvc_does_it(text: Any, expected: Any) -> None:
    assert fill(text, {"a": 1, "yes": True, "model": {"depth": 3, "sizes": [10, 20]}}) == expected


def test_a_mapping_becomes_options_as_the_configuration_says() -> None:
    values = {"m": {"fast": True, "slow": False, "name": "a b", "n": [1, 2], "in": {"x": 0.5}}}
    assert fill("p ${m}", values) == "p --fast --name 'a b' --n 1 2 --in.x 0.5"
    more = fill("p ${m}", values, bool="boolean_optional", list="append")
    assert more == "p --fast --no-slow --name 'a b' --n 1 --n 2 --in.x 0.5"


@pytest.mark.parametrize(("value", "problem"), [("${b}", ProjectError), ("x ${list}", ProjectError)])
def test_what_cannot_be_put_in_is_named(value: str, problem: type[Exception]) -> None:
    with pytest.raises(problem, match=r"dvc\.yaml"):
        fill(value, {"list": [1]})


def test_templates_in_a_circle_are_refused() -> None:
    with pytest.raises(IntegrityError, match="template itself"):
        fill("${a}", {"a": "${b}", "b": "${a}"})
    with pytest.raises(IntegrityError, match="grows"):
        fill("${a}" * 600, {"a": "x" * 2000})


def test_foreach_and_matrix_have_dvcs_names() -> None:
    do = {"cmd": "echo ${item}"}
    assert list(names({"s": {"foreach": ["a", 0.5], "do": do}})) == ["s@a", "s@0.5"]
    assert list(names({"s": {"foreach": [{"x": 1}, {"x": 2}], "do": {"cmd": "${item.x}"}}})) == ["s@0", "s@1"]
    both = names({"s": {"foreach": {"k": {"x": 1}}, "do": {"cmd": "${key} ${item.x}"}}})
    assert both == {"s@k": {"cmd": "k 1"}}
    grid = names({"s": {"matrix": {"a": [1, 2], "b": "${bs}"}, "cmd": "${item.a} ${key}"}}, {"bs": ["x", {"y": 1}]})
    assert {name: body["cmd"] for name, body in grid.items()} == {
        "s@1-x": "1 1-x",
        "s@1-b1": "1 1-b1",
        "s@2-x": "2 2-x",
        "s@2-b1": "2 2-b1",
    }


def test_more_stages_than_anybody_has_are_refused() -> None:
    axis = list(range(100))
    with pytest.raises(IntegrityError, match=f"{MAX_STAGES:,}"):
        names({"s": {"matrix": {"a": axis, "b": axis, "c": axis}, "cmd": "true"}})


# -- stages ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        (["python a.py"], "python a.py"),
        (["a; b"], "a; b"),
        (["a --x=1", "b > c 2>&1"], "a --x=1 && b > c 2>&1"),
        (["cd x", "y"], "( cd x ) && y"),
        (["a || b", "c"], "( a || b ) && c"),
        (["a # why", "b"], "( a # why\n) && b"),
        (["X=1", "export Y=2", "Z=3 run"], "( X=1 ) && ( export Y=2 ) && Z=3 run"),
    ],
)
def test_commands_run_one_by_one(commands: list[str], expected: str) -> None:
    assert command(commands) == expected


def test_stage_names_are_kept_where_they_can_be() -> None:
    def stage(name: str, file: str = "dvc.yaml") -> DvcStage:
        return DvcStage(name=name, file=file, wdir=".", cmd=["true"])

    found = stage_names([stage("a"), stage("a", "x/y/dvc.yaml"), stage("b@p q"), stage("b@p/q"), stage("@")])
    assert found == ["a", "x.y.a", "b@p-q", "b@p-q-2", "stage"]


def test_paths_are_told_from_the_root() -> None:
    assert from_root("a/b", "../c.txt") == "a/c.txt"
    assert [from_root("a", path) for path in ("../../x", "/etc/x", "s3://b/x", "~/x", "")] == [None] * 5


def test_a_lock_of_before_schema_2_reads() -> None:
    stage = {"cmd": "x", "deps": [{"path": "a", "md5": "0" * 32}], "outs": [{"path": "b", "md5": "1" * 32}]}
    old, new = parse_lock({"s": stage}, "dvc.lock"), parse_lock({"schema": "2.0", "stages": {"s": stage}}, "dvc.lock")
    assert old == new
    assert old["s"].outs[0].name == ObjectName("1" * 32, legacy=True)
    with pytest.raises(ProjectError, match=r"3\.0"):
        parse_lock({"schema": "3.0"}, "dvc.lock")


@pytest.mark.parametrize("md5", ["../../etc/passwd", "0" * 31, "z" * 32, "0" * 32 + "/x"])
def test_what_is_no_md5_names_no_object(md5: str) -> None:
    with pytest.raises(IntegrityError, match="not an md5"):
        object_name({"md5": md5}, "x.dvc")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.yaml", "a: {b: [1, 2]}\nc: 1e-3\n"),
        ("p.json", '{"a": {"b": [1, 2]}, "c": 0.001}'),
        ("p.toml", "c = 0.001\n[a]\nb = [1, 2]\n"),
        ("p.py", "import os\nc = 0.001\nclass a:\n    b = (1, 2)\n    d = os.getcwd()\n"),
    ],
)
def test_parameters_read_from_every_kind_of_file(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    values = read_values(tmp_path / name, name)
    assert (select(values, "a.b[1]"), select(values, "c")) == (2, 0.001)


# -- objects ---------------------------------------------------------------------------------------------------


def test_the_name_of_a_text_was_that_of_its_lf_form() -> None:
    text = b"one\r\ntwo\r\n"
    unix = ObjectName(md5(b"one\ntwo\n"), legacy=True)
    assert md5_bytes(text).is_named(unix)
    assert not md5_bytes(text).is_named(ObjectName(unix.md5))
    assert md5_bytes(text).is_named(ObjectName(md5(text)))
    binary = b"\0\r\n"
    assert not md5_bytes(binary).is_named(ObjectName(md5(b"\0\n"), legacy=True))


def test_a_folders_name_is_told_from_its_files() -> None:
    rows = [{"md5": "1" * 32, "relpath": "a-b"}, {"md5": "0" * 32, "relpath": "a/b"}]
    assert manifest_md5([("a/b", "0" * 32), ("a-b", "1" * 32)]) == md5(json.dumps(rows).encode()) + ".dir"


EVIL = ["../x", "/etc/x", "a/../../x", ".git/hooks/post-checkout", "a/.GIT/config", ".mlo/x", "a//b", "", "a/.", "x\0y"]


@pytest.mark.parametrize("path", EVIL)
def test_a_manifest_that_leaves_its_folder_is_refused(path: str) -> None:
    with pytest.raises(IntegrityError, match="manifest"):
        parse_manifest(json.dumps([{"md5": "0" * 32, "relpath": path}]).encode(), False, "raw")


def test_a_manifest_that_is_none_is_refused() -> None:
    name = ObjectName("0" * 32)
    for data in (
        b"{",
        b"{}",
        b"[1]",
        b'[{"md5": "../..", "relpath": "a"}]',
        b'[{"md5": 5, "relpath": "a"}]',
        b"[" * 9999,
    ):
        with pytest.raises(IntegrityError):
            parse_manifest(data, False, "raw")
    for pairs in ([("a", name), ("a", name)], [("a", name), ("a/b", name)]):
        with pytest.raises(IntegrityError):
            checked_files(pairs, "raw")


# -- configuration ---------------------------------------------------------------------------------------------


def test_remotes_are_told_in_mlos_words_and_secrets_stay(bare: Path) -> None:
    (bare / ".dvc" / "config").write_text(
        "[core]\n    remote = disk\n"
        "['remote \"disk\"']\n    url = ../../store  # the old one\n"
        "['remote \"s3\"']\n    url = s3://bucket/x\n    region = eu\n    profile = work\n    access_key_id = AKIA\n"
        "['remote \"below\"']\n    url = remote://s3/more\n"
        "['remote \"ssh\"']\n    url = ssh://ada:pw@host:22/data\n    port = 22\n"  # pragma: allowlist secret
        "['remote \"drive\"']\n    url = gdrive://abc\n"
        "['remote \"blob\"']\n    url = azure://box/x\n    version_aware = true\n    account_name = acc\n"
    )
    (bare / ".dvc" / "config.local").write_text("['remote \"s3\"']\n    secret_access_key = hush\n")
    config = read_config(bare)
    found = {remote.name: remote for remote in config.remotes}
    assert config.default == "disk"
    assert found["disk"].url == "../store"
    assert found["s3"].options == {"profile": "work", "client_kwargs": {"region_name": "eu"}}
    assert (found["s3"].reading["key"], found["s3"].reading["secret"]) == ("AKIA", "hush")
    assert found["below"].url == "s3://bucket/x/more"
    assert found["ssh"].url == "ssh://ada@host:22/data"
    assert found["drive"].refused
    assert found["blob"].url == "az://box/x"
    assert found["blob"].versioned
    assert "hush" not in str([(remote.url, remote.options) for remote in config.remotes])


def test_remotes_in_a_circle_are_refused(bare: Path) -> None:
    (bare / ".dvc" / "config").write_text(
        "['remote \"a\"']\nurl = remote://b/x\n['remote \"b\"']\nurl = remote://a/x\n"
    )
    with pytest.raises(ProjectError, match="circle"):
        read_config(bare)


# -- hostile projects ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EVIL[:6])
def test_a_hostile_manifest_is_refused_and_nothing_is_written(bare: Path, mlo: Mlo, path: str) -> None:
    folder_of(bare, [{"md5": put(bare, b"good"), "relpath": "good"}, {"md5": put(bare, b"bad"), "relpath": path}])
    before = everything(bare)
    assert "raw" in mlo("import", "dvc", exit_code=7).stderr
    assert everything(bare) == before
    assert not (bare.parent / "x").exists()


@pytest.mark.parametrize("path", [".git/hooks/post-checkout", ".mlo/mlo.db", "mlo.yaml", ".dvc/config", ".gitignore"])
def test_an_output_among_gits_or_mlos_own_files_is_refused(bare: Path, mlo: Mlo, path: str) -> None:
    (bare / "x.dvc").write_text(f"outs: [{{md5: {put(bare, b'evil')}, hash: md5, path: {path}}}]\n")
    before = everything(bare)
    mlo("import", "dvc", exit_code=7)
    assert everything(bare) == before


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize("file", ["dvc.yaml", "x.dvc", "params.yaml"])
@pytest.mark.parametrize("text", [BOMB, "stages: &a {b: *a}\n"])
def test_a_yaml_bomb_is_refused(bare: Path, mlo: Mlo, file: str, text: str) -> None:
    (bare / "dvc.yaml").write_text("stages: {a: {cmd: 'echo ${x}'}}\n")
    (bare / file).write_text(text)
    before = everything(bare)
    mlo("import", "dvc", exit_code=7)
    assert everything(bare) == before


def test_aliases_that_people_write_are_read() -> None:
    text = "base: &base {a: 1}\nsame: *base\nmore: {<<: *base, b: 2}\n"
    assert yaml12.read(text, "x")[0]["more"] == {"a": 1, "b": 2}


def test_a_template_in_a_circle_is_refused(bare: Path, mlo: Mlo) -> None:
    (bare / "params.yaml").write_text("a: ${b}\nb: ${a}\n")
    (bare / "dvc.yaml").write_text("stages: {s: {cmd: 'echo ${a}'}}\n")
    mlo("import", "dvc", exit_code=7)
    assert not (bare / "mlo.yaml").exists()


def test_data_outside_the_project_is_told_and_not_touched(bare: Path, mlo: Mlo) -> None:
    outside = bare.parent / "outside.txt"
    outside.write_text("mine")
    (bare / "a.dvc").write_text(f"outs: [{{md5: {put(bare, b'x')}, path: {outside}}}]\n")
    (bare / "b.dvc").write_text("outs: [{etag: abc, path: s3://bucket/x}]\n")
    found = mlo("import", "dvc", "--json").json
    assert {left["item"] for left in found["left"]} == {f"a.dvc: {outside}", "b.dvc: s3://bucket/x"}
    assert found["data"] == []
    assert outside.read_text() == "mine"


def test_data_below_a_link_that_leads_out_is_told(bare: Path, mlo: Mlo) -> None:
    (bare.parent / "disk").mkdir()
    (bare / "big").symlink_to(bare.parent / "disk")
    (bare / "x.dvc").write_text(f"outs: [{{md5: {put(bare, b'x')}, hash: md5, path: big/x}}]\n")
    assert "link" in mlo("import", "dvc", "--json").json["left"][0]["reason"]
    assert list((bare.parent / "disk").iterdir()) == []
