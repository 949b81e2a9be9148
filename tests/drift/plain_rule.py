"""The rule of RULE.md a second time, slowly and plainly, on whole samples: what the fast one must agree with."""

from __future__ import annotations

import math
import unicodedata
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


def categorical_tests(
    reference: Sequence[str | None], current: Sequence[str | None], limit: int = 56 * 1024
) -> dict[str, tuple[float, float]]:
    """`limit`: of bytes that the listed values take, 7 and its own each."""
    tests = missing_test(reference, current)
    every = Counter(value for value in reference if value is not None)
    now = Counter(value for value in current if value is not None)
    n, m = sum(every.values()), sum(now.values())
    if not n or not m:
        return tests
    before = listed(every, limit)
    rest = n - sum(before.values())
    unseen = sum(count for value, count in now.items() if value not in before)
    pooled = pool(before, now, n, m)
    once, twice = (sum(count == times for count in every.values()) for times in (1, 2))
    once += rest  # as if each such row were a value of its own
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


def listed(every: Counter[str], limit: int) -> Counter[str]:
    """The most frequent values, ties by value, until the next one does not fit."""
    kept: Counter[str] = Counter()
    for value, count in sorted(every.items(), key=lambda item: (-item[1], item[0])):
        if sum(len(one.encode()) + 7 for one in (*kept, value)) > limit:
            break
        kept[value] = count
    return kept


def pool(before: Counter[str], now: Counter[str], n: int, m: int) -> list[tuple[int, int]]:
    """The cells of the table: the rest (unlisted and unseen values, thin ones), and one for each other value."""
    lesser = min(n, m) / (n + m)
    known = sorted(((before[value], now[value]) for value in before), key=sum)
    unseen = sum(count for value, count in now.items() if value not in before)
    rest = [n - sum(before.values()), unseen]
    thin = sum(rest) > 0
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


# -- times and prose -----------------------------------------------------------------------------------------


def cycle_test(reference: np.ndarray, current: np.ndarray, clusters: int) -> tuple[float, float]:
    """Hours of days, or weekdays of weeks: counts (clusters, k) of the reference, (k,) of the window in `clusters`."""
    whole, k = reference.sum(axis=0), reference.shape[1]
    n, m = whole.sum(), current.sum()
    # A cell of thin categories, the thinnest first until they are 5 rows in either sample, and one for each other.
    order = sorted(range(k), key=lambda code: (whole[code] + current[code], code))
    expected = {code: (whole[code] + current[code]) * min(n, m) / (n + m) for code in order}
    thin: list[int] = []
    for code in order:
        if expected[code] < 5 or (thin and sum(expected[one] for one in thin) < 5):
            thin.append(code)
    cells = [[code] for code in range(k) if code not in thin]
    if sum(expected[code] for code in thin) > 0:
        cells.append(thin)
    table = np.array([[day[cell].sum() for cell in cells] for day in reference], dtype=float)
    now = np.array([current[cell].sum() for cell in cells], dtype=float)
    before, count = table.sum(axis=0), len(cells)
    shares, pooled = before / n, (before + now) / (n + m)
    days = len(table)
    covariance = np.zeros((count, count))
    for day in table:
        residual = (day - day.sum() * shares) / np.sqrt(pooled)
        covariance += days / (days - 1) * np.outer(residual, residual) / n
    effects = np.clip(np.sort(np.linalg.eigvalsh(covariance))[1:], 0, None)
    effects *= max(1.0, (count - 1) / effects.sum())
    size, size_now = (table.sum(axis=1) ** 2).sum() / n, m / clusters
    now_effects = np.clip(1 + (effects - 1) * (max(0.0, size_now - 1) / (size - 1)), 0, None)
    now_effects *= max(1.0, (count - 1) / now_effects.sum())
    gap = shares - now / m
    p = weighted_tail(float((gap**2 / pooled).sum()), effects / n + now_effects / m)
    return p, float(np.abs(gap).sum() / 2)


def weighted_tail(at: float, weights: np.ndarray) -> float:
    """P(sum of weights x chi-squares >= at), by Imhof's integral (Biometrika 48 (1961) 419) in small steps."""
    lam = weights[weights > 1e-9 * weights.max()] / weights.max()
    x = at / weights.max()
    u = np.arange(0.0005, 400, 0.001)
    angle = 0.5 * np.arctan(np.outer(u, lam)).sum(axis=1) - 0.5 * x * u
    size = u * np.exp(0.25 * np.log1p(np.outer(u * u, lam * lam)).sum(axis=1))
    return 0.5 + float(np.sum(np.sin(angle) / size) * 0.001) / math.pi


MEASURED = {
    "length": len,
    "words": lambda text: len(text.split()),
    "digits": lambda text: sum(unicodedata.category(sign) == "Nd" for sign in text) / len(text),
    "uppercase": lambda text: sum(unicodedata.category(sign) == "Lu" for sign in text) / len(text),
    "punctuation": lambda text: sum(unicodedata.category(sign)[0] in "PS" for sign in text) / len(text),
    "non_ascii": lambda text: sum(ord(sign) > 127 for sign in text) / len(text),
}


def text_tests(reference: Sequence[str], current: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Some parts of prose without empty texts, of so few rows that every number is an edge."""
    tests = {}
    for part, measure in MEASURED.items():
        a, b = ([float(np.float32(measure(text))) for text in texts] for texts in (reference, current))
        distance = max(
            abs(sum(x <= at for x in a) / len(a) - sum(x <= at for x in b) / len(b)) for at in sorted({*a, *b})
        )
        rows = len(a) * len(b) / (len(a) + len(b))
        tests[part] = (float(stats.kstwobign.sf(distance * math.sqrt(rows))), distance)
    return tests


def text_atom(reference: Sequence[str], current: Sequence[str]) -> tuple[str, list[tuple[float, float]]]:
    """The text that fills the window, rare in a reference of up to 1,000 rows; p and effect if the reference has it as
    often as it does, and if once (a profile may know no more of a text that it does not list)."""
    before, now, n, m = Counter(reference), Counter(current), len(reference), len(current)
    rare = [(count, text) for text, count in now.items() if before[text] <= 1 and count >= max(2, 0.02 * m)]
    if not rare:
        return "", [(1.0, 0.0)]
    most = max(count for count, _ in rare)
    (count, text) = next(one for one in rare if one[0] == most)
    found = []
    for seen in sorted({before[text], 1}):
        p = float(stats.hypergeom.sf(count - 1, n + m, count + seen, m)) * (n + m) / count
        found.append((min(1.0, p), max(0.0, count / m - seen / n)))
    return text, found


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
