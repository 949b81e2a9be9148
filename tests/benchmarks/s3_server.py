"""moto's S3 server as a process of its own, which counts the requests that it gets.

    python s3_server.py PORT

`GET /-/requests` answers how many came so far, that one not counted.
"""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

COUNT_PATH = "/-/requests"


class S3:
    """A server that runs; `environ` is what its clients need."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.environ = {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",  # pragma: allowlist secret
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
        }

    def requests(self) -> int:
        with urlopen(self.endpoint + COUNT_PATH) as answer:
            return int(answer.read())

    def make_bucket(self, name: str) -> None:
        with urlopen(Request(f"{self.endpoint}/{name}", method="PUT", data=b"")):
            pass

    def reset(self) -> None:
        """Forget every bucket and object, memory included."""
        with urlopen(Request(f"{self.endpoint}/moto-api/reset", method="POST", data=b"")):
            pass


@contextlib.contextmanager
def s3_server() -> Iterator[S3]:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, str(Path(__file__)), str(port)], stderr=subprocess.DEVNULL)
    server = S3(port)
    try:
        for _ in range(300):
            try:
                server.requests()
                break
            except URLError:
                if process.poll() is not None:
                    raise SystemExit("moto's server does not start: pip install 'moto[server]'") from None
                time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        process.wait()


def counted(application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """The application, and a path that says how many requests it got."""
    seen = [0]

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == COUNT_PATH:
            start("200 OK", [("Content-Type", "text/plain")])
            return [str(seen[0]).encode()]
        seen[0] += 1
        return application(environ, start)

    return answer


def main(port: int) -> None:
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, run_simple

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    WSGIRequestHandler.protocol_version = "HTTP/1.1"  # connections stay open, as those of a real server do
    application = DomainDispatcherApplication(create_backend_app)
    run_simple("127.0.0.1", port, counted(application), threaded=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
