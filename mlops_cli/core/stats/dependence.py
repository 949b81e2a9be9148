"""How many rows in a row are worth one: the integrated autocorrelation time.

A window's rows are no independent draws: it stays warm for days. Dividing its size by the autocorrelation time
in every test keeps the false alarms where alpha puts them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BLOCKS = 20
SHORTEST_BLOCK = 10  # rows; shorter series are cut into fewer blocks
LONGEST = 1 << 16  # points; longer series are averaged down to about this many first
SOKAL = 5.0
TOO_LARGE = 1e100  # sums of squares overflow from 1e154 on; no unit of anything is measured on this scale
RESTORED = 0.4  # of a block's length: summed lags up to which the bias of centring is given back


def autocorrelation_time(*series: Array | NDArray[np.bool_], blocks: int = BLOCKS) -> float:
    """1 + 2 x the sum of the autocorrelations, in rows; 1 for independent rows and never below 1.

    Each series (n,) of numbers or truths is in time order; several (the indicators of categories) pool their
    covariances. They are cut into 20 contiguous blocks (fewer under 200 rows), each centred on its own mean, so that
    a trend or a season between blocks, which is what drift is, does not pass for dependence; the blocks'
    autocovariances are pooled, and summed up to the first lag W >= 5 tau(W); the bias of centring is given back as
    far as it can be told from a trend. AR(1) with phi = 0.9 (19 rows) over 10,000 rows comes out between 13 and 20.
    Over 65,536 rows, b neighbours are averaged first, and the time is that of the means times b var(means) /
    var(rows), since the variance of the overall mean is the same.
    A constant or a series under 20 rows has time 1. Raises ValueError on NaN.
    Sources: Sokal, Monte Carlo Methods in Statistical Mechanics (1997), section 3; Geyer, Statistical Science 7
    (1992) 473.
    """
    n = len(series[0]) if series else 0
    if n < 2 * SHORTEST_BLOCK:
        return 1.0
    step = -(-n // LONGEST)
    blocks = max(1, min(blocks, n // (SHORTEST_BLOCK * step)))
    length = n // (blocks * step)  # points a block, of `step` rows each; the few rows left over are dropped
    covariances, rows, averaged = np.zeros(length), 0.0, 0.0
    for values in series:
        cut = np.asarray(values[: blocks * length * step], dtype=float).reshape(blocks, length * step)
        if (largest := float(max(-cut.min(), cut.max()))) > TOO_LARGE:
            cut = cut / largest
        out = None if np.may_share_memory(cut, values) else cut
        cut = np.subtract(cut, cut.mean(axis=1, keepdims=True), out=out)
        if np.isnan(cut).any():
            raise ValueError("a series with gaps has no autocorrelation time; leave the missing rows out")
        means = cut if step == 1 else cut.reshape(blocks, length, step).mean(axis=2)
        averaged += float(np.mean(means * means))
        covariances += _pooled_covariances(means)
        rows += float(np.mean(np.multiply(cut, cut, out=cut)))  # in place: ten million rows are 80 MB a copy
    if rows == 0 or averaged == 0:
        return 1.0
    return max(1.0, step * averaged / rows * _windowed(covariances))


def _pooled_covariances(blocks: Array) -> Array:
    """Autocovariances of centred blocks (b, l) at lags 0..l-1, each over the l - lag pairs of a block, summed."""
    length = blocks.shape[1]
    size = 1 << (2 * length - 1).bit_length()
    spectrum = np.fft.rfft(blocks, size, axis=1)
    power = (spectrum.real**2 + spectrum.imag**2).sum(axis=0)
    return np.asarray(np.fft.irfft(power, size)[:length] / np.arange(length, 0, -1))


def _windowed(covariances: Array) -> float:
    """The sum up to Sokal's lag W, with what centring the blocks took off given back.

    Centring a block of l rows lowers each autocorrelation by about tau / l, so the sum by (2 W + 1 - tau) / l of the
    true time. That is given back in full where W is small against l, and less and less up to W = 0.4 l: from there
    on a trend cannot be told from dependence, and is left out as a trend.
    """
    length = len(covariances)
    if not covariances[0] > 0:
        return 1.0
    times = 2 * np.cumsum(covariances / covariances[0]) - 1
    enough = np.flatnonzero(np.arange(length) >= SOKAL * times)
    if not len(enough):
        return float(times.max())
    lag = int(enough[0])
    found = float(times[lag])
    taken = (2 * lag + 1 - found) / length * max(0.0, 1 - lag / (RESTORED * length))
    return found / (1 - taken)


def score_series(values: Array, ordered: Array) -> Array:
    """Values (n,) made fit for `autocorrelation_time`: clipped to their own 5% and 95% quantiles.

    ordered (n,) are the same values sorted. Without this one outlier would be all of the variance and hide any
    dependence. Where the clipped series is constant (rain, mostly none), each value's side of the median is taken.
    """
    n = len(ordered)
    if n == 0:
        return values
    low, high = ordered[int(0.05 * (n - 1))], ordered[int(np.ceil(0.95 * (n - 1)))]
    if low < high and np.isfinite(low) and np.isfinite(high):
        return np.asarray(np.clip(values, low, high))
    median = ordered[n // 2]
    return np.asarray(np.subtract(values > median, values < median, dtype=float))


def spells(happened: NDArray[np.bool_], time: float) -> int:
    """How many separate events a rare thing was: rows (n,) in time order in which it happened, gathered in spells.

    Extremes come in spells that outlast the autocorrelation time: one cold front is one event, not as many as its
    rows are worth on average. Rows less than `time` rows apart belong to one spell; a spell counts once, and once more
    for each 5 times in its length. With time 1 every row is its own event.
    Source: Leadbetter, Lindgren, Rootzen, Extremes (1983), ch. 3 (runs); Ferro, Segers, JRSS B 65 (2003) 545.
    """
    places = np.flatnonzero(happened)
    if len(places) == 0:
        return 0
    begins = np.concatenate(([True], np.diff(places) >= time))
    first = places[begins]
    last = places[np.append(np.flatnonzero(begins)[1:] - 1, len(places) - 1)]
    return int(np.sum(1 + (last - first) // (SOKAL * time)))
