"""`mlo data get` and `mlo data update` from files, folders, a real HTTP server and a real S3 server."""

from __future__ import annotations

import base64
import functools
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from buckets import S3Bucket
from command_line import Mlo

from mlops_cli.core.project.lock import Lock, read_lock
from mlops_cli.core.remotes.retry import Patience


class Site:
    """What a server has under each path, which tags it gives, and what it was asked."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.tags = True
        self.head = True
        self.password = ""
        self.cut = 0  # bytes that it promises and does not send
        self.faults: list[int | str] = []  # what it does first: statuses, "cut", "drop"
        self.asked: list[str] = []
        self.moved: dict[str, str] = {}
        self.url = ""


class QuietFiles(SimpleHTTPRequestHandler):
    """The files of a folder, with index pages, and nothing on the terminal."""

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def answer(self, *, with_body: bool) -> None:
            made.asked.append(self.command)
            path = unquote(self.path.partition("?")[0])
            wanted = "Basic " + base64.b64encode(made.password.encode()).decode()
            fault = made.faults.pop(0) if made.faults else None
            if isinstance(fault, int):
                self.send_error(fault)
            elif fault == "drop":
                self.close_connection = True
            elif path in made.moved:
                self.send_response(302)
                self.send_header("Location", made.moved[path])
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif not with_body and not made.head:
                self.send_error(405)
            elif made.password and self.headers.get("Authorization") != wanted:
                self.send_error(401)
            elif path not in made.files:
                self.send_error(404)
            else:
                data = made.files[path]
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                if made.tags:
                    self.send_header("ETag", f'"{hash(data)}"')
                self.end_headers()
                if with_body:
                    self.wfile.write(data[: len(data) - (10 if fault == "cut" else made.cut)])

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_port}"
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops_cli.core.data.http.PATIENCE", Patience(backoff_s=0, tries=3))


@pytest.fixture
def project(here: Path) -> Path:
    (here / "mlo.yaml").write_text("name: mine\n")
    return here


def lock_of(project: Path) -> Lock:
    return read_lock(project / "mlo.lock")


def assert_no_temporary_files(project: Path) -> None:
    assert not list((project / ".mlo/cache/tmp").glob("*"))
    assert not (project / ".mlo/get").exists()


@pytest.mark.parametrize("size", [0, 5, 700_000])
def test_a_file_comes_over_http_and_is_followed_by_its_tag(mlo: Mlo, project: Path, site: Site, size: int) -> None:
    site.files["/a b.csv"] = os.urandom(size)
    mlo("data", "get", f"{site.url}/a%20b.csv?v=1")
    assert (project / "a b.csv").read_bytes() == site.files["/a b.csv"]
    source = lock_of(project).sources["a b.csv"]
    assert (source.url, source.size, source.etag) == (
        f"{site.url}/a%20b.csv?v=1",
        size,
        f'"{hash(site.files["/a b.csv"])}"',
    )
    site.asked.clear()
    assert "up to date" in mlo("data", "update").stdout
    assert site.asked == ["HEAD"]
    site.files["/a b.csv"] = b"new"
    assert "has news" in mlo("data", "update", "--dry-run").stdout
    assert "updated" in mlo("data", "update").stdout
    assert (project / "a b.csv").read_bytes() == b"new"
    assert lock_of(project).sources["a b.csv"].etag == f'"{hash(b"new")}"'
    assert_no_temporary_files(project)


def test_a_server_without_tags_and_without_head_is_read_to_know(mlo: Mlo, project: Path, site: Site) -> None:
    site.files["/a"], site.tags, site.head = b"one", False, False
    mlo("data", "get", f"{site.url}/a", "-o", "data/a.csv")
    assert "does not say whether" in mlo("data", "update", "--dry-run").stdout
    assert "up to date" in mlo("data", "update").stdout
    (project / "data/a.csv").write_bytes(b"mine")
    assert "up to date" in mlo("data", "update").stdout
    site.files["/a"] = b"two"
    assert "data/a.csv stands here" in mlo("data", "update", exit_code=5).stderr
    mlo("data", "update", "--force")
    assert (project / "data/a.csv").read_bytes() == b"two"


def test_a_download_that_ends_early_is_no_data(mlo: Mlo, project: Path, site: Site) -> None:
    site.files["/a"], site.cut = b"x" * 500_000, 10
    assert "bytes came of 500000" in mlo("data", "get", f"{site.url}/a", exit_code=8).stderr
    assert site.asked == ["GET"] * 3
    assert not (project / "mlo.lock").exists()
    assert not (project / "a").exists()
    assert_no_temporary_files(project)


@pytest.mark.parametrize("fault", [500, 503, 429, "cut", "drop"])
def test_what_fails_in_passing_is_asked_for_again(mlo: Mlo, project: Path, site: Site, fault: int | str) -> None:
    site.files["/a"], site.faults = os.urandom(300_000), [fault, fault]
    mlo("data", "get", f"{site.url}/a")
    assert (project / "a").read_bytes() == site.files["/a"]
    site.faults = [503, "drop"]
    assert "up to date" in mlo("data", "update").stdout
    assert_no_temporary_files(project)


@pytest.mark.parametrize(("status", "code"), [(404, 6), (403, 8), (400, 8)])
def test_what_does_not_pass_is_asked_for_once(mlo: Mlo, project: Path, site: Site, status: int, code: int) -> None:
    site.files["/a"], site.faults = b"one", [status] * 5
    mlo("data", "get", f"{site.url}/a", exit_code=code)
    assert site.asked == ["GET"]
    assert_no_temporary_files(project)


def test_a_password_is_used_and_neither_shown_nor_written(mlo: Mlo, project: Path, site: Site) -> None:
    site.files["/a"], site.password = b"one", "ada:hunter2"
    secret = site.url.replace("//", "//ada:hunter2@")
    answer = mlo("data", "get", f"{secret}/a?X-Amz-Signature=hunter2")
    for text in (answer.stdout, answer.stderr, (project / "mlo.lock").read_text()):
        assert "hunter2" not in text
    answer = mlo("data", "update", exit_code=8)
    assert "answered 401" in answer.stderr
    assert "its signature or password included" in answer.stderr


def test_what_a_server_does_not_have_is_not_found(mlo: Mlo, project: Path, site: Site) -> None:
    assert "there is no" in mlo("data", "get", f"{site.url}/nothing", exit_code=6).stderr
    assert "has no --rev" in mlo("data", "get", f"{site.url}/nothing", "--rev", "v1", exit_code=2).stderr
    assert "say where it goes" in mlo("data", "get", f"{site.url}/", exit_code=2).stderr
    mlo("data", "get", "http://127.0.0.1:1/a", exit_code=8)


def test_a_redirect_to_a_file_of_this_machine_is_not_followed(mlo: Mlo, project: Path, site: Site) -> None:
    site.files["/new"], site.moved = b"one", {"/old": "/new", "/evil": "file:///etc/passwd"}
    mlo("data", "get", f"{site.url}/old")
    mlo("data", "get", f"{site.url}/evil", exit_code=8)
    assert not (project / "evil").exists()


def test_a_folder_of_this_machine_comes_whole_and_is_followed(mlo: Mlo, project: Path, tmp_path: Path) -> None:
    far = tmp_path / "far"
    (far / "empty").mkdir(parents=True)
    (far / "a").write_bytes(b"1")
    (far / "run").write_bytes(b"x")
    (far / "run").chmod(0o755)
    (far / "link").symlink_to("a")
    mlo("data", "get", "../far")
    assert os.readlink(project / "far/link") == "a"
    assert os.access(project / "far/run", os.X_OK)
    assert (project / "far/empty").is_dir()
    assert lock_of(project).sources["far"].url == "../far"
    assert "up to date" in mlo("data", "update").stdout
    (far / "a").write_bytes(b"2")
    assert "updated" in mlo("data", "update").stdout
    assert (project / "far/a").read_bytes() == b"2"


def test_a_file_of_this_machine_comes_by_path_and_by_url(mlo: Mlo, project: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"1")
    mlo("data", "get", "../a.csv", "-o", "one.csv")
    mlo("data", "get", f"file://{tmp_path}/a.csv", "-o", "two.csv")
    lock = lock_of(project)
    assert (lock.sources["one.csv"].url, lock.sources["two.csv"].url) == ("../a.csv", f"{tmp_path}/a.csv")
    (tmp_path / "a.csv").touch()
    assert mlo("data", "update").stdout.count("up to date") == 2
    (tmp_path / "a.csv").unlink()
    assert "there is no file" in mlo("data", "update", exit_code=6).stderr
    assert "there is no file" in mlo("data", "get", "../nothing", exit_code=6).stderr


@pytest.fixture
def bucket(s3_bucket: S3Bucket) -> Any:
    import fsspec

    return fsspec.filesystem("s3", endpoint_url=s3_bucket.endpoint, skip_instance_cache=True)


def test_a_prefix_of_a_bucket_comes_and_only_changes_are_fetched(
    mlo: Mlo, project: Path, s3_bucket: S3Bucket, bucket: Any
) -> None:
    root = f"{s3_bucket.name}/flights"
    for name, data in {"a": b"1", "sub/b": b"22", "sub/": b"", "big": b"x" * 600_000}.items():
        bucket.pipe_file(f"{root}/{name}", data)
    mlo("data", "get", f"s3://{root}", "-o", "data/flights")
    assert {path.name for path in (project / "data/flights").rglob("*")} == {"a", "sub", "b", "big"}
    assert (lock_of(project).sources["data/flights"].etag or "").startswith("listing-")
    assert "up to date" in mlo("data", "update").stdout
    bucket.pipe_file(f"{root}/a", b"new")
    bucket.rm_file(f"{root}/sub/b")
    before = (project / "data/flights/big").stat().st_ino
    assert "updated" in mlo("data", "update").stdout
    assert (project / "data/flights/a").read_bytes() == b"new"
    assert not (project / "data/flights/sub/b").exists()
    assert (project / "data/flights/big").stat().st_ino == before
    assert mlo("data", "status", "--json").json["changes"] == []
    assert_no_temporary_files(project)


def test_files_that_did_not_change_are_not_fetched_again(
    project: Path, s3_bucket: S3Bucket, bucket: Any, mlo: Mlo, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3fs import S3FileSystem

    for name in ("a", "b", "c"):
        bucket.pipe_file(f"{s3_bucket.name}/raw/{name}", name.encode())
    mlo("data", "get", f"s3://{s3_bucket.name}/raw")
    fetched: list[str] = []
    original = S3FileSystem._get_file

    async def counted(self: Any, source: str, *rest: Any, **options: Any) -> Any:
        fetched.append(source)
        return await original(self, source, *rest, **options)

    monkeypatch.setattr(S3FileSystem, "_get_file", counted)
    bucket.pipe_file(f"{s3_bucket.name}/raw/b", b"new")
    mlo("data", "update")
    assert fetched == [f"{s3_bucket.name}/raw/b"]
    assert (project / "raw/a").read_bytes() == b"a"


def test_one_object_of_a_bucket_comes_with_its_tag(mlo: Mlo, project: Path, s3_bucket: S3Bucket, bucket: Any) -> None:
    bucket.pipe_file(f"{s3_bucket.name}/one.csv", b"one")
    mlo("data", "get", f"s3://{s3_bucket.name}/one.csv")
    source = lock_of(project).sources["one.csv"]
    assert source.etag
    assert source.modified
    assert "up to date" in mlo("data", "update").stdout
    mlo("data", "get", f"s3://{s3_bucket.name}/nothing", exit_code=6)


def test_keys_that_lead_out_are_refused(mlo: Mlo, project: Path, s3_bucket: S3Bucket, bucket: Any) -> None:
    bucket.pipe_file(f"{s3_bucket.name}/raw/a", b"a")
    bucket.pipe_file(f"{s3_bucket.name}/raw/.git/hooks/x", b"a")
    assert "is not a path that mlo writes" in mlo("data", "get", f"s3://{s3_bucket.name}/raw", exit_code=7).stderr
    assert not (project / "mlo.lock").exists()


def test_a_protocol_that_nobody_speaks_is_said(mlo: Mlo, project: Path) -> None:
    assert "cannot be opened" in mlo("data", "get", "nonsense://x/y", exit_code=5).stderr


def test_the_page_that_lists_a_folder_is_no_data(mlo: Mlo, project: Path, tmp_path: Path) -> None:
    """A server that has a folder under a name answers with a page, after a redirect to the name with a slash."""
    (tmp_path / "served/folder").mkdir(parents=True)
    (tmp_path / "served/folder/x.csv").write_text("1\n")
    handler = functools.partial(QuietFiles, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/folder"
        assert "index page" in mlo("data", "get", url, exit_code=6).stderr
        mlo("data", "get", f"{url}/x.csv")
        server.shutdown()
        thread.join()
    assert list(lock_of(project).data) == ["x.csv"]
    assert_no_temporary_files(project)
