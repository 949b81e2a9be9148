"""How large values go to S3: in parts that are neither too small, nor too large, nor too many."""

from __future__ import annotations

from pathlib import Path

import pytest
from buckets import S3Bucket

from mlops_cli.core.remotes import s3
from mlops_cli.core.remotes.open import open_url

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40


@pytest.mark.parametrize("size", [0, 1, 32 * MIB, 5 * GIB, 5 * GIB + 1, 156 * GIB, 160 * GIB, 5 * TIB])
def test_no_value_that_s3_can_hold_has_too_many_parts_or_too_large_ones(size: int) -> None:
    part = s3.part_bytes(size)
    assert 5 * MIB <= part <= 5 * GIB
    assert size <= part * 10_000


def test_a_value_of_many_parts_arrives_whole(
    s3_bucket: S3Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "PART_BYTES", 5 * MIB)  # the least that S3 takes
    data = bytes(range(256)) * (12 * MIB // 256) + b"and an end"
    (tmp_path / "large").write_bytes(data)
    remote = open_url(f"s3://{s3_bucket.name}/many", root=tmp_path, name="origin")
    remote.put_file("large", tmp_path / "large")
    assert dict(remote.sizes()) == {"large": len(data)}
    remote.get_file("large", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == data
