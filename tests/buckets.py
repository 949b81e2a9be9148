"""A bucket to test against."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class S3Bucket:
    """An empty bucket on a real server that speaks S3 on loopback."""

    name: str
    endpoint: str
