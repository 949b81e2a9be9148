"""A remote that a web server shows: which index pages are understood, and a clone that pulls through one."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from http_folder import Quiet, WithRanges, served

from mlops_cli.core.errors import ExtraMissing, RemoteError
from mlops_cli.core.project.schema import RemoteConfig
from mlops_cli.core.remotes.check import check_remote
from mlops_cli.core.remotes.http import names_on
from mlops_cli.core.remotes.open import open_remote, open_url

URL = "https://host.example/data/far/packs/"
PAGES = {
    "http.server": """<!DOCTYPE HTML><html><head><title>Directory listing for /</title></head><body><ul>
        <li><a href="ab/">ab/</a></li><li><a href="a%20b%2Bc%25.pack">a b+c%.pack</a></li>
        <li><a href="%C3%BC.idx">ü.idx</a></li></ul></body></html>""",
    "nginx": """<html><head><title>Index of /data/far/packs/</title></head><body><h1>Index of /data/far/packs/</h1><hr>
        <pre><a href="../">../</a>
        <a href="ab/">ab/</a>                   23-Nov-2026 15:00       -
        <a href="a%20b+c%25.pack">a b+c%.pac..&gt;</a>     23-Nov-2026 15:00      12
        <a href="%C3%BC.idx">ü.idx</a></pre></body></html>""",
    "apache": """<table><tr><th><a href="?C=N;O=D">Name</a></th><th><a href="?C=S;O=A">Size</a></th></tr>
        <tr><td><a href="/data/far/">Parent Directory</a></td></tr><tr><td><a href="ab/">ab/</a></td></tr>
        <tr><td><a href='a%20b+c%25.pack'>a b+c%.pack</a></td></tr><tr><td><a href="%c3%bc.idx">ü.idx</a></td></tr>""",
    "caddy": """<a href="../">Up</a><a href="./ab/"><span>ab</span></a><a href="./a%20b+c%25.pack">x</a>
        <a href="https://host.example/data/far/packs/%C3%BC.idx">ü</a>""",
    "hostile": """<a href="../../../etc/passwd">x</a><a href="/etc/passwd">x</a>
        <a href="https://evil.example/data/far/packs/x">x</a>
        <a href="..%2F..%2Fetc%2Fpasswd">x</a><a href="ab/deeper">x</a><a href="javascript:alert(1)">x</a><a>x</a>
        <a href="ab/">ab</a><a href="ab/">again</a><a href="a b+c%25.pack">x</a><a href="ü.idx#top">x</a>
        <a href="&#252;.idx">x</a>""",
}


@pytest.mark.parametrize("server", PAGES)
def test_the_pages_of_common_servers_are_understood(server: str) -> None:
    assert sorted(names_on(PAGES[server], URL)) == ["a b+c%.pack", "ab/", "ü.idx"]


def test_a_server_without_index_pages_is_not_an_empty_remote(tmp_path: Path) -> None:
    class NoIndex(Quiet):
        def list_directory(self, path: Any) -> io.BytesIO | None:
            self.send_error(403)
            return None

    (tmp_path / "VERSION").write_bytes(b"1\n")
    with served(tmp_path, NoIndex) as url:
        remote = open_url(url, root=tmp_path, name="origin")
        assert remote.get("VERSION") == b"1\n"
        with pytest.raises(RemoteError, match="403"):
            list(remote.list("packs/"))
        assert not check_remote(remote).ok


def test_a_folder_that_answers_with_something_else_is_no_listing(tmp_path: Path) -> None:
    class Single(Quiet):
        def guess_type(self, path: Any) -> str:
            return "application/json"

    (tmp_path / "packs").mkdir()
    (tmp_path / "packs/index.html").write_text("{}")
    with served(tmp_path, Single) as url, pytest.raises(RemoteError, match="application/json"):
        list(open_url(url, root=tmp_path, name="origin").list("packs/"))


def test_a_url_with_nothing_behind_it_is_out_of_reach(tmp_path: Path) -> None:
    with served(tmp_path) as url:
        remote = open_url(f"{url}/absent", root=tmp_path, name="origin")
        for ask in (lambda: list(remote.list("runs/")), lambda: remote.get("key"), lambda: remote.exists("key")):
            with pytest.raises(RemoteError, match="there is nothing at that URL"):
                ask()


def test_headers_of_ones_own_are_sent_with_every_request(tmp_path: Path) -> None:
    class Guarded(WithRanges):
        def parse_request(self) -> bool:
            if not super().parse_request():
                return False
            if self.headers.get("Authorization") != "Bearer secret-word":
                self.send_error(401)
                return False
            return True

    (tmp_path / "key").write_bytes(b"0123")
    with served(tmp_path, Guarded) as url:
        with pytest.raises(RemoteError, match="401") as caught:
            open_url(url, root=tmp_path, name="origin").get("key")
        options = {"headers": {"Authorization": "Bearer secret-word"}}
        remote = open_remote("origin", RemoteConfig(url=url, options=options), root=tmp_path)
        assert remote.get_range("key", 1, 2) == b"12"
        assert dict(remote.sizes()) == {"key": 4}
    assert "secret-word" not in str(caught.value)


def test_without_aiohttp_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(ExtraMissing) as caught:
        open_url("https://host.example/far", root=tmp_path)
    assert caught.value.hint == "pip install 'mlops-cli[http]'"


def test_a_page_that_comes_in_many_pieces_is_read_to_its_end(tmp_path: Path) -> None:
    names = {f"packs/{number:0200}.idx" for number in range(2000)}
    (tmp_path / "packs").mkdir()
    for name in names:
        (tmp_path / name).touch()
    with served(tmp_path) as url:
        assert set(open_url(url, root=tmp_path, name="origin").list("packs/")) == names
