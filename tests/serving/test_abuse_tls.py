"""TLS: what a wrong file is called, and that a handshake has an end."""

import ssl
from pathlib import Path

import httpx
import pytest
from abuse_kit import connect, read_all, running_app
from certificate_kit import PASSWORD, Files, make

from mlops_cli.core.errors import UsageError
from mlops_cli.core.serving.http import reply
from mlops_cli.core.serving.limits import Limits
from mlops_cli.core.serving.tls import server_context


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return make(tmp_path_factory.mktemp("tls"), "server")


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return make(tmp_path_factory.mktemp("tls"), "other")


def test_missing_files_are_named(files: Files, tmp_path: Path) -> None:
    for certificate, key, authority, flag in (
        (tmp_path / "no", files.key, None, "--tls-cert"),
        (files.certificate, tmp_path / "no", None, "--tls-key"),
        (files.certificate, files.key, tmp_path / "no", "--tls-client-ca"),
    ):
        with pytest.raises(UsageError, match="no cannot be read: No such file") as caught:
            server_context(certificate, key, client_authority=authority)
        assert flag in (caught.value.hint or "")


def test_a_key_of_another_certificate_is_refused(files: Files, others: Files) -> None:
    with pytest.raises(UsageError, match="does not belong to the certificate"):
        server_context(files.certificate, others.key)


def test_an_encrypted_key_wants_its_password(files: Files) -> None:
    with pytest.raises(UsageError, match="is encrypted") as caught:
        server_context(files.certificate, files.locked)
    assert "MLO_TLS_KEY_PASSWORD" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="MLO_TLS_KEY_PASSWORD does not open"):
        server_context(files.certificate, files.locked, password="wrong")  # pragma: allowlist secret
    server_context(files.certificate, files.locked, password=PASSWORD)


def test_files_that_hold_something_else_are_told_apart(files: Files, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("nothing")
    with pytest.raises(UsageError, match="empty holds no certificate"):
        server_context(empty, files.key)
    with pytest.raises(UsageError, match="empty holds no private key"):
        server_context(files.certificate, empty)
    with pytest.raises(UsageError, match=r"server.crt holds no private key"):
        server_context(files.certificate)
    with pytest.raises(UsageError, match="empty holds no certificate"):
        server_context(files.both, client_authority=empty)


async def hello(scope: object, receive: object, send: object) -> None:
    await reply(send, b"hello")  # type: ignore[arg-type]


def trusting(client: httpx.Client, files: Files, **options: object) -> httpx.Client:
    """A client over TLS of a server that has these files."""
    context = ssl.create_default_context(cafile=files.certificate)
    if options:
        context.load_cert_chain(**options)  # type: ignore[arg-type]
    return httpx.Client(base_url=f"https://localhost:{client.base_url.port}", verify=context, trust_env=False)


def test_it_speaks_tls_with_who_trusts_it(files: Files, others: Files) -> None:
    with running_app(hello, tls=server_context(files.both)) as client:
        with trusting(client, files) as safe:
            assert [safe.get("/").text for _ in range(3)] == ["hello"] * 3
            assert safe.post("/", content=bytes(3 << 20)).text == "hello"  # refused in the middle of its body
        with trusting(client, others) as unsure, pytest.raises(httpx.ConnectError):
            unsure.get("/")
        with pytest.raises(httpx.HTTPError):
            client.get("/")  # plain HTTP


def test_old_versions_of_tls_are_not_spoken(files: Files) -> None:
    assert server_context(files.both).minimum_version == ssl.TLSVersion.TLSv1_2


def test_with_a_client_authority_strangers_are_not_let_in(files: Files, others: Files) -> None:
    with running_app(hello, tls=server_context(files.both, client_authority=others.certificate)) as client:
        with trusting(client, files, certfile=others.certificate, keyfile=others.key) as known:
            assert known.get("/").text == "hello"
        with trusting(client, files) as stranger, pytest.raises(httpx.HTTPError):
            stranger.get("/")


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/1.1\r\n\r\n"])
def test_a_handshake_that_does_not_end_is_dropped(files: Files, sent: bytes) -> None:
    with running_app(hello, limits=Limits(headers_s=0.3, linger_s=0.2), tls=server_context(files.both)) as client:
        with connect(client) as connection:
            connection.sendall(sent)
            assert not read_all(connection).startswith(b"HTTP")
        with trusting(client, files) as safe:
            assert safe.get("/").text == "hello"
