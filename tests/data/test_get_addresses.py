"""What may be written as a source of `mlo data get`, and what mlo.lock keeps of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_cli.core.base.digest import Digest
from mlops_cli.core.data.address import parse_address, without_secrets
from mlops_cli.core.data.planting import plant
from mlops_cli.core.errors import IntegrityError, UsageError
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.tree import FILE, TreeEntry, walk


@pytest.mark.parametrize(
    ("text", "kind", "recorded", "inner"),
    [
        ("git@host.org:team/flights.git", "git", "git@host.org:team/flights.git", ""),
        ("https://host.org/flights.git", "git", "https://host.org/flights.git", ""),
        ("https://token@host.org/flights.git#sub/a", "git", "https://host.org/flights.git#sub/a", "sub/a"),
        ("https://ada:secret@host.org/flights", "git", "https://host.org/flights", ""),  # pragma: allowlist secret
        ("ssh://git@host.org/flights.git", "git", "ssh://git@host.org/flights.git", ""),
        ("../flights", "project", "../flights", ""),
        ("../flights#mono/one", "project", "../flights#mono/one", "mono/one"),
    ],
)
def test_a_project_is_a_folder_or_what_git_reads(
    tmp_path: Path, text: str, kind: str, recorded: str, inner: str
) -> None:
    (tmp_path / "flights").mkdir()
    here = tmp_path / "here"
    here.mkdir()
    found = parse_address(text, base=here, root=here, inside=True)
    assert (found.kind, found.recorded, found.inner) == (kind, recorded, inner)


@pytest.mark.parametrize(
    ("text", "kind", "recorded", "name"),
    [
        ("https://host.org/a%20b.csv?x=1#top", "http", "https://host.org/a%20b.csv?x=1", "a b.csv"),
        ("https://host.org/a.csv?X-Amz-Signature=1&v=2", "http", "https://host.org/a.csv?v=2", "a.csv"),
        ("s3://bucket/raw/2013/", "bucket", "s3://bucket/raw/2013/", "2013"),
        ("sftp://ada:secret@host.org/data", "bucket", "sftp://ada@host.org/data", "data"),  # pragma: allowlist secret
        ("../far.csv", "place", "../far.csv", "far.csv"),
    ],
)
def test_data_has_an_address_of_its_own(tmp_path: Path, text: str, kind: str, recorded: str, name: str) -> None:
    found = parse_address(text, base=tmp_path, root=tmp_path, inside=False)
    assert (found.kind, found.recorded, found.name) == (kind, recorded, name)


def test_a_relative_folder_is_recorded_relative_to_the_project(tmp_path: Path) -> None:
    root = tmp_path / "project"
    (root / "deep").mkdir(parents=True)
    (tmp_path / "far").mkdir()
    assert parse_address("../../far", base=root / "deep", root=root, inside=True).recorded == "../far"
    assert parse_address(f"{tmp_path}/far", base=root, root=root, inside=True).recorded == f"{tmp_path}/far"
    assert parse_address(f"file://{tmp_path}/far", base=root, root=root, inside=True).kind == "project"


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("", True),
        ("ext::sh -c 'touch x'", True),
        ("filecache::s3://x/y", False),
        ("s3://bucket/raw", True),
        ("git@host.org:flights.git", False),
        ("https://host.org/flights.git", False),
        ("https://host.org/flights.git#../..", True),
        ("-oProxyCommand=x:y", True),
    ],
)
def test_what_cannot_be_a_source_is_refused(tmp_path: Path, text: str, inside: bool) -> None:
    with pytest.raises(UsageError):
        parse_address(text, base=tmp_path, root=tmp_path, inside=inside)


def test_a_project_without_a_path_is_asked_for_one(tmp_path: Path) -> None:
    (tmp_path / "mlo.yaml").write_text("name: x\n")
    with pytest.raises(UsageError, match="is a project"):
        parse_address(str(tmp_path), base=tmp_path, root=tmp_path, inside=False)


def test_a_url_that_does_not_parse_shows_nothing_but_its_scheme() -> None:
    assert without_secrets("https://[secret/x") == "https://…"


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "cache", "xxh128")


def test_a_planted_folder_holds_what_it_was_given(store: LocalStore) -> None:
    digest = str(store.put_bytes(b"12"))
    entry = plant(store, {path: TreeEntry(b"", FILE, digest, 2) for path in (b"a", b"b/c", b"b/d/e")})
    assert (entry.files, entry.size) == (3, 6)
    assert [path for path, _ in walk(store, entry)] == ["a", "b", "b/c", "b/d", "b/d/e"]
    store.read(Digest.parse(entry.digest))


@pytest.mark.parametrize("paths", [[b"../x"], [b"/etc"], [b"a//b"], [b".git/hooks/x"], [b"a", b"a/b"], [b"a/b", b"a"]])
def test_names_that_no_tree_may_hold_are_refused(store: LocalStore, paths: list[bytes]) -> None:
    digest = str(store.put_bytes(b"12"))
    with pytest.raises(IntegrityError):
        plant(store, {path: TreeEntry(b"", FILE, digest, 2) for path in paths})
