"""One value that suddenly fills a share of the rows: a sentinel such as -999, zeros that creep in."""

from __future__ import annotations

from mlops_cli.core.stats.proportions import hypergeometric_upper


def atom_p_value(count: int, m: int, seen: int, n: int) -> float:
    """p of a value with `count` of m new rows and at most `seen` of n reference rows, chosen as the most striking.

    One-sided hypergeometric tail, times (n + m) / count for having looked at every value: if each value v of the
    pooled rows is tested at level alpha t_v / (n + m), t_v being its pooled rows, the levels add up to alpha, since
    the t_v add up to n + m; and t_v >= count. Given the pooled rows this bounds the chance of any false alarm.
    Raises ValueError if count > m or seen > n. Source: Genovese, Roeder, Wasserman, Biometrika 93 (2006) 509
    (weighted Bonferroni).
    """
    if not (0 <= count <= m and 0 <= seen <= n):
        raise ValueError(f"{count} of {m} and {seen} of {n} are no shares")
    if count == 0:
        return 1.0
    return min(1.0, hypergeometric_upper(count, m, count + seen, n) * (n + m) / count)
