"""Can a classifier tell the window's rows from the reference's? "All columns together" in RULE.md has the derivation.

The only part of a check that needs scikit-learn, and rows of the reference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.drift import columns as arrow
from mlops_cli.core.drift.profile import ColumnProfile, Profile
from mlops_cli.core.drift.window import Window
from mlops_cli.core.stats.blocks import BlockTest, arrangements, block_auc_test

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

MOST_ROWS = 10_000  # of either sample
LEAST_ROWS = 100  # of either sample: under 50 to learn from there is nothing to learn
BLOCK_TIMES = 5.0  # autocorrelation times in a block
RUNS = 4  # contiguous runs of blocks, which go to the two folds in turn
BUNDLES = 1_000  # of independent rows in the smaller sample
MOST_VALUES = 100  # of a categorical column; rarer ones are one value
MOST_PERMUTATIONS = 99_999
IDS_FROM = 20  # rows from which whole numbers that never repeat are ids
SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Joint:
    """What the classifier found. `columns` are those it rests on, with their shares of the fall of the AUC when one is
    shuffled, the largest first; `untold` says why nothing was found out, and the rest then says nothing."""

    auc: float = 0.5
    bound: float = 1.0
    p_value: float = 1.0
    n_reference: int = 0
    n: int = 0
    columns: tuple[tuple[str, float], ...] = ()
    notes: tuple[str, ...] = ()
    untold: str = ""

    @property
    def effect(self) -> float:
        """2 AUC - 1, at most TV (2 - TV) of the total variation TV."""
        return max(0.0, 2 * self.auc - 1)

    def noting(self, note: str) -> Joint:
        return replace(self, notes=(*self.notes, note))


@dataclass(slots=True)
class Encoded:
    """Both samples' rows as numbers (rows, columns), NaN where missing. `categorical` (columns,) marks codes."""

    names: list[str] = field(default_factory=list)
    columns: list[Array] = field(default_factory=list)
    categorical: list[bool] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)


def effect_floor(floor: float) -> float:
    """The 2 AUC - 1 that no classifier reaches unless the total variation is at least `floor`."""
    return floor * (2 - floor)


