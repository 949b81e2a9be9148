"""`mlo import dvc` on projects in the formats of older DVCs, and on what few projects have."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from buckets import S3Bucket
from command_line import Mlo

from mlops_cli.core.project import yaml12
from mlops_cli.core.project.lock import read_lock


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


@pytest.fixture
def bare(here: Path) -> Path:
    """A DVC project with nothing in it."""
    (here / ".dvc" / "cache").mkdir(parents=True)
    (here / ".dvc" / "config").touch()
    return here


def put(cache: Path, data: bytes, name: str | None = None, *, legacy: bool = False) -> str:
    """An object in a cache of DVC's."""
    name = name or md5(data)
    place = cache / ("" if legacy else "files/md5") / name[:2] / name[2:]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    return name


def track(root: Path, path: str, md5: str, more: str = "hash: md5") -> None:
    file = root / f"{path}.dvc"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"outs:\n- {{md5: {md5}, path: {Path(path).name}, {more}}}\n")


def stages(root: Path) -> Any:
    return yaml12.read((root / "mlo.yaml").read_text(), "mlo.yaml")[0]["stages"]


def left(found: Any) -> dict[str, str]:
    return {item["item"]: item["reason"] for item in found["left"]}


def test_the_layout_of_dvc_2_is_read_with_its_names_of_texts(bare: Path, mlo: Mlo) -> None:
    cache = bare / ".dvc" / "cache"
    text, binary = b"one\r\ntwo\r\n", b"\0\r\n"
    rows = [
        {"md5": put(cache, text, md5(b"one\ntwo\n"), legacy=True), "relpath": "text.csv"},
        {"md5": put(cache, binary, legacy=True), "relpath": "deep/er.bin"},
    ]
    manifest = json.dumps(rows).encode()
    folder = put(cache, manifest, f"{md5(manifest)}.dir", legacy=True)
    track(bare, "data/old", folder, "nfiles: 2")
    track(bare, "data/one.csv", rows[0]["md5"], "size: 10")
    found = mlo("import", "dvc", "--json").json
    assert [row["places"] for row in found["data"]] == [{"DVC's cache": 2}, {"DVC's cache": 1}]
    assert (bare / "data" / "old" / "text.csv").read_bytes() == text
    assert (bare / "data" / "old" / "deep" / "er.bin").read_bytes() == binary
    assert (bare / "data" / "one.csv").read_bytes() == text


def test_large_objects_are_verified_while_they_are_copied(bare: Path, mlo: Mlo) -> None:
    cache = bare / ".dvc" / "cache"
    data = os.urandom(3 << 20)
    track(bare, "good.bin", put(cache, data))
    track(bare, "bad.bin", put(cache, data + b"x", md5(b"other")))
    answer = mlo("import", "dvc", "--json", exit_code=7)
    assert answer.json["damaged"] == ["bad.bin"]
    assert (bare / "good.bin").read_bytes() == data
    assert not (bare / "bad.bin").exists()


def test_empty_files_and_folders_and_odd_names_come_over(bare: Path, mlo: Mlo) -> None:
    cache = bare / ".dvc" / "cache"
    empty = put(cache, b"")
    rows = [{"md5": empty, "relpath": name} for name in ("ünï cödé.txt", "a b/c'd", "-x", "日本")]
    for path, listed in (("odd", rows), ("none", [])):
        manifest = json.dumps(listed).encode()
        track(bare, path, put(cache, manifest, f"{md5(manifest)}.dir"))
    mlo("import", "dvc")
    assert sorted(
        str(path.relative_to(bare / "odd")) for path in (bare / "odd").rglob("*") if path.is_file()
    ) == sorted(row["relpath"] for row in rows)
    assert list((bare / "none").iterdir()) == []
    assert not mlo("data", "status", "--json").json["changes"]


