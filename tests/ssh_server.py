"""A real sshd on loopback, as the user who runs the tests, with keys of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
MaxStartups 200
MaxSessions 100
Subsystem sftp internal-sftp
"""


@dataclass(frozen=True)
class SshServer:
    """`options` are those of a remote in mlo.yaml that may log in; without `known_hosts` the host is unknown."""

    port: int
    user: str
    folder: Path
    options: dict[str, Any]
    daemon: subprocess.Popen[str]

    def url(self, folder: Path) -> str:
        return f"sftp://{self.user}@127.0.0.1:{self.port}{folder}"


def sshd_binary() -> str | None:
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@contextmanager
def running_sshd(folder: Path) -> Iterator[SshServer]:
    import asyncssh

    binary = sshd_binary()
    assert binary is not None
    user = getpass.getuser()
    for name in ("host", "user"):
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(str(folder / name))
        key.write_public_key(str(folder / f"{name}.pub"))
        (folder / name).chmod(0o600)
    shutil.copy(folder / "user.pub", folder / "authorized")
    if os.getuid() == 0:
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # where sshd of root puts its unprivileged half
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "config").write_text(_CONFIG.format(port=port, folder=folder))
    public = (folder / "host.pub").read_text()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {public}")
    daemon = subprocess.Popen([binary, "-D", "-e", "-f", folder / "config"], stderr=subprocess.PIPE, text=True)
    try:
        assert daemon.stderr is not None
        said = []
        for line in daemon.stderr:
            said.append(line)
            if "Server listening" in line:
                break
        else:
            raise AssertionError(f"sshd did not start: {''.join(said)}")
        options = {"client_keys": [str(folder / "user")], "known_hosts": str(folder / "known_hosts")}
        yield SshServer(port, user, folder, options, daemon)
    finally:
        daemon.terminate()
        daemon.wait()
        assert daemon.stderr is not None
        daemon.stderr.close()
