"""Compressed bodies, decompressed in steps that stop where a bomb would begin."""

from __future__ import annotations

import zlib

from mlops_cli.core.serving.limits import Limits
from mlops_cli.core.serving.problems import BadInput, TooLarge, UnsupportedType

ENCODINGS = ("gzip", "deflate")
FREE_BYTES = 1 << 20  # so much may come of a body however small it is

_STEP = 256 << 10
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS


def read_encoding(header: bytes) -> str:
    """`gzip`, `deflate` or `identity`. Raises UnsupportedType for another, and for more than one."""
    name = header.decode("latin-1").strip().lower() or "identity"
    name = "gzip" if name == "x-gzip" else name
    if name != "identity" and name not in ENCODINGS:
        raise UnsupportedType(
            f"bodies compressed with {name[:40]} are not taken; gzip and deflate are",
            headers=((b"accept-encoding", b"gzip, deflate"),),
        )
    return name


def inflate(body: bytes, encoding: str, limits: Limits) -> bytes:
    """The body as it was before it was compressed. Called from any thread.

    Raises TooLarge as soon as it grows beyond `limits.body_bytes`, or beyond both FREE_BYTES and `limits.inflation`
    times its size; BadInput if it is no such body, has no end, or goes on after it.
    """
    bound = min(limits.body_bytes, max(FREE_BYTES, limits.inflation * len(body)))
    stream = zlib.decompressobj(_GZIP if encoding == "gzip" else _deflate_of(body))
    parts: list[bytes] = []
    size = 0
    data = body
    try:
        while not stream.eof:
            part = stream.decompress(data, min(_STEP, bound + 1 - size))
            data = stream.unconsumed_tail
            size += len(part)
            parts.append(part)
            if size > bound:
                raise _bomb(bound, limits)
            if not part and not data:
                break
    except zlib.error:
        raise BadInput(f"the body is not {encoding}") from None
    if not stream.eof:
        raise BadInput(f"the {encoding} body has no end")
    if stream.unused_data or data:
        raise BadInput(f"the {encoding} body goes on after its end")
    return b"".join(parts)


def _deflate_of(body: bytes) -> int:
    """`deflate` means zlib's format (RFC 9110, 8.4.1.2), and clients send bare deflate as well."""
    has_header = len(body) >= 2 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0
    return _ZLIB if has_header else _RAW


def _bomb(bound: int, limits: Limits) -> TooLarge:
    if bound == limits.body_bytes:
        return TooLarge(f"the decompressed body is larger than {bound:,} bytes (serve.max_body)")
    return TooLarge(f"the decompressed body is more than {limits.inflation} times as large as what was sent")
