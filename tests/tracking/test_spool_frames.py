"""A spool file keeps every whole frame, wherever it is torn or flipped."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.core.tracking import frames

payloads = st.lists(st.binary(max_size=40), max_size=8)


@given(payloads=payloads)
def test_what_is_written_is_read(payloads: list[bytes]) -> None:
    data = b"".join(map(frames.encode, payloads))
    for final in (True, False):
        assert frames.decode(data, final=final) == frames.Read(tuple(payloads), 0, len(data))


def test_a_tail_torn_at_any_byte_loses_only_the_torn_frame() -> None:
    written = [b"first", b"\xc1mlo looks like a frame", b"", b"last of all"]
    data = b"".join(map(frames.encode, written))
    ends = [sum(frames.OVERHEAD + len(it) for it in written[:count]) for count in range(len(written) + 1)]
    for cut in range(len(data) + 1):
        whole = max(count for count, end in enumerate(ends) if end <= cut)
        read = frames.decode(data[:cut])
        assert read == frames.Read(tuple(written[:whole]), 0, ends[whole])
        assert frames.decode(data[:cut], final=True) == frames.Read(tuple(written[:whole]), 0, cut)


@given(payloads=payloads, cut=st.integers(0, 10_000))
def test_reading_on_after_a_torn_tail_gives_everything_once(payloads: list[bytes], cut: int) -> None:
    data = b"".join(map(frames.encode, payloads))
    first = frames.decode(data[: cut % (len(data) + 1)])
    second = frames.decode(data, first.end)
    assert (*first.payloads, *second.payloads) == tuple(payloads)


@given(payloads=st.lists(st.binary(max_size=20), min_size=1, max_size=6), data=st.data())
def test_one_flipped_bit_costs_one_frame_and_is_counted_once(payloads: list[bytes], data: st.DataObject) -> None:
    whole = bytearray(b"".join(map(frames.encode, payloads)))
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    whole[bit // 8] ^= 1 << bit % 8
    read = frames.decode(bytes(whole), final=True)
    position, hit = 0, 0
    for place, payload in enumerate(payloads):
        if position <= bit // 8 < position + frames.OVERHEAD + len(payload):
            hit = place
        position += frames.OVERHEAD + len(payload)
    assert read.payloads == tuple(payloads[:hit] + payloads[hit + 1 :])
    # A flip in the last frame's length is not to be told from a torn write; then nothing is counted.
    assert read.damaged == 1 or (hit == len(payloads) - 1 and read.damaged == 0)
    assert read.end == len(whole)


@given(garbage=st.binary(min_size=1, max_size=60), payloads=st.lists(st.binary(max_size=20), min_size=1, max_size=4))
def test_garbage_between_frames_is_passed_over(garbage: bytes, payloads: list[bytes]) -> None:
    tail = b"".join(map(frames.encode, payloads))
    read = frames.decode(frames.encode(b"before") + garbage + tail, final=True)
    assert read.payloads[0] == b"before"
    assert read.payloads[-len(payloads) :] == tuple(payloads)


@given(st.binary(max_size=300))
def test_any_bytes_at_all_are_read_without_an_error(data: bytes) -> None:
    read = frames.decode(data, final=True)
    assert read.end == len(data)


def test_a_flipped_version_is_damage_and_another_version_is_a_version() -> None:
    assert frames.version_of(frames.HEADER) == frames.VERSION
    assert frames.version_of(frames.header(7)) == 7
    assert frames.version_of(frames.HEADER[:-1]) is None
    for bit in range(len(frames.HEADER) * 8):
        data = bytearray(frames.HEADER)
        data[bit // 8] ^= 1 << bit % 8
        assert frames.version_of(bytes(data)) is None
