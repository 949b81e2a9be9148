"""What is special about a remote that is a folder, and how remotes are opened and named in errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_cli.core.errors import ExtraMissing, IntegrityError, MachineError, ProjectError, RemoteError
from mlops_cli.core.project.schema import RemoteConfig
from mlops_cli.core.remotes.check import check_remote
from mlops_cli.core.remotes.filesystem import FilesystemRemote
from mlops_cli.core.remotes.open import folder_of, open_remote, open_url, shown
from mlops_cli.core.remotes.remote import Remote


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    (tmp_path / "far").mkdir()
    return open_url("far", root=tmp_path, name="origin")


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_an_absent_folder_is_out_of_reach_and_never_empty(tmp_path: Path) -> None:
    remote = open_url("unmounted", root=tmp_path, name="origin")
    for ask in (lambda: list(remote.list()), lambda: remote.get("key"), lambda: remote.exists("key")):
        with pytest.raises(RemoteError, match="unmounted") as caught:
            ask()
        assert "mkdir -p" in str(caught.value.hint)


def test_create_makes_the_folder(tmp_path: Path) -> None:
    remote = open_url("new/far", root=tmp_path)
    remote.create()
    assert list(remote.list()) == []


def test_nothing_but_the_value_is_left_after_a_put(remote: Remote, tmp_path: Path) -> None:
    remote.put("a/b", b"1")
    remote.put_if_absent("a/c", b"2")
    remote.put_if_absent("a/c", b"3")
    assert files_in(tmp_path / "far") == ["a/b", "a/c"]


def test_a_put_that_fails_leaves_the_old_value(remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote.put("key", b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(MachineError, match="origin"):
        remote.put("key", b"new")
    assert remote.get("key") == b"old"
    assert files_in(tmp_path / "far") == ["key"]


def test_temp_files_are_not_keys_and_old_ones_are_swept(remote: Remote, tmp_path: Path) -> None:
    remote.put("key", b"")
    (tmp_path / "far/tmp/old").write_bytes(b"half")
    (tmp_path / "far/tmp/young").write_bytes(b"half")
    os.utime(tmp_path / "far/tmp/old", (0, 0))
    assert list(remote.list()) == ["key"]
    assert remote.sweep() == 1
    assert files_in(tmp_path / "far") == ["key", "tmp/young"]


def test_a_folder_without_hard_links_cannot_create_conditionally(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)
    check = check_remote(remote)
    assert check.ok
    assert check.steps[-1].ok is None
    assert "hard links" in check.steps[-1].detail


def test_the_check_tries_every_step_and_leaves_nothing(remote: Remote, tmp_path: Path) -> None:
    check = check_remote(remote)
    assert [step.ok for step in check.steps] == [True] * 7
    assert [fact.name for fact in check.facts] == ["path", "owner", "free"]
    assert check.problem is None
    assert files_in(tmp_path / "far") == []


def test_the_check_of_a_remote_out_of_reach_says_so_once(tmp_path: Path) -> None:
    check = check_remote(open_url("unmounted", root=tmp_path, name="origin"))
    assert not check.ok
    assert [step.ok for step in check.steps] == [False, *[None] * 6]
    assert check.problem == "mlo cannot go there"
    assert "unmounted" in check.steps[0].detail


def test_a_bucket_is_not_trusted_with_a_registry(tmp_path: Path) -> None:
    check = check_remote(open_url("memory://check-me", root=tmp_path, name="origin"))
    assert check.ok
    assert check.steps[-1].ok is None


def test_a_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ExtraMissing) as caught:
        open_remote("origin", RemoteConfig(url="s3://bucket/path"), root=tmp_path)
    assert caught.value.hint == "pip install 'mlops-cli[s3]'"
    assert "s3://bucket/path" in caught.value.message


def test_an_unknown_scheme_is_a_project_error(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="gopher"):
        open_url("gopher://hole", root=tmp_path)
    with pytest.raises(ProjectError, match="empty"):
        open_url(" ", root=tmp_path)


def test_a_password_is_never_shown() -> None:
    assert shown("sftp://ada:secret@host/path") == "sftp://ada:***@host/path"  # pragma: allowlist secret
    assert shown("s3://bucket/a@b") == "s3://bucket/a@b"


def test_a_folder_is_relative_to_the_project(tmp_path: Path) -> None:
    assert folder_of("../far", tmp_path / "project") == tmp_path / "project" / "../far"
    assert folder_of(f"file://{tmp_path}", tmp_path) == tmp_path
    assert folder_of("s3://bucket", tmp_path) is None


def test_errors_of_a_backend_name_the_remote_and_its_endpoint(tmp_path: Path) -> None:
    class Broken:
        def cat_file(self, path: str) -> bytes:
            raise ConnectionError(f"refused for {path}")

    remote = FilesystemRemote("origin", "s3://bucket", Broken(), "bucket", protocol="s3", endpoint="http://host:9000")
    with pytest.raises(RemoteError, match="origin") as caught:
        remote.get("key")
    assert "http://host:9000" in caught.value.message
    assert "AWS_PROFILE" in str(caught.value.hint)


def test_a_bucket_that_is_not_there_is_never_empty(tmp_path: Path) -> None:
    """fsspec lists an absent bucket as an empty one; its memory file system does so too."""
    from fsspec.implementations.memory import MemoryFileSystem

    system = MemoryFileSystem(skip_instance_cache=True)
    name = f"bucket-{tmp_path.name}"
    remote = FilesystemRemote("origin", f"s3://{name}/deep", system, f"{name}/deep", protocol="s3")
    for ask in (lambda: list(remote.list("runs/")), lambda: remote.get("key"), lambda: remote.exists("key")):
        with pytest.raises(RemoteError, match=f"no bucket {name}"):
            ask()
    system.makedirs(f"/{name}")
    assert list(remote.list("runs/")) == []
    assert not remote.exists("key")


def test_an_endpoint_that_does_not_answer_has_no_keys_to_deny(tmp_path: Path) -> None:
    class Down:
        def info(self, path: str) -> None:
            raise ConnectionError(f"no route for {path}")

    remote = FilesystemRemote("origin", "s3://bucket", Down(), "bucket", protocol="s3")
    with pytest.raises(RemoteError, match="no route"):
        remote.exists("key")


def test_a_file_where_the_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "far").write_text("not a folder")
    remote = open_url("far", root=tmp_path, name="origin")
    with pytest.raises(RemoteError, match="origin"):
        list(remote.list())
    with pytest.raises(RemoteError, match="origin"):
        remote.put("key", b"")


def test_a_folder_that_cannot_be_listed_is_not_empty(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    remote.put("runs/a", b"")

    def forbidden(path: object = ".") -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", forbidden)
    with pytest.raises(RemoteError, match="origin"):
        list(remote.list("runs/"))


def test_a_folder_needs_no_client_library(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mlops_cli.core.remotes.open import open_url\n"
        "remote = open_url('far', root=Path(sys.argv[1])); remote.create()\n"
        "remote.put('key', b'1'); remote.get('key')\n"
        "print([name for name in ('fsspec', 'aiohttp', 'asyncssh', 's3fs') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_a_put_does_not_make_the_folder_of_a_disk_that_is_not_mounted(tmp_path: Path) -> None:
    remote = open_url("unmounted", root=tmp_path, name="origin")
    (tmp_path / "source").write_bytes(b"")
    for write in (
        lambda: remote.put("key", b""),
        lambda: remote.put_file("key", tmp_path / "source"),
        lambda: remote.put_if_absent("key", b""),
    ):
        with pytest.raises(RemoteError, match="there is no folder"):
            write()
    assert not (tmp_path / "unmounted").exists()


def test_files_are_copied_where_the_kernel_cannot_do_it(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def apart(*_: object) -> int:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", apart, raising=False)
    (tmp_path / "source").write_bytes(b"bytes" * 1000)
    remote.put_file("key", tmp_path / "source")
    remote.get_file("key", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"bytes" * 1000


def test_a_target_that_cannot_be_written_is_the_machines_fault(remote: Remote, tmp_path: Path) -> None:
    remote.put("key", b"")
    with pytest.raises(RemoteError, match="absent/target"):
        remote.get_file("key", tmp_path / "absent/target")


def test_a_key_listed_by_a_hostile_remote_cannot_leave_it(remote: Remote) -> None:
    with pytest.raises(IntegrityError):
        remote.get("objects/../../etc/passwd")
