"""Fixtures that every room's tests share."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from buckets import S3Bucket
from command_line import Answer, Mlo
from ssh_server import SshServer, running_sshd, sshd_binary
from tiny_project import lay_out_tiny

from mlops_cli.cli.main import main

# A shell without job control starts background jobs with SIGINT ignored, and children inherit that. Tests that press
# Ctrl-C mean a process that was started by hand.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules with slow tests come first: the last one to start is then a quick one, and no core waits for another."""
    slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def quiet_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No MLO_* variable, no git or mlo configuration of the machine's user reaches a test."""
    for name in list(os.environ):
        if name.startswith(("MLO_", "GIT_")) and name != "MLO_REQUIRE_ALL":
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("MLO_ACTOR", "Ada <ada@example.org>")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the working directory."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def mlo(capfd: pytest.CaptureFixture[str]) -> Mlo:
    """Run one mlo command line in this process, through the real main(); no failure passes unseen.

    `mlo("data", "add", "raw")` expects exit code 0; `exit_code=None` accepts any.
    """

    def run(*arguments: str | Path, exit_code: int | None = 0) -> Answer:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        answer = Answer(out, err, code)
        if exit_code is not None:
            assert code == exit_code, f"mlo {' '.join(map(str, arguments))} answered {code}\n{out}\n{err}"
        return answer

    return run


@pytest.fixture(scope="session")
def trained_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny project after `data add`, `run`, `register` and `promote`; made once, copied for each test."""
    folder = tmp_path_factory.mktemp("template") / "tiny"
    folder.mkdir()
    lay_out_tiny(folder)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MLO_", "GIT_"))}
    environ |= {"HOME": str(folder.parent), "MLO_ACTOR": "Ada <ada@example.org>"}
    for line in ("data add data/raw", "run", "register", "promote tiny@1 production"):
        done = subprocess.run(
            [sys.executable, "-m", "mlops_cli", *line.split()],
            cwd=folder,
            env=environ,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"mlo {line}\n{done.stdout}\n{done.stderr}"
    return folder


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny project before anything was done, as the working directory."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    lay_out_tiny(folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def trained(trained_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the trained tiny project, as the working directory."""
    folder = tmp_path / "tiny"
    shutil.copytree(trained_template, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> S3Bucket:
    import fsspec

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    name = f"bucket-{uuid.uuid4().hex}"
    fsspec.filesystem("s3", endpoint_url=s3_endpoint, skip_instance_cache=True).mkdir(name)
    return S3Bucket(name, s3_endpoint)


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """A real sshd. A test that uses it carries the marker `sshd`, and skips where none is installed."""
    if sshd_binary() is None or importlib.util.find_spec("sshfs") is None:
        if os.environ.get("MLO_REQUIRE_ALL"):
            pytest.fail("no sshd or no sshfs on this machine, and MLO_REQUIRE_ALL is set")
        pytest.skip("needs an sshd (Debian: openssh-server) and sshfs (mlops-cli[ssh])")
    with running_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server
