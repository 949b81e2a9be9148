"""`mlo import dvc` on a project that DVC itself made, ran and pushed."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import Mlo
from dvc_world import DVC, dvc, make

from mlops_cli.core.project import yaml12

pytestmark = pytest.mark.dvc


@pytest.fixture(scope="session")
def dvc_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if DVC is None:
        if os.environ.get("MLO_REQUIRE_ALL"):
            pytest.fail("no DVC on this machine, and MLO_REQUIRE_ALL is set")
        pytest.skip("no DVC on this machine: install it anywhere and name it in MLO_DVC")
    folder = tmp_path_factory.mktemp("dvc") / "project"
    make(folder)
    return folder


@pytest.fixture
def project(dvc_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project, as the working directory; its remote lies beside it."""
    shutil.copytree(dvc_template, tmp_path / "project", symlinks=True)
    shutil.copytree(dvc_template.parent / "store", tmp_path / "store")
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return tmp_path / "project"


def drop_outputs(project: Path) -> None:
    """As after a git clone: nothing that DVC keeps out of git."""
    for name in ("data/raw", "data/one.csv", "model", "roc.csv", "sub/here.txt", "sub/there.txt", "nested/copy.txt"):
        path = project / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in (*(project / "out").glob("*.txt"), project / "nested" / "count.txt"):
        path.unlink()


def drop_cache(project: Path) -> None:
    shutil.rmtree(project / ".dvc" / "cache")


def objects(folder: Path) -> dict[bytes, Path]:
    return {path.read_bytes(): path for path in folder.rglob("*") if path.is_file()}


def rows(found: Any) -> dict[str, Any]:
    return {row["path"]: row for row in found["data"]}


def states(found: Any) -> dict[str, str]:
    return {row["name"]: row["state"] for row in found["stages"]}


def content(project: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(project)): path.read_bytes()
        for path in project.rglob("*")
        if path.is_file() and not {".mlo", ".git"} & set(path.relative_to(project).parts)
    }


STAGES = ["train", "convert@red", "convert@blue", "grid@1-x", "grid@1-y", "grid@2-x", "grid@2-y", "inside"]


def test_a_project_is_moved_over_in_one_command(project: Path, mlo: Mlo) -> None:
    before = content(project)
    found = mlo("import", "dvc", "--json").json
    assert not mlo("data", "status", "--json").json["changes"]
    assert found["missing"] == found["damaged"] == []
    assert {path for path, row in rows(found).items() if row["places"] != {"work tree": row["files"]}} == set()
    assert rows(found)["data/raw"]["files"] == 6, ".dvcignore keeps junk.tmp out"
    assert states(found) == {
        **dict.fromkeys(STAGES, "up to date"),
        "old": "frozen",
        "options": "will run",
        "nested.train": "up to date",
        "count": "up to date",
    }
    after = content(project)
    new = {".mloignore", "mlo.yaml", "mlo.lock"}
    assert {name: data for name, data in after.items() if name not in new | {".gitignore"}} == {
        name: data for name, data in before.items() if name != ".gitignore"
    }
    assert new <= after.keys()
    assert b"hunter2" not in b"".join(after[name] for name in new)
    planned = {stage["stage"]: stage["action"] for stage in mlo("run", "--dry", "--json").json["plan"]}
    assert [name for name, action in planned.items() if action == "run"] == ["options"]


def test_dvc_sees_its_project_as_it_was(project: Path, mlo: Mlo) -> None:
    before = dvc(project, "status")
    mlo("import", "dvc")
    assert dvc(project, "status") == before


