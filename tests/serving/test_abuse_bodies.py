"""Bodies that are too large, grow, lie or never end; and what they cost the server and its other clients."""

import gzip
import json
import os
import threading
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from abuse_kit import HEAD, connect, is_well, raw, read_all, statuses, wait_until, watch_of
from serving_kit import ROW, project, running, serving

from mlops_cli.core.serving.inflate import inflate
from mlops_cli.core.serving.limits import Limits
from mlops_cli.core.serving.loader import Served
from mlops_cli.core.serving.problems import BadInput, TooLarge

BODY = json.dumps(ROW).encode()
MEDIA = {"content-type": "application/json"}


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


CODED: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("x-gzip", gzip.compress),
    ("GZIP", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("identity", bytes),
]


@pytest.mark.parametrize(("name", "code"), CODED)
@pytest.mark.parametrize("rows", [1, 2_000])
def test_compressed_bodies_are_read(client: httpx.Client, name: str, code: Callable[[bytes], bytes], rows: int) -> None:
    # Noise, so that more than the few bytes are compressed that one repeated row is.
    body = json.dumps({"rows": [{**ROW, "temp": 41.5 + os.urandom(1)[0] / 7} for _ in range(rows)]}).encode()
    answer = client.post("/predict", content=code(body), headers={**MEDIA, "content-encoding": name})
    assert answer.json()["predictions"] == [1] * rows


@pytest.mark.parametrize("name", ["br", "zstd", "compress", "gzip, gzip", "gzip, br", "nonsense"])
def test_other_encodings_are_refused_and_named(client: httpx.Client, name: str) -> None:
    answer = client.post("/predict", content=BODY, headers={**MEDIA, "content-encoding": name})
    assert answer.status_code == 415
    assert answer.headers["accept-encoding"] == "gzip, deflate"


BROKEN = {
    "nothing": ("gzip", b"", "has no end"),
    "half": ("gzip", gzip.compress(BODY)[:-9], "has no end"),
    "half a deflate": ("deflate", zlib.compress(BODY)[:-5], "has no end"),
    "a wrong checksum": ("gzip", gzip.compress(BODY)[:-8] + b"\0" * 8, "is not gzip"),
    "plain": ("gzip", BODY, "is not gzip"),
    "plain deflate": ("deflate", BODY, "is not deflate"),
    "garbage at the end": ("gzip", gzip.compress(BODY) + b"x", "goes on after its end"),
    "two": ("gzip", gzip.compress(BODY) * 2, "goes on after its end"),
}