def test_the_cache_lies_where_the_configuration_says(bare: Path, mlo: Mlo) -> None:
    (bare / ".dvc" / "config").write_text('[cache]\n    dir = ../../shared\n    type = "reflink,hardlink,copy"\n')
    track(bare, "x.txt", put(bare.parent / "shared", b"shared"))
    mlo("import", "dvc")
    assert (bare / "x.txt").read_bytes() == b"shared"
    assert "hardlink" in (bare / "mlo.yaml").read_text()


def test_the_users_own_settings_hold_for_an_import_too(
    bare: Path, mlo: Mlo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLO_CACHE_DIR", str(tmp_path / "elsewhere"))
    track(bare, "x.txt", put(bare / ".dvc" / "cache", b"x"))
    mlo("import", "dvc")
    assert not (bare / ".mlo" / "cache").exists()
    assert not mlo("data", "status", "--json").json["changes"]


def test_the_exec_bit_and_the_work_trees_own_are_kept(bare: Path, mlo: Mlo) -> None:
    cache = bare / ".dvc" / "cache"
    track(bare, "run.sh", put(cache, b"#!/bin/sh\n"), "hash: md5, isexec: true")
    track(bare, "tools", put(cache, b"#!/bin/sh\n# t\n"))
    (bare / "tools").write_bytes(b"#!/bin/sh\n# t\n")
    (bare / "tools").chmod(0o755)
    mlo("import", "dvc")
    assert os.access(bare / "run.sh", os.X_OK)
    assert read_lock(bare / "mlo.lock").data["tools"].executable
    assert not mlo("data", "status", "--json").json["changes"]


def test_a_bucket_is_read_with_the_secrets_of_config_local(
    bare: Path, mlo: Mlo, s3_bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec

    system = fsspec.filesystem("s3", endpoint_url=s3_bucket.endpoint, skip_instance_cache=True)
    manifest = json.dumps([{"md5": md5(b"%d" % number), "relpath": f"{number}.txt"} for number in range(20)]).encode()
    for name, data in [(f"{md5(manifest)}.dir", manifest), *((md5(b"%d" % n), b"%d" % n) for n in range(20))]:
        system.pipe_file(f"{s3_bucket.name}/dvc/files/md5/{name[:2]}/{name[2:]}", data)
    track(bare, "data/many", f"{md5(manifest)}.dir")
    url = f"url = s3://{s3_bucket.name}/dvc\n    endpointurl = {s3_bucket.endpoint}"
    (bare / ".dvc" / "config").write_text(f"[core]\n    remote = far\n['remote \"far\"']\n    {url}\n")
    (bare / ".dvc" / "config.local").write_text(
        "['remote \"far\"']\n    access_key_id = test\n    secret_access_key = test-hush\n"
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name)
    found = mlo("import", "dvc", "--json").json
    assert found["data"][0]["places"] == {"DVC's remote": 20}
    assert (bare / "data" / "many" / "7.txt").read_bytes() == b"7"
    assert "hush" not in (bare / "mlo.yaml").read_text()
    assert "remote far: access_key_id, secret_access_key" in left(found)


def test_what_dvc_brought_from_elsewhere_keeps_its_address(bare: Path, mlo: Mlo) -> None:
    name = put(bare / ".dvc" / "cache", b"far")
    for path, deps in {
        "local.txt": "{path: /elsewhere/far.txt, md5: abcdefabcdefabcdefabcdefabcdefab}",
        "url.txt": "{path: 'https://example.org/far.txt', etag: abc}",
        "repo.txt": "{path: data/far.txt, repo: {url: 'https://example.org/r.git', rev_lock: 0123456789abcdef}}",
    }.items():
        outs = f"outs: [{{md5: {name}, hash: md5, path: {path}}}]"
        (bare / f"{path}.dvc").write_text(f"frozen: true\ndeps: [{deps}]\n{outs}\n")
    found = mlo("import", "dvc", "--json").json
    lock = read_lock(bare / "mlo.lock")
    assert lock.sources["url.txt"].url == "https://example.org/far.txt"
    assert lock.sources.keys() == {"url.txt"}
    assert (bare / "repo.txt").read_bytes() == b"far"
    assert list(left(found)) == [
        "local.txt.dvc: imported from /elsewhere/far.txt",
        "repo.txt.dvc: imported from https://example.org/r.git data/far.txt at 0123456789ab",
    ]


def test_files_that_the_cloud_keeps_by_version_are_found_by_their_md5(bare: Path, mlo: Mlo) -> None:
    name = put(bare / ".dvc" / "cache", b"v")
    (bare / "v.dvc").write_text(
        "outs:\n- path: v\n  hash: md5\n  files:\n"
        f"  - {{relpath: a.txt, md5: {name}, hash: md5, cloud: {{r: {{version_id: x}}}}}}\n"
    )
    mlo("import", "dvc")
    assert (bare / "v" / "a.txt").read_bytes() == b"v"
    (bare / "w.dvc").write_text(f"outs: [{{path: w, files: [{{relpath: ../../x, md5: {name}}}]}}]\n")
    mlo("import", "dvc", "--force", exit_code=7)


def test_a_stage_of_before_dvc_1_is_carried_over(bare: Path, mlo: Mlo) -> None:
    (bare / "in.txt").write_text("in")
    (bare / "out.txt").write_text("IN")
    put(bare / ".dvc" / "cache", b"IN", legacy=True)
    (bare / "upper.dvc").write_text(
        f"cmd: tr a-z A-Z < in.txt > out.txt\ndeps: [{{path: in.txt, md5: {md5(b'in')}}}]\n"
        f"outs: [{{path: out.txt, md5: {md5(b'IN')}}}]\n"
    )
    found = mlo("import", "dvc", "--json").json
    assert found["stages"] == [{"name": "upper", "state": "up to date", "reason": ""}]
    assert mlo("run", "--json").json["stages"][0]["status"] == "cached"


def test_metrics_that_are_no_numbers_become_outputs(bare: Path, mlo: Mlo) -> None:
    (bare / "dvc.yaml").write_text(
        'stages:\n  s:\n    cmd: echo \'{"model":"tree"}\' > m.json\n    outs: [seen.json]\n    metrics: [m.json]\n'
        "    plots: [images, {c.csv: {x: a, y: b, template: smooth}}]\nmetrics: [seen.json]\n"
        "plots: [images, {more: {x: a, y: {c.csv: z}}}]\n"
    )
    (bare / "m.json").write_text('{"model": "tree"}')
    found = mlo("import", "dvc", "--json").json
    assert stages(bare)["s"] == {
        "cmd": 'echo \'{"model":"tree"}\' > m.json',
        "outs": ["images", "m.json"],
        "metrics": ["seen.json"],
        "plots": [{"path": "c.csv", "x": "a", "y": "z"}],
    }
    assert "tree" in left(found)["stage s: metrics m.json"]
    assert "stage s: plot c.csv: template" in left(found)


def test_plots_of_several_files_go_to_their_stages(bare: Path, mlo: Mlo) -> None:
    (bare / "dvc.yaml").write_text(
        "stages:\n  s: {cmd: x, outs: [a.csv, b.json, live]}\nmetrics: [live/m.json, none.json]\n"
        "plots:\n- ROC: {x: fpr, y: {a.csv: tpr, b.json: tpr}, title: T}\n- live/i.png\n"
    )
    found = mlo("import", "dvc", "--json").json
    assert stages(bare)["s"] == {
        "cmd": "x",
        "outs": ["live"],
        "plots": [{"path": path, "x": "fpr", "y": "tpr", "title": "T"} for path in ("a.csv", "b.json")],
    }
    assert "inside live" in left(found)["dvc.yaml: metrics live/m.json"]
    assert left(found)["dvc.yaml: metrics none.json"] == "no stage writes it"
    assert "inside live" in left(found)["dvc.yaml: plots live/i.png"]


def test_variables_of_a_command_are_passed_and_those_of_its_script_are_told(bare: Path, mlo: Mlo) -> None:
    (bare / "s.py").write_text("import os\nos.environ['TOKEN_PATH']; os.getenv('HOME'); os.environ.get('ZONE')\n")
    (bare / "dvc.yaml").write_text(
        "stages:\n  s:\n    cmd: for f in a b; do echo $f $DATA_HOME \\${ZONE:-x} $PATH; done > o\n"
        "    deps: [s.py, /etc/hosts, s3://b/x]\n    outs: [o]\n"
    )
    found = mlo("import", "dvc", "--json").json
    assert stages(bare)["s"]["pass_env"] == ["DATA_HOME", "ZONE"]
    assert stages(bare)["s"]["deps"] == ["s.py"]
    assert {"stage s: its script reads TOKEN_PATH", "stage s: dep /etc/hosts", "stage s: dep s3://b/x"} <= set(
        left(found)
    )


def test_settings_without_a_counterpart_are_told(bare: Path, mlo: Mlo) -> None:
    (bare / ".dvc" / "config").write_text(
        "[exp]\n    auto_push = true\n[hydra]\n    enabled = True\n[cache]\n    shared = group\n"
        "['remote \"drive\"']\n    url = gdrive://x\n"
    )
    (bare / "sub" / ".dvc").mkdir(parents=True)
    (bare / "sub" / ".dvc" / "config").touch()
    (bare / "sub" / "x.dvc").write_text("outs: [{md5: 1, path: x}]\n")
    found = mlo("import", "dvc", "--json").json
    assert {"config exp.auto_push", "config hydra", "config cache.shared", "remote drive", "sub/"} <= set(left(found))
    assert found["remotes"] == {}


@pytest.mark.parametrize(
    ("stage", "kept"),
    [
        ("{foreach: [a, b], do: {cmd: 'echo ${item} > ${item}', outs: ['${item}']}}", True),
        ("{foreach: {k: {x: 1}, l: {x: 2}}, do: {cmd: 'echo ${key} ${item.x} > ${key}', outs: ['${key}']}}", True),
        ("{foreach: [{x: 1}, {x: 2}], do: {cmd: 'run ${item}', outs: ['o${item.x}']}}", True),
        ("{matrix: {m: [{d: 1}, {d: 2}], s: [7]}, cmd: 'run ${item.m.d} ${key}', outs: ['${key}']}", True),
        ("{foreach: [a], do: {wdir: '${item}', cmd: 'echo > o', outs: [o], params: ['p.${item}']}}", True),
        ("{foreach: [a b, c], do: {cmd: 'echo > ${item}', outs: ['${item}']}}", False),  # other names
        ("{foreach: [{x: 1}, {y: 2}], do: {cmd: 'run ${item}'}}", False),  # other options
        ("{foreach: [true], do: {cmd: 'run ${item}', vars: ['${item}.yaml']}}", None),
        ("{foreach: [{x: {y: 1}}], do: {cmd: 'run ${item}'}}", True),
    ],
)
def test_foreach_and_matrix_stay_where_mlo_says_the_same(bare: Path, mlo: Mlo, stage: str, kept: bool | None) -> None:
    (bare / "a").mkdir()
    (bare / "a" / "params.yaml").write_text("p: {a: 1}\n")
    (bare / "dvc.yaml").write_text(f"stages: {{s: {stage}}}\n")
    found = mlo("import", "dvc", "--json", exit_code=None)
    if kept is None:
        assert found.exit_code != 0
        return
    assert ("s" in stages(bare)) is kept, found.stderr
    names = [row["name"] for row in found.json["stages"]]
    assert [row["name"] for row in mlo("dag", "--json").json["stages"]] == names
    assert all(name.startswith("s@") for name in names)


def test_a_frozen_stage_without_a_result_stays_frozen(bare: Path, mlo: Mlo) -> None:
    (bare / "dvc.yaml").write_text("stages: {s: {cmd: 'echo > o', outs: [o], frozen: true}}\n")
    found = mlo("import", "dvc", "--json").json
    assert stages(bare)["s"] == {"cmd": "echo > o", "outs": ["o"], "frozen": True}
    assert found["stages"] == [{"name": "s", "state": "frozen", "reason": "DVC never ran it"}]
    assert "mlo run --force s" in mlo("run", exit_code=5).stderr
    mlo("run", "--force", "s")


def test_parameters_of_other_files_are_named_and_compared(bare: Path, mlo: Mlo) -> None:
    (bare / "p.toml").write_text("[a]\nb = 1\n")
    (bare / "q.json").write_text('{"all": 2}')
    (bare / "o").write_text("o")
    (bare / "dvc.yaml").write_text(
        "stages: {s: {cmd: x, params: [{p.toml: [a.b]}, {q.json: }], outs: [{o: {cache: false}}]}}\n"
    )
    (bare / "dvc.lock").write_text(
        "schema: '2.0'\nstages:\n  s:\n    cmd: x\n    params: {p.toml: {a.b: 1}, q.json: {all: 2}}\n"
        f"    outs: [{{path: o, hash: md5, md5: {md5(b'o')}}}]\n"
    )
    assert mlo("import", "dvc", "--json").json["stages"][0]["state"] == "up to date"
    assert stages(bare)["s"]["params"] == ["p.toml:a.b", "q.json:"]
    assert "/o" not in (bare / ".gitignore").read_text().split(), "git keeps what DVC left to it"
    (bare / "q.json").write_text('{"all": 2, "new": 3}')
    assert mlo("import", "dvc", "--force", "--json").json["stages"][0]["reason"] == "q.json changed since DVC ran it"


def test_a_folder_of_code_with_a_broken_link_is_a_dep_like_any_other(bare: Path, mlo: Mlo) -> None:
    (bare / "src").mkdir()
    (bare / "src" / "a.py").write_text("pass\n")
    (bare / "src" / "gone").symlink_to("nowhere")
    (bare / "o").write_text("o")
    (bare / "dvc.yaml").write_text("stages: {s: {cmd: x, deps: [src], outs: [o], meta: {who: ada}}}\n")
    (bare / "dvc.lock").write_text(
        f"schema: '2.0'\nstages:\n  s:\n    cmd: x\n    deps: [{{path: src, hash: md5, md5: {'a' * 32}.dir}}]\n"
        f"    outs: [{{path: o, hash: md5, md5: {md5(b'o')}}}]\n"
    )
    found = mlo("import", "dvc", "--json").json
    assert found["stages"][0]["reason"] == "src changed since DVC ran it"
    assert "stage s: meta" in left(found)


def test_a_folder_in_the_place_of_mlo_yaml_is_refused(bare: Path, mlo: Mlo) -> None:
    (bare / "mlo.yaml").mkdir()
    assert "mlo.yaml" in mlo("import", "dvc", exit_code=5).stderr
    assert "mlo.yaml" in mlo("import", "dvc", "--force", exit_code=5).stderr
    assert list((bare / "mlo.yaml").iterdir()) == []


def test_an_ignore_file_of_the_users_stays(bare: Path, mlo: Mlo) -> None:
    (bare / ".dvcignore").write_text("*.tmp\n")
    (bare / ".mloignore").write_text("mine\n")
    assert ".dvcignore" in left(mlo("import", "dvc", "--json").json)
    assert (bare / ".mloignore").read_text() == "mine\n"


@pytest.mark.parametrize(
    "text",
    [
        "stages: [1]\n",
        "stages: {s: 1}\n",
        "stages: {s: {deps: [a]}}\n",
        "stages: {s: {cmd: x, outs: {a: 1}}}\n",
        "stages: {s: {foreach: 1, do: {cmd: x}}}\n",
        "stages: {s: {cmd: x, wdir: ../..}}\n",
        "vars: [nothing.yaml]\n",
        "stages: {s: {cmd: x, outs: [a]}, t: {cmd: y, outs: [a]}}\n",
        "[",
    ],
)
def test_a_dvc_yaml_that_dvc_would_not_read_either_is_refused(bare: Path, mlo: Mlo, text: str) -> None:
    (bare / "dvc.yaml").write_text(text)
    mlo("import", "dvc", exit_code=5)
    assert not (bare / "mlo.yaml").exists()
