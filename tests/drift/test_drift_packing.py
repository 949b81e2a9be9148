"""Counts as bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.core.drift.summaries.packing import pack, unpack


@given(st.lists(st.integers(0, 2**62)))
def test_counts_read_back(counts: list[int]) -> None:
    assert unpack(pack(np.array(counts, dtype=np.int64))).tolist() == counts


def test_small_counts_take_a_byte_and_torn_bytes_are_refused() -> None:
    assert len(pack(np.arange(128))) == 128
    assert len(pack(np.array([128]))) == 2
    with pytest.raises(ValueError, match="within one"):
        unpack(b"\x01\x80")
