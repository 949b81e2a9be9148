"""`mlo remote`, `mlo push` and `mlo pull` from the command line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from command_line import Mlo

YAML = """\
# My project.
name: x   # the name

params:
    rate: 0.1     # indented by four, as I like it
    layers: [1,2]
"""


@pytest.fixture
def project(here: Path) -> Path:
    (here / "mlo.yaml").write_text(YAML)
    return here


def test_add_writes_one_line_and_makes_the_folder(mlo: Mlo, project: Path) -> None:
    mlo("remote", "add", "origin", "../far")
    assert (project / "mlo.yaml").read_text() == YAML + "remotes:\n  origin: ../far\n"
    assert (project.parent / "far").is_dir()
    mlo("remote", "add", "backup", str(project.parent / "far2"))
    text = (project / "mlo.yaml").read_text()
    assert text == YAML + f"remotes:\n  backup: {project.parent}/far2\n  origin: ../far\n"
    rows = mlo("remote", "list", "--json").json["remotes"]
    assert [(row["name"], row["default"]) for row in rows] == [("backup", False), ("origin", True)]


def test_a_relative_folder_is_meant_from_where_one_stands(
    mlo: Mlo, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "sub").mkdir()
    monkeypatch.chdir(project / "sub")
    mlo("remote", "add", "origin", "../../far")
    assert "origin: ../far\n" in (project / "mlo.yaml").read_text()
    assert (project.parent / "far").is_dir()


@pytest.mark.parametrize(
    "tail", ["remotes: {backup: ../b}   # in braces\n", "remotes:   # mine\n\n  backup: ../b # second\n"]
)
def test_comments_and_values_stay_whatever_the_style(mlo: Mlo, project: Path, tail: str) -> None:
    (project / "mlo.yaml").write_text(YAML + tail)
    mlo("remote", "add", "origin", "../far")
    text = (project / "mlo.yaml").read_text()
    for comment in ("# My project.", "# the name", "# indented by four", *tail.partition("#")[1:2]):
        assert comment in text
    names = [row["name"] for row in mlo("remote", "list", "--json").json["remotes"]]
    assert names == ["backup", "origin"]


def test_a_name_is_not_taken_twice_without_force(mlo: Mlo, project: Path) -> None:
    mlo("remote", "add", "origin", "../far")
    mlo("remote", "add", "origin", "../far")
    assert "--force" in mlo("remote", "add", "origin", "../other", exit_code=5).stderr
    assert not (project.parent / "other").exists()
    mlo("remote", "add", "origin", "../other", "--force")
    assert "# the name" in (project / "mlo.yaml").read_text()
    assert mlo("remote", "list", "--json").json["remotes"][0]["url"] == "../other"


def test_bad_names_and_urls_change_nothing(mlo: Mlo, project: Path) -> None:
    mlo("remote", "add", "bad name", "../far", exit_code=2)
    mlo("remote", "add", "origin", "gopher://hole", exit_code=5)
    mlo("remote", "add", "origin", "", exit_code=5)
    assert (project / "mlo.yaml").read_text() == YAML


@pytest.mark.parametrize(("option", "hint"), [("endpoint", "endpoint_url"), ("colour", "region_name")])
def test_an_option_that_s3_does_not_know_is_named_before_anything_is_contacted(
    mlo: Mlo, project: Path, option: str, hint: str
) -> None:
    config = project / "mlo.yaml"
    remotes = f"remotes:\n  origin:\n    url: s3://bucket/p\n    options: {{{option}: x}}\n"
    config.write_text(config.read_text() + remotes)
    answer = mlo("remote", "check", exit_code=5)
    assert f"S3 has no option {option}" in answer.stderr
    assert hint in answer.stderr


def test_list_without_remotes_says_how_to_name_one(mlo: Mlo, project: Path) -> None:
    assert "mlo remote add" in mlo("remote", "list").stdout
    assert "mlo remote add" in mlo("data", "push", exit_code=5).stderr


def test_check_tells_each_step(mlo: Mlo, project: Path) -> None:
    mlo("remote", "add", "origin", "../far")
    text = mlo("remote", "check").stdout
    assert text.count(" ok") == 7
    assert mlo("remote", "list").stdout.split()[:4] == ["name", "url", "trust", "default"]
    shutil.rmtree(project.parent / "far")
    answer = mlo("remote", "check", "origin", exit_code=8)
    assert "there is no folder" in answer.stdout
    assert "not tried" in answer.stdout
    mlo("remote", "check", "nothing", exit_code=6)


def test_a_remote_out_of_reach_is_exit_8(mlo: Mlo, project: Path) -> None:
    (project / "mlo.yaml").write_text(f"{YAML}remotes: {{origin: ../unmounted}}\n")
    (project / "data").mkdir()
    mlo("data", "add", "data")
    assert "unmounted" in mlo("data", "push", exit_code=8).stderr
    assert "unmounted" in mlo("data", "pull", exit_code=8).stderr


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "remotes:\n  # one\n  backup: ../b   # second\n\n  # about origin\n  origin: ../far  # mine\n# the end\n",
            "remotes:\n  # one\n\n  # about origin\n  origin: ../far  # mine\n# the end\n",
        ),
        (
            "remotes:\n  backup:\n    url: ../b\n    # in\n    options:\n      a: 1\n  origin: ../far\nhash: blake3\n",
            "remotes:\n  origin: ../far\nhash: blake3\n",
        ),
        ("remotes:\n  backup: ../b\n\n# about the hash\nhash: blake3\n", "\n# about the hash\nhash: blake3\n"),
        ("remotes: {backup: ../b, origin: ../far}  # in braces\n", "remotes: {origin: ../far} # in braces\n"),
        ("remotes: {backup: ../b}\nhash: blake3\n", "hash: blake3\n"),
        ("remotes:\n    origin: ../far\n    backup: ../b", "remotes:\n    origin: ../far\n"),
    ],
)
def test_rm_takes_out_one_remote_and_leaves_the_rest_as_it_was(
    mlo: Mlo, project: Path, before: str, after: str
) -> None:
    (project.parent / "b").mkdir()
    (project / "mlo.yaml").write_text(YAML + before)
    answer = mlo("remote", "rm", "backup", "--json").json
    assert answer == {"name": "backup", "url": "../b"}
    text = (project / "mlo.yaml").read_text()
    assert "".join(text.split()) == "".join((YAML + after).split())
    if "{" not in before:
        assert text == YAML + after
    assert (project.parent / "b").is_dir()


def test_rm_refuses_what_is_in_use_or_not_there(mlo: Mlo, project: Path) -> None:
    text = f"{YAML}registry: origin\nserve: {{log: logs}}\nremotes: {{origin: ../far, logs: ../logs}}\n"
    (project / "mlo.yaml").write_text(text)
    assert "registry" in mlo("remote", "rm", "origin", exit_code=5).stderr
    assert "serve.log" in mlo("remote", "rm", "logs", exit_code=5).stderr
    mlo("remote", "rm", "nothing", exit_code=6)
    assert (project / "mlo.yaml").read_text() == text


def test_adding_what_lies_elsewhere_contacts_nobody(mlo: Mlo, project: Path) -> None:
    for name, url in (("lab", "sftp://ada@host.invalid/srv/data"), ("web", "https://host.invalid/data")):
        mlo("remote", "add", name, url)
    assert [row["url"] for row in mlo("remote", "list", "--json").json["remotes"]] == [
        "sftp://ada@host.invalid/srv/data",
        "https://host.invalid/data",
    ]


def test_check_is_one_document_with_facts_and_the_problem(mlo: Mlo, project: Path) -> None:
    mlo("remote", "add", "origin", "../far")
    found = mlo("remote", "check", "--json").json
    assert found["problem"] is None
    assert {fact["name"]: fact["value"] for fact in found["facts"]}["path"] == str(project.parent / "far")
    shutil.rmtree(project.parent / "far/tmp")
    (project.parent / "far/tmp").write_bytes(b"a file where the folder should be")
    found = mlo("remote", "check", "--json", exit_code=8).json
    assert found["problem"] == "mlo cannot write"
    text = mlo("remote", "check", exit_code=8).stdout
    assert "mlo cannot write: remote origin (../far): " in text
    assert "hint: " in text


def test_a_shared_remote_without_blake3_is_refused_wherever_data_would_come_from_it(mlo: Mlo, trained: Path) -> None:
    """A model that this machine lacks would be fetched from there."""
    (trained.parent / "far").mkdir()
    with (trained / "mlo.yaml").open("a") as file:
        file.write("remotes: {origin: {url: ../far, trust: shared}}\n")
    shutil.rmtree(trained / ".mlo/cache/objects")
    shutil.rmtree(trained / ".mlo/cache/packs", ignore_errors=True)
    shutil.rmtree(trained / ".mlo/models", ignore_errors=True)
    for line in (["remote", "check"], ["push"], ["pull"], ["promote", "tiny@1", "staging"]):
        assert "blake3" in mlo(*line, exit_code=5).stderr


def test_a_shared_remote_wants_a_hash_that_stops_attackers(mlo: Mlo, project: Path) -> None:
    remotes = "remotes: {origin: {url: ../far, trust: shared}}\n"
    (project.parent / "far").mkdir()
    (project / "data").mkdir()
    (project / "data/a").write_bytes(b"1")
    (project / "mlo.yaml").write_text(YAML + remotes)
    mlo("data", "add", "data")
    assert "blake3" in mlo("data", "push", exit_code=5).stderr
    (project / "mlo.yaml").write_text(f"{YAML}hash: blake3\n{remotes}")
    mlo("data", "add", "data")
    mlo("data", "push")
    assert "blake3:" in (project / "mlo.lock").read_text()


def test_what_is_still_recorded_with_the_quick_hash_neither_goes_to_a_shared_remote_nor_comes_from_it(
    mlo: Mlo, project: Path
) -> None:
    for name in ("old", "new"):
        (project / name).write_text(name)
    remote = "remotes: {origin: {url: ../far}}\n"
    (project.parent / "far").mkdir()
    (project / "mlo.yaml").write_text(YAML + remote)
    mlo("data", "add", "old", "new")
    mlo("data", "push")
    lock = (project / "mlo.lock").read_text()
    shared = f"{YAML}hash: blake3\n{remote.replace('far}', 'far, trust: shared}')}"
    (project / "mlo.yaml").write_text(shared)
    mlo("data", "add", "new")
    before = set((project.parent / "far").rglob("*"))
    for line in (["push"], ["data", "push"], ["data", "push", "old"], ["data", "push", "--dry-run"]):
        refused = mlo(*line, exit_code=5).stderr
        assert "trust: shared" in refused
        assert refused.count("old") == 1
        assert "hash: blake3" in refused
    assert set((project.parent / "far").rglob("*")) == before
    mlo("data", "push", "new")

    (project / "mlo.lock").write_text(lock)
    shutil.rmtree(project / ".mlo/cache")
    for line in (["pull"], ["data", "pull"], ["data", "fetch", "new"]):
        assert "new" in mlo(*line, exit_code=5).stderr
    for name in ("old", "new"):
        (project / name).unlink()
    mlo("data", "fsck", "--repair", exit_code=7)
    assert list((project / ".mlo/cache").glob("objects/xxh128/*")) == []


def test_old_versions_stay_behind_where_only_strong_digests_pass(mlo: Mlo, trained: Path) -> None:
    (trained.parent / "far").mkdir()
    with (trained / "mlo.yaml").open("a") as file:
        file.write("hash: blake3\nremotes: {origin: {url: ../far, trust: shared}}\n")
    mlo("data", "add", "data/raw")
    mlo("run", "--force")
    sent = mlo("push", "--json").json
    assert sent["models"] == 0
    assert not list(trained.parent.glob("far/objects/xxh128/*"))
