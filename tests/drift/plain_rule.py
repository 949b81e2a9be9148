"""The rule of RULE.md a second time, slowly and plainly, on whole samples: what the fast one must agree with."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

Found = dict[tuple[str, str], tuple[float, float]]  # (column, part) -> (p, effect)


def numeric_tests(reference: Sequence[float | None], current: Sequence[float | None]) -> dict[str, tuple[float, float]]:
    tests = missing_test(reference, current)
    a = [value for value in reference if value is not None and not math.isnan(value)]
    b = [value for value in current if value is not None and not math.isnan(value)]
    n, m = len(a), len(b)
    if not n or not m:
        return tests
    points = sorted(set(a) | set(b))
    distance = max(abs(sum(x <= at for x in a) / n - sum(x <= at for x in b) / m) for at in points)
    tests["distribution"] = (float(stats.kstwobign.sf(distance * math.sqrt(n * m / (n + m)))), distance)
    k = math.ceil(n / 1000)
    low, high = sorted(a)[k - 1], sorted(a)[n - k]
    beyond, both = sum(x < low or x > high for x in b), min(2 * k, n)
    p = float(stats.betabinom.sf(beyond - 1, m, both, n - both + 1)) if beyond else 1.0
    tests["tails"] = (p, max(0.0, beyond / m - both / (n + 1)))
    before, now = Counter(a), Counter(b)
    rare = [(count, -value) for value, count in now.items() if before[value] <= n / 1000 and count >= 0.02 * m]
    if rare:
        count, value = max(rare)
        seen = before[-value]
        p = float(stats.hypergeom.sf(count - 1, n + m, count + seen, m)) * (n + m) / count
        tests["atom"] = (min(1.0, p), max(0.0, count / m - seen / n))
    else:
        tests["atom"] = (1.0, 0.0)
    return tests


def categorical_tests(reference: Sequence[str | None], current: Sequence[str | None]) -> dict[str, tuple[float, float]]:
    tests = missing_test(reference, current)
    before = Counter(value for value in reference if value is not None)
    now = Counter(value for value in current if value is not None)
    n, m = sum(before.values()), sum(now.values())
    if not n or not m:
        return tests
    unseen = sum(count for value, count in now.items() if value not in before)
    pooled = pool(before, now, n, m)
    once, twice = (sum(count == times for count in before.values()) for times in (1, 2))
    if len(pooled) < 2 and once > n / 2:
        return tests
    if len(pooled) < 2:
        tests["distribution"] = (1.0, 0.0)
    else:
        p = stats.chi2_contingency(np.array(pooled).T, correction=False).pvalue
        tests["distribution"] = (float(p), sum(abs(x / n - y / m) for x, y in pooled) / 2)
    mean, variance = (once + 1) / n, (once + 2 * twice + 1) / n**2
    bound = min(1.0, float(stats.gamma.ppf(0.99, mean**2 / variance, scale=variance / mean)))
    p = 1.0
    if unseen and mean < 1 and (size := mean * (1 - mean) / variance - 1) > 0:
        p = float(stats.betabinom.sf(unseen - 1, m, mean * size, (1 - mean) * size))
    tests["unseen"] = (p, max(0.0, unseen / m - bound))
    return tests


def pool(before: Counter[str], now: Counter[str], n: int, m: int) -> list[tuple[int, int]]:
    """The cells of the table: the rest (unseen values, thin ones), and one for each other value."""
    lesser = min(n, m) / (n + m)
    known = sorted(((before[value], now[value]) for value in before), key=sum)
    unseen = sum(count for value, count in now.items() if value not in before)
    rest, thin = [0, unseen], unseen > 0
    while known and (sum(known[0]) * lesser < 5 or (thin and sum(rest) * lesser < 5)):
        cell = known.pop(0)
        rest, thin = [rest[0] + cell[0], rest[1] + cell[1]], True
    return [*([(rest[0], rest[1])] if thin else []), *known]


def missing_test(reference: Sequence[Any], current: Sequence[Any]) -> dict[str, tuple[float, float]]:
    def gone(values: Sequence[Any]) -> int:
        return sum(value is None or value != value for value in values)

    a, b, n, m = gone(reference), gone(current), len(reference), len(current)
    if a + b in (0, n + m):
        return {}
    p = stats.fisher_exact([[a, n - a], [b, m - b]]).pvalue
    return {"missing": (float(p), abs(a / n - b / m))}


FLOORS = {"distribution": 0.05, "missing": 0.02, "unseen": 0.01, "tails": 0.01, "atom": 0.02}


def alarms(tests: Found, alpha: float = 0.01) -> set[tuple[str, str]]:
    """Holm step by step: reject from the smallest p on, and stop at the first that is too large; then the floors."""
    rejected = set()
    for place, (name, (p, effect)) in enumerate(sorted(tests.items(), key=lambda item: item[1][0])):
        if p > alpha / (len(tests) - place):
            break
        if effect >= FLOORS[name[1]]:
            rejected.add(name)
    return rejected