def compare_jointly(
    profile: Profile,
    reference: Window,
    window: Window,
    *,
    columns: Sequence[str],
    time: float,
    level: float,
    explain: tuple[float, float],
    seed: int = 0,
) -> Joint:
    """The cross-fitted AUC of a classifier of window against reference, and its permutation p-value.

    columns: which to use of the profile's; those that are times, prose, vectors, ids, counters, missing or of another
    kind in either sample are left out. time: how many rows in a row are worth one, at most, in any of them. level:
    what the p-value will have to beat; it decides the number of permutations. explain: the p-value and the effect
    from which on the columns are ranked. Never raises for what rows hold: `untold` says why there is no answer.
    """
    generator = np.random.default_rng(seed)
    orders = _orders(profile, reference, window)
    if isinstance(orders, str):
        return Joint(untold=orders)
    chosen = _chosen_rows(reference.rows, window.rows, orders, time, generator)
    if chosen is None:
        return Joint(untold=_too_few(reference.rows, window.rows, time))
    before, now, length = chosen
    blocks = (len(before) // length, len(now) // length)
    permutations = min(MOST_PERMUTATIONS, math.ceil(10 / level) - 1)
    # Both folds' halves: the fewest arrangements that either of them has.
    if min(arrangements((blocks[0] + blocks[1]) // 2, blocks[1] // 2), permutations + 1) < 4 / level:
        return Joint(untold=_too_few(reference.rows, window.rows, time))
    table = _encode(profile, reference, window, columns, before, now)
    if not table.columns:
        return Joint(untold="no column can be compared: " + "; ".join(_left_out(table)))
    values, second = np.column_stack(table.columns), np.arange(blocks[0] + blocks[1]) >= blocks[0]
    folds = np.concatenate([_folds(count, orders is not None) for count in blocks])
    with _one_thread():
        fitted = [_fit(values, table, second, folds != fold, length, seed) for fold in (0, 1)]
        tests = [
            _test(fitted[fold], values, second, folds == fold, length, level, permutations, generator)
            for fold in (0, 1)
        ]
    notes = _left_out(table)
    if orders is None:
        notes.insert(0, "rows are taken as independent")
    joint = Joint(
        auc=(tests[0].auc + tests[1].auc) / 2,
        bound=(tests[0].bound + tests[1].bound) / 2,
        p_value=min(1.0, 2 * min(test.p_value for test in tests)),
        n_reference=len(before),
        n=len(now),
        notes=tuple(notes),
    )
    if joint.p_value > explain[0] or joint.effect < explain[1]:
        return joint
    with _one_thread():
        shares = _importances(
            fitted, values, table.names, np.repeat(second, length), np.repeat(folds, length), generator
        )
    return replace(joint, columns=shares)


# -- rows and blocks -----------------------------------------------------------------------------------------


def _orders(profile: Profile, reference: Window, window: Window) -> tuple[Rows, Rows] | str | None:
    """Both samples' rows in order of time; None where nothing orders them, or why they cannot be compared."""
    if profile.time is None:
        return None
    orders = []
    for rows, name in ((reference, "reference"), (window, "window")):
        order = arrow.time_order(rows.read(profile.time)) if profile.time in rows else None
        if order is None:
            return f"the {name} has no {profile.time} that orders its rows, so neighbours cannot be kept together"
        orders.append(order)
    return orders[0], orders[1]


def _chosen_rows(
    n: int, m: int, orders: tuple[Rows, Rows] | None, time: float, generator: np.random.Generator
) -> tuple[Rows, Rows, int] | None:
    """Rows of both samples, block after block in order of time, and how many make a block, the same for both.

    A block spans 5 autocorrelation times; of longer ones every few rows are kept, as many of each. Where a sample has
    more than 10,000 rows some of its blocks are drawn. Without order, rows are bundled at random. None: too few.
    """
    if min(n, m) < LEAST_ROWS:
        return None
    if orders is None:
        orders = (generator.permutation(n), generator.permutation(m))
        span = max(1, min(n, m) // BUNDLES)
    else:
        span = math.ceil(BLOCK_TIMES * time)
    counts = (n // span, m // span)
    if min(counts) < RUNS:
        return None
    kept = min(span, max(1, MOST_ROWS // min(counts)))
    inner = np.floor((np.arange(kept) + 0.5) * span / kept).astype(np.int64)
    rows = []
    for order, count in zip(orders, counts, strict=True):
        most = max(RUNS, MOST_ROWS // kept)
        blocks = np.arange(count)
        if count > most:
            blocks = np.sort(generator.choice(count, most, replace=False))
        rows.append(order[(blocks[:, None] * span + inner).reshape(-1)])
    return None if min(len(rows[0]), len(rows[1])) < LEAST_ROWS else (rows[0], rows[1], kept)


def _too_few(n: int, m: int, time: float) -> str:
    worth = f", of which {time:,.0f} in a row are worth one" if time > 1.5 else ""
    return f"too few rows for a classifier: {m:,} against {n:,}{worth}"


def _folds(blocks: int, in_order: bool) -> NDArray[np.int64]:
    """The fold, 0 or 1, of each block: four contiguous runs in turn, so that each fold sees all of the time and few
    blocks have a neighbour on the other side."""
    places = np.arange(blocks)
    return places * RUNS // blocks % 2 if in_order else places % 2


# -- columns -------------------------------------------------------------------------------------------------


def _encode(
    profile: Profile, reference: Window, window: Window, wanted: Sequence[str], before: Rows, now: Rows
) -> Encoded:
    """The columns of both samples' chosen rows, the reference's first. Numbers become pooled ranks: trees do not care,
    and infinities and units are gone."""
    import pyarrow as pa

    table = Encoded()
    for known in profile.columns:
        if known.name not in wanted or known.name not in window or known.name not in reference:
            continue
        if reason := _unfit(known):
            table.left_out.setdefault(reason, []).append(known.name)
            continue
        sides = (reference.read(known.name), before), (window.read(known.name), now)
        try:
            if known.numeric is not None:
                codes = _ranks(*(_numbers(values)[rows] for values, rows in sides))
            else:
                codes = _categories(known, *sides)
        except pa.ArrowException:
            table.left_out.setdefault("of another kind", []).append(known.name)
            continue
        distinct = len(np.unique(codes[~np.isnan(codes)]))
        if known.kind == "integer" and distinct == len(codes) >= IDS_FROM:
            table.left_out.setdefault("an id", []).append(known.name)
        elif distinct > 1 or (distinct and np.isnan(codes).any()):
            table.names.append(known.name)
            table.columns.append(codes)
            table.categorical.append(known.numeric is None)
    return table


def _unfit(known: ColumnProfile) -> str:
    if known.numeric is not None:
        return "only ever growing" if known.numeric.counter else ""
    if known.categorical is None:
        return "a time" if arrow.GROUPS.get(known.kind) == "datetime" else "neither number nor category"
    return "an id" if known.categorical.singletons + known.categorical.rest_rows > known.present / 2 else ""


def _left_out(table: Encoded) -> list[str]:
    return [f"left out, as {reason}: {listed(names)}" for reason, names in table.left_out.items()]


def listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _numbers(values: Any) -> Array:
    taken = arrow.numbers(values)
    if taken.present is None:
        return taken.values
    whole = np.full(taken.rows, np.nan)
    whole[taken.present] = taken.values
    return whole


def _ranks(before: Array, now: Array) -> Array:
    pooled = np.concatenate((before, now))
    there = ~np.isnan(pooled)
    pooled[there] = np.unique(pooled[there], return_inverse=True)[1]
    return pooled


def _categories(known: ColumnProfile, *sides: tuple[Any, Rows]) -> Array:
    """Codes by pooled frequency, the rarest values under one code; which sample a value is from plays no part."""
    codes: dict[str, int] = {}
    parts = []
    for values, rows in sides:
        taken = arrow.categories(arrow.as_group(values, arrow.GROUPS[known.kind]))
        own = np.array([codes.setdefault(value, len(codes)) for value in taken.values] or [0], dtype=float)
        whole = np.full(taken.rows, np.nan)
        whole[slice(None) if taken.present is None else taken.present] = own[taken.codes]
        parts.append(whole[rows])
    pooled = np.concatenate(parts)
    there = ~np.isnan(pooled)
    found = pooled[there].astype(np.int64)
    counts = np.bincount(found, minlength=1)
    place = np.empty(len(counts))
    place[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    pooled[there] = np.minimum(place[found], MOST_VALUES)
    return pooled


# -- the classifier ------------------------------------------------------------------------------------------


def _one_thread() -> Any:
    """A hundred small trees on a few thousand rows: threads would spend their time waiting for each other, and the
    same sums come out on every machine."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1)


def _fit(
    values: Array, table: Encoded, second: NDArray[np.bool_], learned: NDArray[np.bool_], length: int, seed: int
) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    rows = np.repeat(learned, length)
    model = HistGradientBoostingClassifier(
        max_iter=100,
        max_leaf_nodes=15,
        early_stopping=False,
        class_weight="balanced",
        categorical_features=np.array(table.categorical),
        random_state=seed,
    )
    return model.fit(values[rows], np.repeat(second, length)[rows])


def _test(
    model: Any,
    values: Array,
    second: NDArray[np.bool_],
    held: NDArray[np.bool_],
    length: int,
    level: float,
    permutations: int,
    generator: np.random.Generator,
) -> BlockTest:
    """One fold's test; both folds' p-values depend on each other, so each gets half of the level."""
    scores = model.decision_function(values[np.repeat(held, length)])
    return block_auc_test(scores.reshape(-1, length), second[held], level / 2, permutations, generator)


def _importances(
    fitted: Sequence[Any],
    values: Array,
    names: Sequence[str],
    second: NDArray[np.bool_],
    folds: NDArray[np.int64],
    generator: np.random.Generator,
) -> tuple[tuple[str, float], ...]:
    """How much of the AUC goes when a column is shuffled over the scored rows, as shares of all that goes."""
    from sklearn.metrics import roc_auc_score

    falls = np.zeros(len(names))
    for fold, model in enumerate(fitted):
        rows, truth = values[folds == fold], second[folds == fold]
        whole = roc_auc_score(truth, model.decision_function(rows))
        for place in range(len(names)):
            shuffled = rows.copy()
            shuffled[:, place] = generator.permutation(shuffled[:, place])
            falls[place] += max(0.0, whole - roc_auc_score(truth, model.decision_function(shuffled)))
    total = float(falls.sum())
    ranked = sorted(range(len(names)), key=lambda place: (-falls[place], names[place]))
    return tuple((names[place], float(falls[place] / total)) for place in ranked[:SHOWN] if falls[place] > 0)
