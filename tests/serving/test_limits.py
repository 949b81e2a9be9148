"""What a client may not do to the server, and that the next client never notices."""

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from serving_kit import ROW, running, served

from mlops_cli.core.base.sizes import parse_size
from mlops_cli.core.errors import UsageError
from mlops_cli.core.serving.limits import Limits
from mlops_cli.core.serving.loader import Served

JSON = {"content-type": "application/json"}


def healthy(client: httpx.Client) -> bool:
    return client.post("/predict", json=ROW).status_code == 200


def raw(client: httpx.Client, data: bytes, *, reply_bytes: int = 1 << 16) -> bytes:
    """Send bytes as they are, and read until the server closes."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=20) as connection:
        connection.sendall(data)
        parts = []
        while part := connection.recv(reply_bytes):
            parts.append(part)
        return b"".join(parts)


@pytest.mark.parametrize("path", ["/invocations", "/predict", "/v2/models/flights/infer"])
def test_ten_megabytes_are_refused_in_json_and_the_server_stays_well(client: httpx.Client, path: str) -> None:
    answer = client.post(path, content=b"[" * 10_000_000, headers=JSON)
    assert answer.status_code == 413
    assert "8,388,608 bytes (serve.max_body)" in json.dumps(answer.json())
    assert answer.headers["connection"] == "close"
    assert healthy(client)


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(client: httpx.Client) -> None:
    head = b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999999999999999\r\n"
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=20) as connection:
        connection.sendall(head.replace(b"99999999999999999999999", b"999999999") + b"expect: 100-continue\r\n\r\n")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 413")
    assert healthy(client)


def test_a_chunked_body_is_refused_while_it_is_read(client: httpx.Client) -> None:
    def body() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 100_000

    answer = client.post("/predict", content=body(), headers=JSON)
    assert answer.status_code == 413
    assert healthy(client)


def test_a_body_of_exactly_the_limit_is_read(model: Served) -> None:
    body = json.dumps(ROW).encode()
    with running(model, limits=Limits(body_bytes=len(body))) as client:
        assert client.post("/predict", content=body).status_code == 200
        assert client.post("/predict", content=body + b" ").status_code == 413
        assert client.post("/predict", content=iter([body, b" "])).status_code == 413


BAD_JSON = [
    (b"", "the body is empty"),
    (b"{", "the body is not JSON"),
    (b"{} {}", "trailing characters"),
    (b'{"temp": NaN}', "NaN at byte 9 is no JSON; write null for a missing value"),
    (b'{"temp": Infinity}', "Infinity at byte 9 is no JSON"),
    (b'{"temp": -Infinity}', "-Infinity at byte 9 is no JSON"),
    (b'{"temp": 1e999}', "out of range"),
    (b'{"temp": "\xff"}', "not UTF-8"),
    (b'{"temp": ' + b"[" * 100_000, "nested too deeply"),
    (b'{"temp": ' + b"[" * 500 + b"]" * 500 + b"}", "missing columns"),
    (b'{"temp": "\\ud800"}', "the body is not"),
    (b"\x00", "the body is not JSON"),
]


@pytest.mark.parametrize(("body", "message"), BAD_JSON)
def test_bad_json_is_explained_and_the_server_stays_well(client: httpx.Client, body: bytes, message: str) -> None:
    answer = client.post("/predict", content=body, headers=JSON)
    assert answer.status_code == 400
    assert message in answer.json()["error"]
    assert healthy(client)


@pytest.mark.parametrize("token", [b"Infinity", b"-Infinity", b"-NaN"])
@pytest.mark.parametrize("form", [b'{"instances": [[%s]]}', b'{"inputs": {"temp": [%s]}}'])
def test_bare_tokens_are_refused_in_mlflow_s_forms(client: httpx.Client, token: bytes, form: bytes) -> None:
    answer = client.post("/invocations", content=form % token, headers=JSON)
    assert answer.status_code == 400
    assert f"{token.decode()} at byte" in answer.json()["message"]


def test_too_many_rows_are_refused(folders: Any) -> None:
    with running(served(folders[0], max_rows=5)) as client:
        assert client.post("/predict", json={"rows": [ROW] * 5}).status_code == 200
        answer = client.post("/predict", json={"rows": [ROW] * 6})
        assert answer.status_code == 413
        assert "6 rows; this server takes 5" in answer.json()["error"]


def test_many_rows_are_decoded_beside_the_loop_and_answered(client: httpx.Client) -> None:
    answer = client.post("/predict", json={"rows": [ROW] * 9_000})
    assert answer.json()["predictions"] == [1] * 9_000


def test_a_body_that_does_not_arrive_in_time_is_answered_and_dropped(model: Served) -> None:
    with running(model, limits=Limits(body_s=0.3)) as client:
        answer = raw(client, b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n{")
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"did not arrive within 0.3 s" in answer
        assert healthy(client)


@pytest.mark.parametrize("sent", [b"", b"POST /pre", b"GET / HTTP/1.1\r\nhost: loc"])
def test_a_silent_connection_is_dropped(model: Served, sent: bytes) -> None:
    with running(model, limits=Limits(headers_s=0.5)) as client:
        assert raw(client, sent).startswith(b"HTTP/1.1 408")
        assert healthy(client)


def test_headers_without_end_are_cut(client: httpx.Client) -> None:
    with pytest.raises((ConnectionError, AssertionError)):
        answer = raw(client, b"GET /ping HTTP/1.1\r\nhost: localhost\r\nx: " + b"a" * 5_000_000)
        assert not answer.startswith(b"HTTP/1.1 431")
    assert healthy(client)


def test_ten_thousand_headers_are_refused(client: httpx.Client) -> None:
    answer = client.get("/ping", headers={f"x-{number}": "1" for number in range(200)})
    assert answer.status_code == 431
    assert healthy(client)


POST = b"POST /predict HTTP/1.1\r\nhost: localhost\r\n"
CLOSE = b"connection: close\r\n\r\n"
ODD = [
    (b"\x16\x03\x01 hello\r\n\r\n", 400),
    (POST + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 400),
    (POST + b"content-length: 5\r\ncontent-length: 6\r\n\r\n", 400),
    (POST + b"content-length: 99999999999999999999999999\r\n\r\n", 400),
    (b"GET /ping HTTP/1.0\r\n\r\n", 403),
    (b"GET /ping HTTP/1.1\r\nhost: localhost\r\nhost: evil\r\n" + CLOSE, 400),
    (b"CONNECT x:80 HTTP/1.1\r\nhost: localhost\r\n" + CLOSE, 400),
    (b"GET /%ff%00 HTTP/1.1\r\nhost: localhost\r\n" + CLOSE, 404),
]


@pytest.mark.parametrize(("sent", "status"), ODD)
def test_odd_requests_get_one_answer_in_json(client: httpx.Client, sent: bytes, status: int) -> None:
    answer = raw(client, sent)
    assert answer.startswith(b"HTTP/1.1 %d" % status)
    assert answer.count(b"HTTP/1.1") == 1
    assert json.loads(answer.partition(b"\r\n\r\n")[2])
    assert healthy(client)


def test_clients_that_leave_early_harm_nobody(client: httpx.Client) -> None:
    for data in (b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{", b"GET /pi"):
        with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as connection:
            connection.sendall(data)
    assert healthy(client)


def test_large_requests_do_not_stop_small_ones(client: httpx.Client) -> None:
    large = json.dumps({"rows": [ROW] * 20_000}).encode()
    statuses = []

    def send() -> None:
        with httpx.Client(base_url=client.base_url, trust_env=False, timeout=60) as mine:
            statuses.append(mine.post("/predict", content=large).status_code)

    threads = [threading.Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert healthy(client)
    for thread in threads:
        thread.join()
    assert statuses == [200, 200, 200]


@pytest.mark.parametrize(
    ("text", "size"),
    [("8MiB", 8 << 20), ("1 GB", 10**9), ("1.5KiB", 1536), ("100B", 100), ("2MB", 2_000_000), ("3KB", 3000)],
)
def test_sizes_read_as_they_are_written(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_a_size_without_a_unit_is_refused() -> None:
    with pytest.raises(UsageError, match="8M"):
        parse_size("8M")
