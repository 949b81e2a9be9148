"""TLS for the server: a certificate, its key, and perhaps the authority that signs its clients'."""

from __future__ import annotations

import ssl
from pathlib import Path

from mlops_cli.core.errors import UsageError

PASSWORD_VARIABLE = "MLO_TLS_KEY_PASSWORD"  # noqa: S105 - its name  # pragma: allowlist secret


def server_context(
    certificate: Path, key: Path | None = None, *, client_authority: Path | None = None, password: str | None = None
) -> ssl.SSLContext:
    """TLS 1.2 and later. `key` None: it stands in the certificate's file.

    With `client_authority` every client must show a certificate that it signed. Raises UsageError for a file that is
    not there or not what it should be, a key of another certificate, and an encrypted key without its password.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    _read(certificate, "--tls-cert")
    _read(key or certificate, "--tls-key")
    _load_chain(context, certificate, key, password)
    if client_authority is not None:
        _read(client_authority, "--tls-client-ca")
        try:
            context.load_verify_locations(client_authority)
        except ssl.SSLError:
            raise UsageError(
                f"{client_authority} holds no certificate", hint="--tls-client-ca wants a PEM file of authorities"
            ) from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _load_chain(context: ssl.SSLContext, certificate: Path, key: Path | None, password: str | None) -> None:
    asked = []

    def answer() -> str:
        asked.append(True)
        return password or ""  # never the prompt that OpenSSL would show

    try:
        context.load_cert_chain(certificate, key, password=answer)
    except ssl.SSLError as error:
        raise _explained(error, certificate, key, wants_password=bool(asked), has_password=bool(password)) from None


def _explained(
    error: ssl.SSLError, certificate: Path, key: Path | None, *, wants_password: bool, has_password: bool
) -> UsageError:
    holder = key or certificate
    if wants_password and not has_password:
        return UsageError(f"the key in {holder} is encrypted", hint=f"set {PASSWORD_VARIABLE}")
    if wants_password:
        return UsageError(f"{PASSWORD_VARIABLE} does not open the key in {holder}")
    if error.reason in {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"}:
        return UsageError(f"the key in {holder} does not belong to the certificate in {certificate}")
    if b"-----BEGIN CERTIFICATE" not in certificate.read_bytes():
        return UsageError(f"{certificate} holds no certificate", hint="--tls-cert wants a PEM file, the server's first")
    if b"PRIVATE KEY-----" not in holder.read_bytes():
        return UsageError(f"{holder} holds no private key", hint="--tls-key wants a PEM file")
    return UsageError(f"{certificate} and {holder} cannot be used: {error.reason or error}")


def _read(path: Path, flag: str) -> None:
    try:
        path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint=f"{flag} names a PEM file") from None
