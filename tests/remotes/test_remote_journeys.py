"""A whole project through each remote that needs a server: pushed on one machine, pulled on another."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Mlo
from http_folder import served
from ssh_server import SshServer


def test_a_clone_pulls_what_was_pushed_through_a_web_server(
    mlo: Mlo, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "mlo.yaml").write_text("name: x\nremotes: {origin: ../far}\n")
    (tmp_path / "far").mkdir()
    for number in range(40):
        (here / "data/below").mkdir(parents=True, exist_ok=True)
        (here / f"data/below/{number}").write_text(f"file {number}")
    (here / "data/large").write_bytes(b"large" * 100_000)
    mlo("data", "add", "data")
    mlo("push")
    clone = tmp_path / "clone"
    clone.mkdir()
    with served(tmp_path / "far") as url:
        (clone / "mlo.yaml").write_text(f"name: x\nremotes: {{origin: '{url}'}}\n")
        (clone / "mlo.lock").write_bytes((here / "mlo.lock").read_bytes())
        monkeypatch.chdir(clone)
        mlo("pull")
        assert (clone / "data/large").read_bytes() == b"large" * 100_000
        assert (clone / "data/below/7").read_text() == "file 7"
        (clone / "data/new").write_text("new")
        mlo("data", "add", "data")
        answer = mlo("push", exit_code=8)
        assert "read only" in answer.stderr
        text = mlo("remote", "check").stdout
        assert "VERSION is " in text
        assert text.count("read only") == 3


@pytest.mark.sshd
def test_a_project_is_pushed_and_pulled_over_ssh(
    mlo: Mlo, here: Path, sshd: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = tmp_path / "far"
    far.mkdir()
    keys, known = sshd.options["client_keys"][0], sshd.options["known_hosts"]
    text = (
        "name: x\nremotes:\n  origin:\n"
        f"    url: {sshd.url(far)}\n    options: {{client_keys: ['{keys}'], known_hosts: '{known}'}}\n"
    )
    (here / "mlo.yaml").write_text(text)
    (here / "data").mkdir()
    for number in range(40):
        (here / f"data/{number}").write_text(f"file {number}")
    mlo("data", "add", "data")
    mlo("push")
    clone = tmp_path / "clone"
    clone.mkdir()
    (clone / "mlo.yaml").write_text(text)
    (clone / "mlo.lock").write_bytes((here / "mlo.lock").read_bytes())
    monkeypatch.chdir(clone)
    mlo("pull")
    assert (clone / "data/7").read_text() == "file 7"
