"""Servers that misbehave: what is tried again, what is not, and what is said in the end."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bad_remote import BadRemote, bad_remote
from buckets import S3Bucket
from http_folder import WithRanges, served

from mlops_cli.core.errors import NotFound, ProjectError, RemoteError
from mlops_cli.core.project.schema import RemoteConfig
from mlops_cli.core.remotes.check import check_remote
from mlops_cli.core.remotes.open import open_remote, open_url
from mlops_cli.core.remotes.remote import Remote, ShortAnswer


@pytest.fixture
def bad(s3_bucket: S3Bucket) -> Iterator[BadRemote]:
    with bad_remote(s3_bucket.endpoint) as proxy:
        yield proxy


@pytest.fixture
def remote(bad: BadRemote, s3_bucket: S3Bucket) -> Remote:
    return opened(bad, s3_bucket)


def opened(bad: BadRemote, bucket: S3Bucket, **options: Any) -> Remote:
    config = RemoteConfig(url=f"s3://{bucket.name}/below", options={**bad.options, **options})
    return open_remote("origin", config, root=Path())


@pytest.mark.parametrize("kind", ["500", "503", "drop", "truncate"])
def test_what_passes_is_tried_again(bad: BadRemote, remote: Remote, tmp_path: Path, kind: Any) -> None:
    data = b"value" * 1000
    (tmp_path / "source").write_bytes(data)
    for write in (lambda: remote.put("key", data), lambda: remote.put_file("key", tmp_path / "source")):
        bad.spoil(kind, "key$", method="PUT", times=2)
        write()
    for read in (lambda: remote.get("key"), lambda: remote.get_range("key", 0, len(data))):
        bad.spoil(kind, "key$", method="GET", times=2)
        assert read() == data
    bad.spoil(kind, "key$", method="GET", times=2)
    remote.get_file("key", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == data
    bad.spoil(kind, "list-type", times=2)
    assert dict(remote.sizes()) == {"key": len(data)}
    bad.spoil(kind, "key", method="DELETE", times=2)
    remote.delete("key")
    assert not remote.exists("key")


def test_a_server_that_stays_broken_is_given_up_and_named(bad: BadRemote, remote: Remote) -> None:
    bad.spoil("500", "key$")
    with pytest.raises(RemoteError, match="tried 5 times") as caught:
        remote.put("key", b"")
    assert bad.count("PUT", "key$") == 5
    for word in ("origin", "s3://", bad.endpoint, "cannot write key", "InternalError"):
        assert word in caught.value.message


def test_how_often_is_an_option(bad: BadRemote, s3_bucket: S3Bucket) -> None:
    remote = opened(bad, s3_bucket, retries=0)
    bad.spoil("500", "key$")
    with pytest.raises(RemoteError) as caught:
        remote.get("key")
    assert bad.count("GET", "key$") == 1
    assert "tried" not in caught.value.message


@pytest.mark.parametrize(("call", "method"), [("put", "PUT"), ("get", "GET"), ("list", "GET"), ("delete", "DELETE")])
def test_a_refusal_is_final_and_says_what_to_do(bad: BadRemote, remote: Remote, call: str, method: str) -> None:
    bad.spoil("403", "key|list-type")
    asking = {
        "put": lambda: remote.put("key", b""),
        "get": lambda: remote.get("key"),
        "list": lambda: list(remote.list()),
        "delete": lambda: remote.delete("key"),
    }
    with pytest.raises(RemoteError, match="AccessDenied") as caught:
        asking[call]()
    assert bad.count(method, "key|list-type") == 1
    assert "permission" in str(caught.value.hint)
    assert bad.endpoint in caught.value.message


def test_an_absent_key_is_asked_for_once(bad: BadRemote, remote: Remote) -> None:
    with pytest.raises(NotFound):
        remote.get("nothing")
    assert bad.count("GET", "nothing$") == 1


def test_a_server_that_hangs_is_left_after_the_time_limit(bad: BadRemote, s3_bucket: S3Bucket) -> None:
    remote = opened(bad, s3_bucket, read_timeout=0.1, retries=1)
    bad.spoil("hang", "key$")
    with pytest.raises(RemoteError, match="tried 2 times") as caught:
        remote.get("key")
    assert "imeout" in caught.value.message
    assert bad.count("GET", "key$") == 2


def test_a_part_of_a_large_file_is_tried_again_by_itself(bad: BadRemote, remote: Remote, tmp_path: Path) -> None:
    with (tmp_path / "source").open("wb") as file:
        file.truncate(65 << 20)
    bad.spoil("500", "partNumber=2", times=2)
    remote.put_file("large", tmp_path / "source")
    assert dict(remote.sizes()) == {"large": 65 << 20}
    assert [bad.count("PUT", f"partNumber={number}") for number in (1, 2, 3)] == [1, 3, 1]


def test_a_get_is_one_request(bad: BadRemote, remote: Remote) -> None:
    remote.put("key", b"0123456789")
    before = bad.count()
    remote.get("key")
    remote.get_range("key", 2, 3)
    assert bad.count() - before == 2


def test_a_creation_whose_answer_was_lost_is_known_as_ones_own(bad: BadRemote, remote: Remote) -> None:
    remote.require_create()
    bad.spoil("lose", "events/1", method="PUT", times=1)
    assert remote.put_if_absent("events/1", b"mine")
    assert bad.count("PUT", "events/1") == 2
    bad.spoil("500", "events/1", method="PUT", times=1)
    assert not remote.put_if_absent("events/1", b"another's")
    assert remote.get("events/1") == b"mine"


@pytest.mark.parametrize("kind", ["short", "corrupt"])
def test_what_s3_has_a_checksum_for_is_checked_on_arrival(bad: BadRemote, remote: Remote, kind: Any) -> None:
    remote.put("key", b"0123456789")
    bad.spoil(kind, "key$", method="GET", times=2)
    assert remote.get("key") == b"0123456789"
    bad.spoil(kind, "key$", method="GET")
    with pytest.raises(RemoteError, match="checksum"):
        remote.get("key")


# -- the preflight ---------------------------------------------------------------------------------------------------


def test_the_check_says_who_one_is_and_where(bad: BadRemote, remote: Remote) -> None:
    check = check_remote(remote)
    facts = {fact.name: fact.value for fact in check.facts}
    assert check.ok, check
    assert facts["endpoint"] == bad.endpoint
    assert facts["identity"].startswith("arn:aws:")
    assert facts["access key"].endswith("(from env)")
    assert list(remote.list()) == []


@pytest.mark.parametrize(
    ("pattern", "method", "step"),
    [
        ("list-type", "GET", "reach and list"),
        ("check/", "PUT", "write"),
        ("check/[0-9a-f]*$", "GET", "read back"),
        ("check/", "DELETE", "delete"),
    ],
)
def test_the_check_names_the_permission_that_is_missing(
    bad: BadRemote, remote: Remote, pattern: str, method: str, step: str
) -> None:
    bad.spoil("403", pattern, method=method)
    check = check_remote(remote)
    failed = [found for found in check.steps if found.ok is False]
    assert [found.name for found in failed] == [step]
    assert "AccessDenied" in failed[0].detail
    assert bad.endpoint in failed[0].detail
    assert "permission" in failed[0].hint


def test_the_check_without_credentials_says_so(
    bad: BadRemote, s3_bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_PROFILE", "work")
    home = Path(str(Path.home()))
    (home / ".aws").mkdir(parents=True)
    (home / ".aws/config").write_text("[profile work]\nregion = eu-west-1\n")
    check = check_remote(opened(bad, s3_bucket))
    assert check.problem == "mlo cannot go there"
    assert "there are no credentials" in check.steps[0].detail
    assert "profile work" in check.steps[0].detail
    assert bad.endpoint in check.steps[0].detail
    assert [step.detail for step in check.steps[1:]] == ["not tried"] * 6


def test_an_unknown_profile_is_named(bad: BadRemote, s3_bucket: S3Bucket) -> None:
    check = check_remote(opened(bad, s3_bucket, profile="nobody"))
    assert not check.ok
    assert "nobody" in check.steps[0].detail


def test_a_clock_that_is_off_is_named(bad: BadRemote, remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops_cli.core.remotes.s3.wall_clock", lambda: time.time() + 3_600)
    check = check_remote(remote)
    assert "60 minutes ahead of the server's" in check.steps[0].detail
    assert "timedatectl" in check.steps[0].hint


def test_a_bucket_that_is_not_there_is_named(bad: BadRemote) -> None:
    check = check_remote(opened(bad, S3Bucket("nobodys-bucket", "")))
    assert "there is no bucket nobodys-bucket" in check.steps[1].detail


def test_nobody_listening_is_said_at_once(s3_bucket: S3Bucket) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        config = RemoteConfig(url=f"s3://{s3_bucket.name}", options={"endpoint_url": endpoint, "backoff": 60})
        with pytest.raises(RemoteError, match=endpoint):
            list(open_remote("origin", config, root=Path()).list())


# -- web servers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["500", "503", "drop", "truncate"])
def test_a_web_server_is_asked_again_too(tmp_path: Path, kind: Any) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far/key").write_bytes(b"0123456789")
    with served(tmp_path / "far", WithRanges) as url, bad_remote(url) as bad:
        remote = open_remote("origin", RemoteConfig(url=bad.endpoint, options={"backoff": 0}), root=tmp_path)
        for read in (
            lambda: remote.get("key"),
            lambda: remote.get_range("key", 0, 10),
            lambda: remote.get_file("key", tmp_path / "target"),
            lambda: list(remote.sizes()),
        ):
            bad.mend()
            bad.spoil(kind, times=2)
            read()
        assert (tmp_path / "target").read_bytes() == b"0123456789"
        bad.mend()
        bad.spoil("403")
        before = bad.count()
        with pytest.raises(RemoteError, match="403"):
            remote.get("key")
        assert bad.count() - before == 1


def test_an_answer_that_is_cut_and_claims_to_be_whole_is_a_short_answer(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far/key").write_bytes(b"0123456789")
    with served(tmp_path / "far", WithRanges) as url, bad_remote(url) as bad:
        remote = open_remote("origin", RemoteConfig(url=bad.endpoint, options={"backoff": 0}), root=tmp_path)
        bad.spoil("short")
        with pytest.raises(ShortAnswer, match="asked for 10 bytes from byte 0, 5 came"):
            remote.get_range("key", 0, 10)


def test_a_web_server_that_hangs_is_left_too(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    options = {"read_timeout": 0.1, "retries": 0}
    with served(tmp_path / "far") as url, bad_remote(url) as bad:
        remote = open_remote("origin", RemoteConfig(url=bad.endpoint, options=options), root=tmp_path)
        bad.spoil("hang")
        with pytest.raises(RemoteError, match="imeout"):
            remote.get("key")


@pytest.mark.parametrize(
    "option", [{"retries": -1}, {"read_timeout": 0}, {"backoff": "much"}, {"connect_timeout": True}]
)
def test_limits_that_are_none_are_refused(tmp_path: Path, option: dict[str, Any]) -> None:
    with pytest.raises(ProjectError, match=rf"remotes\.origin\.options\.{next(iter(option))}"):
        open_remote("origin", RemoteConfig(url="memory://x", options=option), root=tmp_path)


def test_an_option_that_nobody_knows_is_a_project_error(tmp_path: Path) -> None:
    config = RemoteConfig(url="s3://bucket", options={"endpoint": "http://host"})
    with pytest.raises((ProjectError, RemoteError), match="endpoint"):
        list(open_remote("origin", config, root=tmp_path).list())


def test_a_remote_by_url_has_the_same_patience(tmp_path: Path) -> None:
    with served(tmp_path) as url:
        assert list(open_url(url, root=tmp_path).list()) == []