def test_mlo_yaml_says_what_dvc_yaml_said(project: Path, mlo: Mlo) -> None:
    mlo("import", "dvc")
    text = (project / "mlo.yaml").read_text()
    document = yaml12.read(text, "mlo.yaml")[0]
    stages = document["stages"]
    assert stages["train"] == {
        "cmd": "python train.py",
        "deps": ["data/raw", "train.py"],
        "params": ["params.yaml:train.lr", "params.yaml:train.depth"],
        "outs": ["model"],
        "metrics": ["metrics.json"],
        "plots": [{"path": "roc.csv", "x": "fpr", "y": "tpr", "title": "ROC"}],
    }
    assert stages["convert"] == {
        "foreach": ["red", "blue"],
        "cmd": "python convert.py data/raw/${item}.txt out/${item}.txt",
        "deps": ["convert.py", "data/raw/${item}.txt"],
        "outs": ["out/${item}.txt"],
    }
    assert stages["grid"] == {
        "matrix": {"size": [1, 2], "kind": ["x", "y"]},
        "cmd": "echo ${item.size} ${item.kind} 3 > out/grid-${item.size}-${item.kind}.txt",
        "outs": ["out/grid-${item.size}-${item.kind}.txt"],
    }
    assert stages["options"]["cmd"] == "echo --width 3 --deep > out/options.txt"
    assert stages["inside"] == {
        "cmd": "python ../convert.py ../data/one.csv here.txt && cat here.txt > there.txt",
        "cwd": "sub",
        "deps": ["convert.py", "data/one.csv"],
        "outs": ["sub/here.txt", "sub/there.txt"],
    }
    assert stages["nested.train"]["outs"] == ["nested/copy.txt"]
    assert stages["old"]["frozen"] is True
    assert stages["count"]["persist"] == ["nested/count.txt"]
    assert "  # Fit the model.\n  train:\n" in text
    assert document["remotes"] == {
        "origin": "../store",
        "bucket": {"url": "s3://bucket/path", "options": {"endpoint_url": "http://minio:9000"}},
    }


def test_what_is_not_carried_over_is_told_item_by_item(project: Path, mlo: Mlo) -> None:
    left = mlo("import", "dvc", "--json").json["left"]
    assert all(item["reason"] and item["todo"] for item in left)
    told = " | ".join(item["item"] for item in left)
    [template] = [item for item in left if item["item"] == "stage grid: ${shape.width} in cmd"]
    assert "were written in" in template["reason"]
    assert "${params.name}" in template["todo"]
    for word in (
        "stage train: cache: false of metrics.json",
        "stage grid: ${shape.width} in cmd",
        "stage grid: ${kinds} in matrix",
        "stage options: always_changed",
        "stage nested.train",
        "artifact best (model)",
        "remote bucket: secret_access_key",
        "remote bucket: sse",
    ):
        assert word in told
    assert "hunter2" not in str(left)


def test_the_pipeline_runs_and_gives_what_dvc_gave(project: Path, mlo: Mlo) -> None:
    before = content(project)
    mlo("import", "dvc")
    mlo("run", "--force")
    after = content(project)
    assert {name: after[name] for name in before if name != ".gitignore"} == {
        name: data for name, data in before.items() if name != ".gitignore"
    }
    (project / "params.yaml").write_text("train: {lr: 0.2, depth: 3}\nkinds: [x, y]\n")
    ran = {stage["name"]: stage["status"] for stage in mlo("run", "--json").json["stages"]}
    assert [name for name, status in ran.items() if status == "ran"] == ["train"]
    assert b"0.7" in (project / "metrics.json").read_bytes()


def test_data_that_only_dvcs_cache_has_is_checked_out(project: Path, mlo: Mlo) -> None:
    before = content(project)
    drop_outputs(project)
    (project / "data" / "note").write_text("mine")
    found = mlo("import", "dvc", "--json").json
    assert rows(found)["data/raw"]["places"] == {"DVC's cache": 6}
    assert rows(found)["data/raw"]["checked_out"]
    after = content(project)
    gone = set(before) - set(after)
    assert gone == {"data/raw/junk.tmp", "out/options.txt"}, "neither data, nor the output of an accepted result"
    assert {name: after[name] for name in set(before) - gone - {".gitignore"}} == {
        name: before[name] for name in set(before) - gone - {".gitignore"}
    }
    assert not mlo("data", "status", "--json").json["changes"]


def test_data_that_only_dvcs_remote_has_is_fetched(project: Path, mlo: Mlo) -> None:
    drop_outputs(project)
    drop_cache(project)
    found = mlo("import", "dvc", "--json").json
    assert rows(found)["data/raw"]["places"] == {"DVC's remote": 6}
    assert (project / "data" / "raw" / "crlf.txt").read_bytes() == b"one\r\ntwo\r\n"
    assert states(found)["train"] == "up to date"
    assert not mlo("data", "status", "--json").json["changes"]
    assert list((project / ".mlo" / "tmp").iterdir()) == []


def test_local_asks_no_remote(project: Path, mlo: Mlo) -> None:
    drop_outputs(project)
    drop_cache(project)
    answer = mlo("import", "dvc", "--local", "--json", exit_code=6)
    assert answer.json["missing"] == ["data/one.csv", "data/raw/", "out/old.txt"]
    assert "dvc fetch" in answer.stderr


