"""Sums without rounding, so that any order and grouping of the parts gives the same bytes."""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_HALF = 26  # bits of the lower part of a 53-bit mantissa
_LOW32 = (1 << 32) - 1


class Exact(msgspec.Struct, frozen=True):
    """`whole` x 2^`exponent`, with `whole` an odd integer as signed little-endian bytes; empty for zero."""

    whole: bytes = b""
    exponent: int = 0

    @classmethod
    def of(cls, whole: int, exponent: int) -> Exact:
        if whole == 0:
            return cls()
        zeros = (whole & -whole).bit_length() - 1
        odd = whole >> zeros
        return cls(odd.to_bytes(odd.bit_length() // 8 + 1, "little", signed=True), exponent + zeros)

    @property
    def number(self) -> int:
        return int.from_bytes(self.whole, "little", signed=True)

    def __add__(self, other: Exact) -> Exact:
        low = min(self.exponent, other.exponent)
        return Exact.of((self.number << (self.exponent - low)) + (other.number << (other.exponent - low)), low)


def exact_sum(values: Array) -> Exact:
    """The sum of finite doubles (n,), n < 2^36, without any rounding; quickest where they are sorted.

    Each is an integer of 53 bits times a power of two. Runs of one power are summed as integers, in two halves of 26
    and 27 bits that do not overflow, and the few hundred sums as Python's integers.
    """
    mantissas, exponents, starts = _runs(values)
    if len(starts) == 0:
        return Exact()
    high, low = _sums(mantissas >> _HALF, starts), _sums(mantissas & ((1 << _HALF) - 1), starts)
    least = min(exponents)
    total = sum((((h << _HALF) + s) << (e - least)) for h, s, e in zip(high, low, exponents, strict=True))
    return Exact.of(total, least)


def exact_sum_of_squares(values: Array) -> Exact:
    """The sum of the squares of finite doubles (n,), n < 2^31, without any rounding."""
    mantissas, exponents, starts = _runs(values)
    if len(starts) == 0:
        return Exact()
    mantissas = np.abs(mantissas)
    high, low = mantissas >> _HALF, mantissas & ((1 << _HALF) - 1)
    parts = [_wide_sums(product, starts) for product in (high * high, high * low, low * low)]
    least = min(exponents)
    total = sum(
        ((hh << 2 * _HALF) + (hl << (_HALF + 1)) + ll) << 2 * (e - least)
        for hh, hl, ll, e in zip(*parts, exponents, strict=True)
    )
    return Exact.of(total, 2 * least)


def mean_and_deviation(n: int, total: Exact, squares: Exact) -> tuple[float, float]:
    """Mean and standard deviation (n in the denominator), each rounded once; NaN of nothing."""
    if n == 0:
        return math.nan, math.nan
    # n S2 - S1^2, over n^2: an integer times 2^low.
    low = min(squares.exponent, 2 * total.exponent)
    spread = (n * squares.number << (squares.exponent - low)) - (total.number**2 << (2 * total.exponent - low))
    return _rounded(total.number, n, total.exponent), _root(spread, n, low)


def _rounded(number: int, n: int, exponent: int) -> float:
    return (number << exponent) / n if exponent >= 0 else number / (n << -exponent)


def _root(spread: int, n: int, exponent: int) -> float:
    """sqrt(spread 2^exponent) / n, rounded once: a root of 70 bits or more, its last bit set if anything is cut off."""
    if spread == 0:
        return 0.0
    shift = max(0, 2 * (70 + n.bit_length()) - spread.bit_length())
    shift += (exponent - shift) % 2
    scaled = spread << shift
    root = math.isqrt(scaled)
    inexact = root * root != scaled
    exponent = (exponent - shift) // 2
    widened = (root << 2) | inexact
    return _rounded(widened, n, exponent - 2)


def _runs(values: Array) -> tuple[NDArray[np.int64], list[int], NDArray[np.intp]]:
    """Mantissas (n,), and where runs of one exponent start, with the exponents."""
    if len(values) == 0:
        return np.empty(0, np.int64), [], np.empty(0, np.intp)
    fractions, powers = np.frexp(values)
    starts = np.flatnonzero(np.concatenate(([True], powers[1:] != powers[:-1])))
    return np.ldexp(fractions, 53).astype(np.int64), [int(power) - 53 for power in powers[starts]], starts


def _sums(values: NDArray[np.int64], starts: NDArray[np.intp]) -> list[int]:
    found: list[int] = np.add.reduceat(values, starts).tolist()
    return found


def _wide_sums(values: NDArray[np.int64], starts: NDArray[np.intp]) -> list[int]:
    """Of numbers under 2^54, whose plain sums would overflow from 512 rows on."""
    high, low = _sums(values >> 32, starts), _sums(values & _LOW32, starts)
    return [(h << 32) + s for h, s in zip(high, low, strict=True)]