@pytest.mark.parametrize(("name", "body", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_compressed_bodies_are_explained(client: httpx.Client, name: str, body: bytes, message: str) -> None:
    answer = client.post("/predict", content=body, headers={**MEDIA, "content-encoding": name})
    assert answer.status_code == 400
    assert message in answer.json()["error"]


@pytest.mark.parametrize("size", [100 << 20, 9 << 20, 2 << 20])
def test_bombs_are_refused(client: httpx.Client, size: int) -> None:
    answer = client.post("/predict", content=gzip.compress(bytes(size)), headers={**MEDIA, "content-encoding": "gzip"})
    assert answer.status_code == 413
    assert "decompressed body" in answer.json()["error"]
    assert is_well(client)


def test_no_more_of_a_bomb_is_made_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    honest = zlib.decompressobj

    class Counting:
        def __init__(self, wbits: int) -> None:
            self.stream = honest(wbits)

        def decompress(self, data: bytes, bound: int) -> bytes:
            made.append(self.stream.decompress(data, bound))
            return made[-1]

        def __getattr__(self, name: str) -> object:
            return getattr(self.stream, name)

    monkeypatch.setattr(zlib, "decompressobj", Counting)
    with pytest.raises(TooLarge, match="200 times"):
        inflate(gzip.compress(bytes(5 << 20)), "gzip", Limits(inflation=200))
    assert sum(map(len, made)) <= (1 << 20) + 1
    made.clear()
    with pytest.raises(TooLarge, match="max_body"):
        inflate(gzip.compress(bytes(5 << 20)), "gzip", Limits(body_bytes=1000))
    assert sum(map(len, made)) == 1001


def test_a_body_may_grow_to_the_limit_and_no_further() -> None:
    assert len(inflate(zlib.compress(bytes(1000)), "deflate", Limits(body_bytes=1000))) == 1000
    with pytest.raises(TooLarge):
        inflate(zlib.compress(bytes(1001)), "deflate", Limits(body_bytes=1000))


def test_no_bytes_make_it_fail_otherwise() -> None:
    good = gzip.compress(BODY)
    for place in range(len(good)):
        for bit in (1, 128):
            broken = bytearray(good)
            broken[place] ^= bit
            with suppress(BadInput, TooLarge):
                inflate(bytes(broken), "gzip", Limits())


@pytest.mark.parametrize(
    "media",
    [
        "application/x-pickle",
        "application/pickle",
        "application/python-pickle",
        "application/x-python-serialize",
        "application/joblib",
        "application/x-numpy",
        "application/octet-stream; charset=utf-8",
        "multipart/form-data; boundary=x",
        "application/yaml",
        "application/xml",
    ],
)
@pytest.mark.parametrize("path", ["/invocations", "/predict"])
def test_nothing_is_unpickled(client: httpx.Client, path: str, media: str) -> None:
    bomb = b"cos\nsystem\n(S'exit'\ntR."
    assert client.post(path, content=bomb, headers={"content-type": media}).status_code == 415


@pytest.mark.parametrize("length", [b"8388609", b"99999999999", b"9223372036854775807"])
def test_a_length_that_is_too_much_is_refused_without_a_go_ahead(client: httpx.Client, length: bytes) -> None:
    answer = raw(client, HEAD + b"expect: 100-continue\r\ncontent-length: %b\r\n\r\n" % length)
    assert statuses(answer) == [413]
    assert is_well(client)


def test_a_client_that_waits_for_the_go_ahead_gets_it(client: httpx.Client) -> None:
    with connect(client) as connection:
        connection.sendall(HEAD + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(BODY))
        assert connection.recv(1 << 16) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert statuses(connection.recv(1 << 16)) == [200]


def test_chunks_of_a_byte_are_read_up_to_what_is_all_framing(client: httpx.Client) -> None:
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY)
    head = HEAD + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    assert statuses(raw(client, head + chunks + b"0\r\n\r\n")) == [200]
    padded = b"".join(b"1;%b\r\n \r\n" % (b"a" * 1000) for _ in range(1_000))
    assert statuses(raw(client, head + padded + b"0\r\n\r\n")) == [400]
    assert is_well(client)


def test_a_refused_client_reads_its_answer_however_much_it_sends(client: httpx.Client) -> None:
    answer = client.post("/predict", content=bytes(40 << 20), headers=MEDIA)
    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"


def test_who_goes_on_sending_after_a_refusal_is_cut_off(model: Served) -> None:
    with running(model, limits=Limits(linger_bytes=1 << 20)) as client:
        with connect(client) as connection, pytest.raises(ConnectionError):
            connection.sendall(HEAD + b"content-length: 999999999\r\n\r\n")
            for _ in range(4_000):
                connection.sendall(bytes(1 << 16))
        assert is_well(client)


def test_bodies_that_are_too_much_together_are_refused(model: Served) -> None:
    with running(model, limits=Limits(bodies_bytes=1_000_000)) as client:
        with connect(client) as first, connect(client) as second:
            head = HEAD + b"content-length: 900000\r\n\r\n"
            first.sendall(head)
            first.sendall(b" " * 800_000)
            # Not before the first body counts may the second begin.
            wait_until(lambda: watch_of(client).body_bytes >= 800_000)
            second.sendall(head)
            second.sendall(b" " * 800_000)
            answer = read_all(second)
            assert statuses(answer) == [503]
            assert b"\r\nretry-after: 1\r\n" in answer
            first.sendall(b" " * (100_000 - len(BODY)) + BODY)
            assert statuses(first.recv(1 << 16)) == [200]
        assert is_well(client)


def peak_rss(pid: int) -> int:
    """Bytes of memory that a process ever had at once."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads a process's memory from /proc")
def test_twenty_clients_with_a_hundred_megabytes_each_cost_little_and_stop_nobody(
    tmp_path: Path, folders: tuple[Path, Path]
) -> None:
    project(tmp_path / "p", folders)
    with serving(tmp_path / "p", "flights@production") as process:
        assert is_well(process.client)
        before = peak_rss(process.process.pid)
        refused = []

        def send(number: int) -> None:
            length = b"content-length: 100000000" if number % 2 else b"transfer-encoding: chunked"
            chunk = b" " * (1 << 20)
            with connect(process.client) as connection:
                connection.sendall(HEAD + length + b"\r\n\r\n")
                try:
                    for _ in range(100):
                        connection.sendall(chunk if number % 2 else b"%x\r\n%b\r\n" % (len(chunk), chunk))
                except ConnectionError:
                    pass
                refused.append(statuses(read_all(connection))[:1])

        threads = [threading.Thread(target=send, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        good = sum(is_well(process.client) for _ in range(20))
        for thread in threads:
            thread.join()
        assert good == 20
        assert [413] in refused
        assert [200] not in refused
        # Ten chunked bodies of 8 MiB at most, and what it takes to read them.
        assert peak_rss(process.process.pid) - before < 200 << 20
        assert is_well(process.client)
