"""Requests that are broken on purpose get one answer, the connection ends, and the next client notices nothing."""

import json

import httpx
import pytest
from abuse_kit import GOOD, HEAD, connect, is_well, raw, statuses
from serving_kit import ROW

CHUNKED = HEAD + b"transfer-encoding: chunked\r\n"
BODY = json.dumps(ROW).encode()

# What a proxy in front and the server could read as two different requests.
SMUGGLING = {
    "both lengths": HEAD + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + GOOD,
    "both lengths, reversed": CHUNKED + b"content-length: 4\r\n\r\n0\r\n\r\n" + GOOD,
    "two lengths": HEAD + b"content-length: 4\r\ncontent-length: 5\r\n\r\nabcde" + GOOD,
    "one length twice": HEAD + b"content-length: 4\r\ncontent-length: 4\r\n\r\nabcd" + GOOD,
    "a list of lengths": HEAD + b"content-length: 4, 4\r\n\r\nabcd" + GOOD,
    "a negative length": HEAD + b"content-length: -1\r\n\r\n" + GOOD,
    "a signed length": HEAD + b"content-length: +5\r\n\r\nabcde" + GOOD,
    "a hexadecimal length": HEAD + b"content-length: 0x5\r\n\r\nabcde" + GOOD,
    "an empty length": HEAD + b"content-length: \r\n\r\n" + GOOD,
    "a length of letters": HEAD + b"content-length: five\r\n\r\n" + GOOD,
    "a length beyond 64 bits": HEAD + b"content-length: 18446744073709551620\r\n\r\nabcd" + GOOD,
    "chunked twice": CHUNKED + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n" + GOOD,
    "chunked before identity": HEAD + b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n" + GOOD,
    "another coding": HEAD + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + GOOD,
    "nearly chunked": HEAD + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n" + GOOD,
    "a space before the colon": HEAD + b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n" + GOOD,
    "chunked in HTTP/1.0": CHUNKED.replace(b"1.1", b"1.0") + b"\r\n0\r\n\r\n" + GOOD,
    "a chunk size of letters": CHUNKED + b"\r\nzz\r\n{}\r\n0\r\n\r\n" + GOOD,
    "a signed chunk size": CHUNKED + b"\r\n-2\r\n{}\r\n0\r\n\r\n" + GOOD,
    "a chunk size beyond 64 bits": CHUNKED + b"\r\nfffffffffffffffff\r\n{}\r\n0\r\n\r\n" + GOOD,
    "a chunk longer than its size": CHUNKED + b"\r\n2\r\n{}}}\r\n0\r\n\r\n" + GOOD,
    "two hosts": b"GET /ping HTTP/1.1\r\nhost: localhost\r\nhost: evil\r\n\r\n" + GOOD,
    "two tokens": b"GET /ping HTTP/1.1\r\nhost: localhost\r\nauthorization: a\r\nauthorization: b\r\n\r\n" + GOOD,
    "a folded header": HEAD + b"x: a\r\n b\r\ncontent-length: 4\r\n b\r\n\r\nabcd" + GOOD,
}

