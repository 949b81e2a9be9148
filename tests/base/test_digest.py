import hashlib
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.core.base.digest import (
    BLOCK_BYTES,
    Digest,
    canonical_json,
    digest_bytes,
    digest_file,
    key_of,
    sha256_bytes,
    sha256_file,
)
from mlops_cli.core.errors import IntegrityError

# Published test vectors of the empty input.
EMPTY_XXH128 = "xxh128:99aa06d3014798d86001c324468d497f"
EMPTY_BLAKE3 = "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"


@pytest.mark.parametrize("text", [EMPTY_XXH128, EMPTY_BLAKE3])
def test_digests_agree_with_published_vectors(text: str) -> None:
    assert str(digest_bytes(b"", text.partition(":")[0])) == text


@pytest.mark.parametrize(
    "text",
    ["", "xxh128", "xxh128:", "xxh128:12", "md5:" + "0" * 32, "xxh128:" + "G" * 32, "xxh128:" + "A" * 32, "0" * 32],
)
def test_what_is_not_a_digest_is_refused(text: str) -> None:
    with pytest.raises(IntegrityError):
        Digest.parse(text)


@given(st.binary(), st.sampled_from(["xxh128", "blake3"]))
def test_a_digest_reads_back_as_it_was_written(data: bytes, algorithm: str) -> None:
    digest = digest_bytes(data, algorithm)
    assert Digest.parse(str(digest)) == digest


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES, BLOCK_BYTES + 1])
def test_a_file_has_the_digest_of_its_bytes(tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    path = tmp_path / "file"
    path.write_bytes(data)
    seen: list[int] = []
    assert digest_file(path, "xxh128", seen=seen.append) == digest_bytes(data, "xxh128")
    assert sum(seen) == size
    assert sha256_file(path) == sha256_bytes(data) == hashlib.sha256(data).hexdigest()


def test_canonical_json_does_not_depend_on_the_order_of_keys() -> None:
    assert canonical_json({"b": 1, "a": {"d": 2.0, "c": [1, None]}}) == b'{"a":{"c":[1,null],"d":2.0},"b":1}'
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_canonical_json_refuses_what_json_cannot_say(value: float) -> None:
    with pytest.raises(ValueError, match="canonical"):
        canonical_json({"a": [value]})
