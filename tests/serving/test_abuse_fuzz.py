"""Requests with random damage, in random pieces: nothing is logged as a failure, and nothing is left behind."""

import gzip
import logging
import random
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from abuse_kit import GOOD, HEAD, connect, read_all, running_app, statuses, wait_until, watch_of

from mlops_cli.core.serving.http import ClientGone, Request, reply
from mlops_cli.core.serving.limits import Limits
from mlops_cli.core.serving.problems import Problem

LIMITS = Limits(headers_s=0.2, body_s=0.2, idle_s=0.2, linger_s=0.1, write_s=0.3, pipelined=5)
PACKED = gzip.compress(b"a", mtime=0)
SOUND = [
    GOOD,
    HEAD + b"content-length: 3\r\n\r\nabc",
    HEAD + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n\r\n",
    HEAD + b"upgrade: h2c\r\nconnection: upgrade\r\ncontent-length: 3\r\n\r\nabc",
    HEAD + b"expect: 100-continue\r\ncontent-length: 3\r\n\r\nabc",
    HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n%b" % (len(PACKED), PACKED),
    GOOD.replace(b"1.1", b"1.0"),
    b"HEAD http://a/b?c HTTP/1.1\r\n\r\n",
]
INSERTED = [
    b"\r\n",
    b"\0",
    b"connection: close\r\n",
    b"upgrade: x\r\nconnection: upgrade\r\n",
    b"content-length: 3\r\n",
]
INSERTED += [b"9" * 20, b"a" * 9000, b"x: y\r\n" * 101]


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """The length of a body, or the problem with it."""
    request = Request(scope, receive)
    try:
        request.check_head()
        await reply(send, b"x" * len(await request.body(LIMITS)))
    except ClientGone:
        pass
    except Problem as problem:
        close = ((b"connection", b"close"),) if problem.close else ()
        await reply(send, b"no", status=problem.status, headers=close, more=problem.close)


def damaged(draw: random.Random) -> bytearray:
    data = bytearray(b"".join(draw.choice(SOUND) for _ in range(draw.randint(1, 8))))
    for _ in range(draw.choice([0, 1, 1, 2, 5])):
        place = draw.randrange(len(data))
        match draw.choice(["change", "insert", "remove", "end"]):
            case "change":
                data[place] = draw.choice([0, 10, 13, 32, 58, 255, 48, 57, draw.randrange(256)])
            case "insert":
                data[place:place] = draw.choice(INSERTED)
            case "remove":
                del data[place : place + draw.randint(1, 20)]
            case "end":
                del data[place + 1 :]
        data = data or bytearray(b"G")
    return data


@pytest.mark.parametrize("seed", range(4))
def test_damaged_requests_are_answered_or_refused(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    draw = random.Random(seed)
    seen: set[int] = set()
    with running_app(echo, limits=LIMITS) as client, caplog.at_level(logging.ERROR):
        with ExitStack() as stack:
            connections = []
            for _ in range(100):
                connections.append(stack.enter_context(connect(client)))
                data = damaged(draw)
                with suppress(OSError):
                    while data:
                        end = draw.choice([len(data), 1, draw.randint(1, len(data))])
                        connections[-1].sendall(data[:end])
                        del data[:end]
                if draw.random() < 0.2:
                    connections.pop().close()
            for connection in connections:
                seen.update(statuses(read_all(connection)))
        watch = watch_of(client)
        wait_until(lambda: not watch.open)
        assert client.get("/").status_code == 200
        assert not client.server.server_state.tasks  # type: ignore[attr-defined]
        assert (watch.body_bytes, len(watch.stuck)) == (0, 0)
    assert {200, 400} < seen
    assert not seen & {500, 502}
    assert not caplog.records
