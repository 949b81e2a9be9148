"""A remote behind a real sshd: hosts that are not known, connections that get lost, values that appear whole."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ssh_server import SshServer, running_sshd

from mlops_cli.core.errors import ProjectError, RemoteError
from mlops_cli.core.project.schema import RemoteConfig
from mlops_cli.core.remotes.check import check_remote
from mlops_cli.core.remotes.open import open_remote
from mlops_cli.core.remotes.remote import Remote

pytestmark = pytest.mark.sshd


@pytest.fixture
def far(tmp_path: Path) -> Path:
    (tmp_path / "far").mkdir()
    return tmp_path / "far"


def opened(sshd: SshServer, far: Path, **options: Any) -> Remote:
    config = RemoteConfig(url=sshd.url(far), options={**sshd.options, "backoff": 0, **options})
    return open_remote("origin", config, root=far)


@pytest.fixture
def own_sshd(sshd: SshServer, tmp_path: Path) -> Iterator[SshServer]:
    """One whose connections this test may kill."""
    (tmp_path / "own").mkdir()
    with running_sshd(tmp_path / "own") as server:
        yield server


def connections(server: SshServer) -> list[int]:
    """The processes that serve one connection each."""
    children = Path(f"/proc/{server.daemon.pid}/task/{server.daemon.pid}/children")
    if children.exists():  # not every container has a ps
        return [int(pid) for pid in children.read_text().split()]
    done = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(server.daemon.pid)], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in done.stdout.split()]


def test_a_host_that_is_not_known_is_refused(sshd: SshServer, far: Path) -> None:
    options = {name: value for name, value in sshd.options.items() if name != "known_hosts"}
    remote = open_remote("origin", RemoteConfig(url=sshd.url(far), options=options), root=far)
    with pytest.raises(RemoteError, match="not trusted") as caught:
        list(remote.list())
    assert "known_hosts" in str(caught.value.hint)
    assert "tried" not in caught.value.message


def test_any_host_is_taken_only_where_the_options_say_so(sshd: SshServer, far: Path) -> None:
    assert list(opened(sshd, far, known_hosts=None).list()) == []


def test_a_host_with_another_key_is_refused(sshd: SshServer, far: Path, tmp_path: Path) -> None:
    other = (sshd.folder / "user.pub").read_text()
    (tmp_path / "known").write_text(f"[127.0.0.1]:{sshd.port} {other}")
    with pytest.raises(RemoteError, match="not trusted"):
        list(opened(sshd, far, known_hosts=str(tmp_path / "known")).list())


def test_known_hosts_of_the_user_are_what_counts_without_options(
    sshd: SshServer, far: Path, quiet_environment: None
) -> None:
    ssh = Path.home() / ".ssh"
    ssh.mkdir(parents=True)
    (ssh / "known_hosts").write_bytes((sshd.folder / "known_hosts").read_bytes())
    (ssh / "id_ed25519").write_bytes((sshd.folder / "user").read_bytes())
    (ssh / "id_ed25519").chmod(0o600)
    remote = open_remote("origin", RemoteConfig(url=sshd.url(far)), root=far)
    remote.put("key", b"1")
    assert (far / "key").read_bytes() == b"1"


def test_a_key_that_the_server_does_not_take_is_said_once(sshd: SshServer, far: Path) -> None:
    with pytest.raises(RemoteError, match=r"ermission denied") as caught:
        list(opened(sshd, far, client_keys=[str(sshd.folder / "host")]).list())
    assert sshd.url(far) in caught.value.message
    assert "`ssh` to that host" in str(caught.value.hint)


def test_opening_contacts_nobody(tmp_path: Path) -> None:
    open_remote("origin", RemoteConfig(url="sftp://nobody@host.invalid/far"), root=tmp_path)
    with pytest.raises(ProjectError, match="names no host"):
        open_remote("origin", RemoteConfig(url="sftp:///far"), root=tmp_path)


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGSTOP], ids=["lost", "hung"])
def test_a_connection_that_is_lost_or_hangs_is_made_anew(own_sshd: SshServer, far: Path, stop: signal.Signals) -> None:
    remote = opened(own_sshd, far, read_timeout=0.3)
    remote.put("key", b"value")
    first = connections(own_sshd)
    assert first
    for pid in first:
        os.kill(pid, stop)
    try:
        assert remote.get("key") == b"value"
    finally:
        for pid in first:
            os.kill(pid, signal.SIGKILL) if stop is signal.SIGSTOP else None


def test_a_server_that_is_gone_is_named(own_sshd: SshServer, far: Path) -> None:
    remote = opened(own_sshd, far)
    remote.put("key", b"value")
    children = connections(own_sshd)
    own_sshd.daemon.terminate()
    own_sshd.daemon.wait()
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(RemoteError, match="origin"):
        remote.get("key")


def test_an_absent_folder_is_out_of_reach_and_never_empty(sshd: SshServer, far: Path) -> None:
    remote = opened(sshd, far / "unmounted")
    asking: list[Callable[[], object]] = [
        lambda: list(remote.list()),
        lambda: remote.get("key"),
        lambda: remote.exists("key"),
        lambda: remote.put("key", b""),
        lambda: remote.put_if_absent("key", b""),
    ]
    for ask in asking:
        with pytest.raises(RemoteError, match="there is no folder"):
            ask()
    assert not (far / "unmounted").exists()
    remote.create()
    assert list(remote.list()) == []


def test_nothing_but_the_value_is_left_after_a_put(sshd: SshServer, far: Path) -> None:
    remote = opened(sshd, far)
    remote.put("a/b", b"1")
    assert remote.put_if_absent("a/c", b"2")
    assert not remote.put_if_absent("a/c", b"3")
    assert sorted(str(path.relative_to(far)) for path in far.rglob("*") if path.is_file()) == ["a/b", "a/c"]


def test_old_temp_files_are_swept(sshd: SshServer, far: Path) -> None:
    remote = opened(sshd, far)
    remote.put("key", b"")
    for name in ("old", "young"):
        (far / "tmp" / name).write_bytes(b"half")
    os.utime(far / "tmp/old", (1, 1))
    assert list(remote.list()) == ["key"]
    assert remote.sweep() == 1
    assert os.listdir(far / "tmp") == ["young"]


def test_a_folder_one_may_not_write_is_named_by_the_check(sshd: SshServer, far: Path) -> None:
    (far / "tmp").write_bytes(b"a file where the folder should be")
    check = check_remote(opened(sshd, far))
    facts = {fact.name: fact.value for fact in check.facts}
    assert facts["identity"] == f"{sshd.user}@127.0.0.1"
    assert facts["host key"].startswith("SHA256:")
    assert check.problem == "mlo cannot write"


def test_the_check_finds_that_it_can_hold_a_registry(sshd: SshServer, far: Path) -> None:
    check = check_remote(opened(sshd, far))
    assert [step.ok for step in check.steps] == [True] * 7
    assert [path for path in far.rglob("*") if path.is_file()] == []