def test_the_work_tree_alone_is_enough(project: Path, mlo: Mlo) -> None:
    drop_cache(project)
    shutil.rmtree(project.parent / "store")
    (project.parent / "store").mkdir()
    found = mlo("import", "dvc", "--json").json
    assert rows(found)["data/raw"]["places"] == {"work tree": 6}, "a folder's name in DVC is told from its files"
    assert states(found)["train"] == "up to date"


def test_a_remote_out_of_reach_is_an_error_before_anything_is_written(project: Path, mlo: Mlo) -> None:
    drop_outputs(project)
    drop_cache(project)
    shutil.rmtree(project.parent / "store")
    assert "--local" in mlo("import", "dvc", exit_code=8).stderr
    assert not (project / "mlo.yaml").exists()
    assert not (project / ".mlo").exists()


def test_missing_files_are_named_and_a_later_import_takes_them_in(project: Path, mlo: Mlo) -> None:
    drop_outputs(project)
    shutil.rmtree(project.parent / "store")
    (project.parent / "store").mkdir()
    place = objects(project / ".dvc" / "cache")[b"red\n" * 5]
    aside = project.parent / "aside"
    place.rename(aside)
    answer = mlo("import", "dvc", "--json", exit_code=6)
    assert answer.json["missing"] == ["data/raw/red.txt"]
    assert rows(answer.json)["data/one.csv"]["state"] == "imported"
    assert states(answer.json)["train"] == "will run"
    assert (project / "data" / "one.csv").exists()
    assert "data/raw:" not in (project / "mlo.lock").read_text()
    aside.rename(place)
    found = mlo("import", "dvc", "--json").json
    assert found["written"] == [".gitignore", "mlo.lock"]
    assert states(found)["train"] == "up to date"
    assert not mlo("data", "status", "--json").json["changes"]


def damage(project: Path) -> Path:
    place = objects(project / ".dvc" / "cache")[b"blue\n" * 5]
    place.chmod(0o644)
    place.write_bytes(b"BLUE\n" * 5)
    return place


def test_a_damaged_object_is_named_and_not_imported(project: Path, mlo: Mlo) -> None:
    drop_outputs(project)
    shutil.rmtree(project.parent / "store")
    (project.parent / "store").mkdir()
    place = damage(project)
    answer = mlo("import", "dvc", "--json", exit_code=7)
    assert answer.json["damaged"] == ["data/raw/blue.txt"]
    assert rows(answer.json)["data/raw"]["state"] == "damaged"
    assert str(place.relative_to(project)) in [left["item"] for left in answer.json["left"]]
    assert not (project / "data" / "raw").exists()
    assert place.read_bytes() == b"BLUE\n" * 5, "DVC's files are left as they are"


def test_a_good_copy_on_the_remote_stands_in_for_a_damaged_object(project: Path, mlo: Mlo) -> None:
    drop_outputs(project)
    place = damage(project)
    found = mlo("import", "dvc", "--json").json
    assert (project / "data" / "raw" / "blue.txt").read_bytes() == b"blue\n" * 5
    assert rows(found)["data/raw"]["places"] == {"DVC's cache": 5, "DVC's remote": 1}
    assert str(place.relative_to(project)) in [left["item"] for left in found["left"]]


def test_a_file_changed_since_dvc_saw_it_stays_and_shows_as_modified(project: Path, mlo: Mlo) -> None:
    (project / "data" / "raw" / "a.txt").write_text("changed")
    (project / "data" / "raw" / "new.txt").write_text("new")
    found = mlo("import", "dvc", "--json").json
    assert rows(found)["data/raw"]["modified"]
    assert rows(found)["data/raw"]["places"] == {"work tree": 5, "DVC's cache": 1}
    assert (project / "data" / "raw" / "a.txt").read_text() == "changed"
    changes = {change["path"]: change["state"] for change in mlo("data", "status", "--json").json["changes"]}
    assert changes == {"data/raw/a.txt": "modified", "data/raw/new.txt": "added"}


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda root: (root / "train.py").write_text("pass\n"), "train.py changed since DVC ran it"),
        (
            lambda root: (root / "params.yaml").write_text("train: {lr: 1, depth: 3}\nkinds: [x, y]\n"),
            "train.lr of params.yaml changed since DVC ran it",
        ),
        (lambda root: (root / "dvc.lock").unlink(), "DVC never ran it"),
        (
            lambda root: (root / "dvc.yaml").write_text(
                (root / "dvc.yaml").read_text().replace("train.py\n", "train.py -x\n", 1)
            ),
            "its command changed since DVC ran it",
        ),
    ],
)
def test_a_result_that_dvc_would_not_accept_is_none_here(project: Path, mlo: Mlo, edit: Any, reason: str) -> None:
    edit(project)
    stages = {row["name"]: row for row in mlo("import", "dvc", "--json").json["stages"]}
    assert (stages["train"]["state"], stages["train"]["reason"]) == ("will run", reason)
    assert stages["nested.train"]["state"] == "up to date"


