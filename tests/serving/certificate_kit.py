"""Certificates that sign themselves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

PASSWORD = "open sesame"  # pragma: allowlist secret


@dataclass(frozen=True)
class Files:
    certificate: Path
    key: Path
    locked: Path
    """The same key, encrypted."""
    both: Path
    """Certificate and key."""


def make(folder: Path, name: str) -> Files:
    """A certificate for localhost that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    start = datetime(2020, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=36_500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )

    def encoded(how: serialization.KeySerializationEncryption) -> bytes:
        return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)

    files = Files(*(folder / f"{name}.{part}" for part in ("crt", "key", "locked", "both")))
    files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(encoded(serialization.NoEncryption()))
    files.locked.write_bytes(encoded(serialization.BestAvailableEncryption(PASSWORD.encode())))
    files.both.write_bytes(files.certificate.read_bytes() + files.key.read_bytes())
    return files
