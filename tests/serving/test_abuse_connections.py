"""Clients that connect and do nothing, trickle, pile up answers or come in crowds are dropped, others served."""

import contextlib
import resource
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from abuse_kit import GOOD, HEAD, connect, is_well, read_all, running_app, statuses, wait_until, watch_of
from serving_kit import running

from mlops_cli.core.serving.http import reply
from mlops_cli.core.serving.limits import Limits
from mlops_cli.core.serving.loader import Served

SOON = 0.2  # s, far more than a good request takes and little to wait for


@contextlib.contextmanager
def crowd(client: httpx.Client, n: int, sent: bytes = b"") -> Iterator[list[socket.socket]]:
    """n connections, each of which has sent the same."""
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connect(client)) for _ in range(n)]
        for connection in connections:
            connection.sendall(sent)
        yield connections


SLOW = {
    "silence": (b"", 408),
    "an empty line": (b"\r\n\r\n", 408),
    "half a method": (b"PO", 408),
    "half an address": (b"GET /pi", 408),
    "half a header": (b"GET /ping HTTP/1.1\r\nhost: loc", 408),
    "no end of the headers": (b"GET /ping HTTP/1.1\r\nhost: localhost\r\n", 408),
    "no body": (HEAD + b"content-length: 10\r\n\r\n", 408),
    "half a body": (HEAD + b"content-length: 10\r\n\r\n{", 408),
    "no chunk": (HEAD + b"transfer-encoding: chunked\r\n\r\n", 408),
    "half a chunk": (HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\n{", 408),
    "no last chunk": (HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n", 408),
}


@pytest.fixture(scope="module")
def hasty(model: Served) -> Iterator[httpx.Client]:
    """A server that waits for nobody."""
    limits = Limits(headers_s=SOON, body_s=SOON, idle_s=SOON, linger_s=SOON, write_s=SOON)
    with running(model, limits=limits) as client:
        yield client


@pytest.mark.parametrize(("sent", "status"), SLOW.values(), ids=SLOW)
def test_who_is_too_slow_is_told_and_dropped(hasty: httpx.Client, sent: bytes, status: int) -> None:
    with connect(hasty) as connection:
        connection.sendall(sent)
        assert statuses(read_all(connection)) == [status]
    assert is_well(hasty)


@pytest.mark.parametrize("start", [b"", b"GET /ping HTTP/1.1\r\nx: ", HEAD + b"content-length: 100000\r\n\r\n"])
def test_a_byte_now_and_then_extends_no_deadline(hasty: httpx.Client, start: bytes) -> None:
    with connect(hasty) as connection:
        connection.settimeout(SOON / 20)
        connection.sendall(start)
        answer = b""
        while not answer:
            try:
                answer = connection.recv(1 << 16)
            except TimeoutError:
                connection.sendall(b"a")
        assert statuses(answer) in ([408], [400])
    assert is_well(hasty)


def test_a_connection_without_a_next_request_is_closed(hasty: httpx.Client) -> None:
    with connect(hasty) as connection:
        connection.sendall(GOOD)
        assert statuses(read_all(connection)) == [200]


def test_a_client_that_never_closes_is_closed_on(hasty: httpx.Client) -> None:
    with connect(hasty) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        assert statuses(read_all(connection)) == [400]
        wait_until(lambda: not watch_of(hasty).open)


def test_five_hundred_idle_connections_are_dropped_and_stop_nobody(model: Served) -> None:
    with running(model, limits=Limits(headers_s=1.0, linger_s=SOON)) as client:
        with crowd(client, 250) as silent, crowd(client, 250, b"GET /ping HTTP/1.1\r\nx: ") as trickling:
            assert all(is_well(client) for _ in range(5))
            for connection in (*silent, *trickling):
                assert statuses(read_all(connection)) == [408]
        wait_until(lambda: not watch_of(client).open or len(watch_of(client).open) == 1)
        assert is_well(client)


async def large(scope: Any, receive: Any, send: Any) -> None:
    """Answers /large with a megabyte, and all else with little."""
    await reply(send, bytes(1 << 20 if scope["path"] == "/large" else 1))


LARGE = GOOD.replace(b"/ping", b"/large") * 20


def test_answers_that_are_not_read_are_given_up() -> None:
    with running_app(large, limits=Limits(write_s=SOON, write_rate=1 << 40)) as client:
        with connect(client, receive=4096) as bad:
            bad.sendall(LARGE)
            wait_until(lambda: len(watch_of(client).stuck) == 1)
            assert client.get("/").status_code == 200
            wait_until(lambda: not watch_of(client).stuck)
            assert len(read_all(bad)) < 20 << 20
        assert client.get("/").status_code == 200


def test_answers_that_are_not_read_are_bounded_together() -> None:
    with running_app(large, limits=Limits(unsent_bytes=3 << 19)) as client, contextlib.ExitStack() as stack:
        watch = watch_of(client)
        most = 0
        for _ in range(16):
            bad = stack.enter_context(connect(client, receive=4096))
            bad.sendall(LARGE)
            name = bad.getsockname()
            wait_until(lambda name=name: name in [stuck.client for stuck in list(watch.stuck)])
            most = max(most, len(watch.stuck))
        assert most < 16  # the ones that waited longest were cut off for the newer ones
        assert sum(stuck.transport.get_write_buffer_size() for stuck in list(watch.stuck)) <= 3 << 19
        assert client.get("/").status_code == 200


@pytest.mark.parametrize("chunked", [False, True])
def test_a_client_that_reads_slowly_gets_all_answers(chunked: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if not chunked:
            await large(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for part in range(16):
            await send({"type": "http.response.body", "body": bytes(1 << 16), "more_body": part < 15})

    with running_app(app) as client, connect(client, receive=4096) as slow:
        slow.sendall(LARGE)
        wait_until(lambda: len(watch_of(client).stuck) == 1)
        got = 0
        while got < 20 << 20:
            got += len(slow.recv(1 << 20))
        assert client.get("/").status_code == 200


def test_who_waits_longest_makes_room_for_who_comes(model: Served) -> None:
    with running(model, limits=Limits(connections=32)) as client, crowd(client, 32) as silent:
        wait_until(lambda: len(watch_of(client).open) == 32)
        assert is_well(client)
        assert read_all(silent[0]) == b""  # the first ones had to go, without a word
        silent[-1].sendall(GOOD)
        assert statuses(silent[-1].recv(1 << 16)) == [200]


def test_when_all_are_at_work_the_newest_is_refused(model: Served) -> None:
    half = HEAD + b"content-length: 10\r\n\r\n{"
    with running(model, limits=Limits(connections=4)) as client:
        with crowd(client, 4, half):
            wait_until(lambda: sum(c.waits_since == float("inf") for c in list(watch_of(client).open)) == 4)
            with connect(client) as fifth:
                assert statuses(read_all(fifth)) == [503]
        wait_until(lambda: not watch_of(client).open)
        assert is_well(client)


def test_clients_that_leave_at_every_byte_leave_nothing_behind(client: httpx.Client) -> None:
    sent = HEAD + b"content-length: 12\r\n\r\n" + b'{"temp": 1}\n'
    for end in range(len(sent)):
        with connect(client) as connection:
            connection.sendall(sent[:end])
    watch = watch_of(client)
    wait_until(lambda: not watch.open)
    assert watch.body_bytes == 0
    assert is_well(client)


FEW_FILES = """
    import resource, sys, threading
    from mlops_cli.core.serving.limits import Limits
    from mlops_cli.core.serving.server import Server, bind, url_of

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"well"})

    resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
    listener = bind("127.0.0.1", 0)
    server = Server(app, limits=Limits(), ready=lambda: print(url_of(listener), flush=True))
    def stop():
        sys.stdin.read()
        server.should_exit = True
    threading.Thread(target=stop).start()
    server.serve_on(listener)
    times = resource.getrusage(resource.RUSAGE_SELF)
    print(times.ru_utime + times.ru_stime)
"""


def test_few_open_files_are_enough_for_a_crowd() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    command = [sys.executable, "-c", textwrap.dedent(FEW_FILES)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        with httpx.Client(base_url=process.stdout.readline().strip(), trust_env=False) as client:
            with crowd(client, 150):
                # Chunked, through plain ASGI: no short way is taken.
                assert [client.get("/").text for _ in range(10)] == ["well"] * 10
            assert client.get("/").text == "well"
        process.communicate("")
        assert process.returncode == 0
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)