def test_a_dry_run_writes_nothing(project: Path, mlo: Mlo) -> None:
    before = content(project)
    found = mlo("import", "dvc", "--dry-run", "--json").json
    assert content(project) == before
    assert not (project / ".mlo").exists()
    assert "python train.py" in found["config"]
    assert rows(found)["data/raw"] == {
        **rows(found)["data/raw"],
        "state": "planned",
        "files": 6,
        "places": {"DVC's cache": 6},
    }
    assert "mlo.yaml would be:" in mlo("import", "dvc", "-n").stdout


def test_an_mlo_yaml_of_the_users_is_refused_and_under_force_kept(project: Path, mlo: Mlo) -> None:
    mine = "name: mine\nhash: blake3\nserve: {port: 9000}\nstages: {own: {cmd: 'true'}}\n"
    (project / "mlo.yaml").write_text(mine)
    assert "--force" in mlo("import", "dvc", exit_code=5).stderr
    assert (project / "mlo.yaml").read_text() == mine
    assert not (project / "mlo.lock").exists()
    found = mlo("import", "dvc", "--force", "--json").json
    assert found["copies"] == ["mlo.yaml.1.bak"]
    assert "stages of your mlo.yaml: own" in [item["item"] for item in found["left"]]
    assert (project / "mlo.yaml.1.bak").read_text() == mine
    document = yaml12.read((project / "mlo.yaml").read_text(), "mlo.yaml")[0]
    assert (document["name"], document["hash"], document["serve"]) == ("mine", "blake3", {"port": 9000})
    assert all(row["digest"].startswith("blake3:") for row in found["data"])


def test_the_same_import_again_changes_nothing(project: Path, mlo: Mlo) -> None:
    mlo("import", "dvc")
    before = content(project)
    found = mlo("import", "dvc", "--json").json
    assert found["written"] == found["copies"] == []
    assert content(project) == before


def test_a_newer_version_in_mlo_lock_stays_unless_forced(project: Path, mlo: Mlo) -> None:
    mlo("import", "dvc")
    (project / "data" / "one.csv").write_text("x,y\n3,4\n")
    mlo("data", "add", "data/one.csv")
    lock = (project / "mlo.lock").read_bytes()
    found = mlo("import", "dvc", "--json").json
    assert rows(found)["data/one.csv"]["state"] == "kept"
    assert (project / "mlo.lock").read_bytes() == lock
    found = mlo("import", "dvc", "--force", "--json").json
    assert found["copies"] == ["mlo.lock.1.bak"]
    assert (project / "mlo.lock.1.bak").read_bytes() == lock
    assert (project / "data" / "one.csv").read_text() == "x,y\n3,4\n", "the work tree is the user's"


def test_links_into_dvcs_cache_become_files(project: Path, mlo: Mlo) -> None:
    cached = objects(project / ".dvc" / "cache")
    linked = [project / "data" / "one.csv", project / "data" / "raw" / "a.txt", project / "out" / "red.txt"]
    before = {path: path.read_bytes() for path in linked}
    (project / "data" / "raw" / "empty").mkdir()
    for path in linked:
        target = cached[path.read_bytes()]
        path.unlink()
        path.symlink_to(target)
    mlo("import", "dvc")
    assert not [path for path in linked if path.is_symlink()]
    assert {path: path.read_bytes() for path in linked} == before
    assert not mlo("data", "status", "--json").json["changes"]
    drop_cache(project)
    mlo("data", "fsck")


def test_the_answer_for_people_names_everything(project: Path, mlo: Mlo) -> None:
    text = mlo("import", "dvc", project / "nested").stdout
    assert "12 stages (10 up to date, 1 frozen, 1 will run)" in text
    assert "wrote .mloignore, .gitignore, mlo.yaml, mlo.lock" in text
    assert "secrets are not copied" in text


def test_a_folder_without_dvc_is_not_found(here: Path, mlo: Mlo) -> None:
    assert "no DVC project" in mlo("import", "dvc", exit_code=6).stderr
