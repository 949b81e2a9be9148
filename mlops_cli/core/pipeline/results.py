"""The run cache: what a stage gave, under the key of everything that it depended on. See FORMAT.md."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from mlops_cli.core.base.digest import key_of
from mlops_cli.core.base.files import write_atomic
from mlops_cli.core.base.records import Entry, Logged

KEY_VERSION = 1
_HEADER = b"MLOR\x01"  # the last byte is the version
_SHA256_BYTES = 32


class Result(msgspec.Struct, frozen=True):
    """An accepted result. `run` made it; `checks` maps each checks file that held to its digest then."""

    stage: str
    key: str
    run: str
    outs: dict[str, Entry]
    logged: Logged = Logged()
    seconds: float = 0.0
    checks: dict[str, str] = {}


_DECODER = msgspec.msgpack.Decoder(Result)
_ENCODER = msgspec.msgpack.Encoder(enc_hook=str)  # a logged value of no plain type is kept as its text


def stage_key(
    command: str | list[str],
    *,
    deps: Mapping[str, str],
    params: Mapping[str, Any],
    outs: tuple[str, ...],
    pass_env: Mapping[str, str | None],
    facts: Mapping[str, Any],
) -> str:
    """The name of one exact computation. Raises ValueError if a parameter has no JSON form."""
    return key_of(
        {
            **facts,
            "version": KEY_VERSION,
            "cmd": command,
            "deps": dict(deps),
            "params": dict(params),
            "outs": sorted(outs),
            "pass_env": dict(pass_env),
        }
    )


class ResultCache:
    """Results below `<cache>/results`. Anything that does not read is no result: the stage just runs again."""

    def __init__(self, cache: Path) -> None:
        self._folder = cache / "results"

    def path_of(self, key: str) -> Path:
        return self._folder / key[:2] / key

    def get(self, key: str) -> Result | None:
        try:
            data = self.path_of(key).read_bytes()
        except FileNotFoundError:
            return None
        return decode_result(data, key)

    def put(self, result: Result) -> None:
        # Not durable: what a power cut leaves of it fails its sha256, and the stage runs again.
        write_atomic(self.path_of(result.key), encode_result(result), durable=False)


def encode_result(result: Result) -> bytes:
    body = _ENCODER.encode(result)
    return _HEADER + hashlib.sha256(body).digest() + body


def decode_result(data: bytes, key: str) -> Result | None:
    """None unless `data` is an undamaged result of that key, in a version this mlo knows."""
    start = len(_HEADER) + _SHA256_BYTES
    body = data[start:]
    if not data.startswith(_HEADER) or hashlib.sha256(body).digest() != data[len(_HEADER) : start]:
        return None
    try:
        result = _DECODER.decode(body)
    except msgspec.DecodeError:
        return None
    return result if result.key == key else None


def joined_metrics(results: Iterable[Result | None]) -> dict[str, float]:
    """The last value of every metric that these results logged; of later results where two have one name."""
    points = [point for result in results if result is not None for point in result.logged.metrics]
    return {point.key: point.value for point in points}