GARBAGE = {
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "HTTP/3.7": (b"GET /ping HTTP/3.7\r\nhost: localhost\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /ping\r\n\r\n", 505),
    "an unknown method": (b"BREW /pot HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
    "a method of 100,000 letters": (b"G" * 100_000 + b" / HTTP/1.1\r\n\r\n", 400),
    "zeros": (b"\0" * 1000, 400),
    "a zero in the address": (b"GET /p\0ing HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
    "a zero in a header": (b"GET /ping HTTP/1.1\r\nhost: localhost\r\nx: a\0b\r\n\r\n", 400),
    "a zero in a header's name": (b"GET /ping HTTP/1.1\r\nhost: localhost\r\nx\0: a\r\n\r\n", 400),
    "a bare carriage return": (b"GET /ping HTTP/1.1\r\nhost: localhost\r\nx: a\rb: c\r\n\r\n", 400),
    "bytes that are no ASCII": (b"GET /\xff\xfe HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
    "a proxy's CONNECT": (b"CONNECT x:80 HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
    "no address": (b"GET  HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
    "an address without a path": (b"GET ping HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
    "an address of 9 KB": (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n", 414),
    "an address of 10 MB": (b"GET /" + b"a" * 10_000_000, 414),
    "101 headers": (b"GET /ping HTTP/1.1\r\nhost: localhost\r\n" + b"x: 1\r\n" * 100 + b"\r\n", 431),
    "10,000 headers": (b"GET /ping HTTP/1.1\r\nhost: localhost\r\n" + b"x: 1\r\n" * 10_000 + b"\r\n", 431),
    "65 KiB of headers": (
        b"GET /ping HTTP/1.1\r\nhost: localhost\r\n" + (b"x: " + b"a" * 1017 + b"\r\n") * 65 + b"\r\n",
        431,
    ),
    "a header of 10 MB": (b"GET /ping HTTP/1.1\r\nhost: localhost\r\nx: " + b"a" * 10_000_000, 431),
    "a header's name of 10 MB": (b"GET /ping HTTP/1.1\r\nhost: localhost\r\n" + b"a" * 10_000_000, 431),
    "a trailer of 10 MB": (CHUNKED + b"\r\n2\r\n{}\r\n0\r\nx: " + b"a" * 10_000_000, 400),
    "a chunk extension of 10 MB": (CHUNKED + b"\r\n2;" + b"a" * 10_000_000, 400),
}


@pytest.mark.parametrize("sent", SMUGGLING.values(), ids=SMUGGLING)
def test_what_can_be_read_in_two_ways_is_answered_once_and_ends_the_connection(
    client: httpx.Client, sent: bytes
) -> None:
    answer = raw(client, sent)
    assert statuses(answer) in ([400], [501])
    assert b"\r\nconnection: close\r\n" in answer
    assert is_well(client)


@pytest.mark.parametrize(("sent", "status"), GARBAGE.values(), ids=GARBAGE)
def test_garbage_gets_one_answer_in_json_and_ends_the_connection(
    client: httpx.Client, sent: bytes, status: int
) -> None:
    answer = raw(client, sent)
    assert statuses(answer) == [status]
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert is_well(client)


def test_a_broken_request_is_refused_after_the_answers_to_those_before_it(client: httpx.Client) -> None:
    assert statuses(raw(client, GOOD + GOOD + b"nonsense\r\n\r\n" + GOOD)) == [200, 200, 400]


def test_what_follows_the_last_request_is_forgotten(client: httpx.Client) -> None:
    last = GOOD.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    assert statuses(raw(client, last + GOOD + b"\0\0\0")) == [200]


@pytest.mark.parametrize("identity", [b"a\tb", b"a b", b"\xe4", b"a" * 129, b"<b>", b"a\x7f", b"%0d%0aset-cookie:x"])
def test_an_id_that_could_do_harm_is_not_sent_back(client: httpx.Client, identity: bytes) -> None:
    answer = raw(client, GOOD.replace(b"\r\n\r\n", b"\r\nconnection: close\r\nx-request-id: %b\r\n\r\n" % identity))
    assert statuses(answer) == [200] or statuses(answer) == [400]
    assert identity not in answer
    assert is_well(client)


@pytest.mark.parametrize("target", [b"http://localhost/ping", b"/ping?a=%00&b", b"/ping/", b"/%70ing"])
def test_other_forms_of_the_same_address_are_read(client: httpx.Client, target: bytes) -> None:
    sent = b"GET %b HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n" % target
    assert statuses(raw(client, sent)) == [200]


@pytest.mark.parametrize("target", [b"/../ping", b"//ping", b"/%2e%2e/ping", b"/ping%00", b"*", b"/ping\\", b"/ping#x"])
def test_addresses_that_are_none_of_ours_are_not_found(client: httpx.Client, target: bytes) -> None:
    sent = b"GET %b HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n" % target
    assert statuses(raw(client, sent)) == [404]


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"TLS/1.0, h2c"])
def test_a_wish_for_another_protocol_is_ignored_and_the_body_read(client: httpx.Client, protocol: bytes) -> None:
    wish = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: %b\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n" % protocol
    with connect(client) as connection:
        for _ in range(2):  # the connection goes on
            connection.sendall(HEAD + wish + b"content-length: %d\r\n\r\n%b" % (len(BODY), BODY))
            answer = connection.recv(1 << 16)
            assert statuses(answer) == [200]
            assert b'"prediction"' in answer


def test_a_wish_for_another_protocol_may_come_in_pieces(client: httpx.Client) -> None:
    sent = HEAD + b"upgrade: h2c\r\nconnection: upgrade, close\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
    with connect(client) as connection:
        for start in range(0, len(sent), 7):
            connection.sendall(sent[start : start + 7])
        assert b'"prediction"' in connection.recv(1 << 16)


def test_http_1_0_is_answered_and_closed_unless_it_wants_to_stay(client: httpx.Client) -> None:
    old = b"GET /ping HTTP/1.0\r\nhost: localhost\r\n"
    assert statuses(raw(client, old + b"\r\n")) == [200]
    with connect(client) as connection:
        for _ in range(2):
            connection.sendall(old + b"connection: keep-alive\r\n\r\n")
            answer = connection.recv(1 << 16)
            assert statuses(answer) == [200]
            assert b"\r\nconnection: keep-alive\r\n" in answer


def test_head_has_the_length_and_no_body(client: httpx.Client) -> None:
    answer = raw(client, b"HEAD /ping HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
    assert b"\r\ncontent-length: 15\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_a_request_may_come_byte_by_byte(client: httpx.Client) -> None:
    sent = HEAD + b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(BODY), BODY)
    with connect(client) as connection:
        for byte in sent:
            connection.sendall(bytes([byte]))
        assert statuses(connection.recv(1 << 16)) == [200]


def test_pipelined_requests_are_answered_in_turn(client: httpx.Client) -> None:
    wrong = GOOD.replace(b"ping", b"nope")
    last = GOOD.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    assert statuses(raw(client, (GOOD + wrong) * 20 + last)) == [200, 404] * 20 + [200]


def test_more_than_a_hundred_requests_ahead_are_refused_after_the_first(client: httpx.Client) -> None:
    answers = statuses(raw(client, GOOD * 5_000))
    assert answers[-1] == 503
    assert set(answers[:-1]) == {200}
    assert len(answers) < 200
    assert is_well(client)
