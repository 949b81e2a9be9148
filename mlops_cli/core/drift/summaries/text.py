"""What a profile keeps of prose: how long rows are, which characters they are made of, and the reference's words.

Nothing here knows a language: characters are told apart by their Unicode categories, and words by what stands between
letters, or one by one in scripts that are written without spaces.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.drift import columns as arrow
from mlops_cli.core.drift.summaries.categories import Categorical, hashes_of
from mlops_cli.core.drift.summaries.packing import pack, unpack
from mlops_cli.core.drift.summaries.sketch import Sketch, sketch
from mlops_cli.core.drift.summaries.sketch import add as add_sketches
from mlops_cli.core.drift.summaries.sketch import count_like as count_sketch
from mlops_cli.core.drift.summaries.sketch import frame_of as frame_of_sketch
from mlops_cli.core.stats.dependence import BLOCKS

if TYPE_CHECKING:
    import pyarrow as pa

Array = NDArray[np.float64]
Order = NDArray[np.int64]

PARTS = (
    "length",
    "words",
    "word_length",
    "digits",
    "uppercase",
    "punctuation",
    "whitespace",
    "non_ascii",
    "unknown_words",
)
VOCABULARY_BYTES = 24 << 10
LONGEST_WORD = 40  # bytes; nothing longer is kept as a word
FREQUENT, FREQUENT_BYTES = 64, 8 << 10  # whole texts kept because rows share them
BUCKETS = 2048  # of other texts, by hash
BATCH = 1 << 16  # rows whose words are held at once
JUDGED = 10_000  # rows by which it is decided whether a column is prose
FEWEST_WORDS, FEWEST_SIGNS = 3, 10  # of a row of prose
VARIED = 0.2  # of the rows of prose: different texts once words with digits are taken out

_SPACE = r"[\s\p{Z}]"
_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]"
_COUNTED = {
    "digits": r"\p{Nd}",
    "uppercase": r"\p{Lu}",
    "punctuation": r"[\p{P}\p{S}]",
    "whitespace": _SPACE,
    "non_ascii": r"[^\x00-\x7F]",
}


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """Prose. `parts` are numbers measured of each row; `vocabulary` the most frequent words of one half of the
    reference, by count, then by word; `unknown_words` is measured on the other half.

    `values`, `counts`: whole texts that rows share. `buckets`, packed: rows by the lowest 11 bits of a hash of their
    text, other texts only, so that no such text is that of more rows than its bucket holds; nor of more than
    `rest_most`, which only the rows that made the frame know. In profiles of version 1 `rest_most` alone.
    """

    parts: dict[str, Sketch]
    vocabulary: tuple[str, ...]
    values: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    rest_most: int | None = None
    buckets: bytes = b""

    def most_rows(self, texts: Sequence[str]) -> list[int]:
        """As how many rows each of some texts may have, at most; exact for the listed ones."""
        listed = dict(zip(self.values, self.counts, strict=True))
        bounds = np.full(len(texts), self.rest_most if self.rest_most is not None else np.iinfo(np.int64).max)
        if self.buckets:
            bounds = np.minimum(bounds, unpack(self.buckets)[_bucket(texts)])
        return [listed.get(text, bound) for text, bound in zip(texts, bounds.tolist(), strict=True)]


def is_prose(column: pa.ChunkedArray, known: Categorical) -> bool:
    """Whether texts hardly repeat and are language: most rows hold three words that begin with a letter, or ten signs
    of a script without spaces; and they still vary once every word with a digit in it is taken out.

    Ids, hashes, addresses of any kind and numbered templates ("order no. 4711") are none.
    """
    import pyarrow.compute as pc

    present = sum(known.counts) + known.rest_rows
    if known.singletons + known.rest_rows <= present / 2:
        return False
    texts = whole(column).drop_null()
    step = max(1, len(texts) // JUDGED)
    texts = texts.take(_places(np.arange(0, len(texts), step)))
    words = _numbers(pc.count_substring_regex(texts, pattern=r"(?:^|[\s\p{Z}])[\p{L}\p{M}]+"))
    signs = _numbers(pc.count_substring_regex(texts, pattern=_UNSPACED))
    if np.mean((words >= FEWEST_WORDS) | (signs >= FEWEST_SIGNS)) < 0.5:
        return False
    bare = pc.replace_substring_regex(texts, pattern=r"[^\s\p{Z}]*\p{Nd}[^\s\p{Z}]*", replacement="")
    return len(pc.unique(bare)) >= VARIED * len(texts)


def summarize_text(column: pa.ChunkedArray, known: Categorical, order: Order | None) -> Text:
    """Everything that is kept of a column of prose; `known` are its texts as categories."""
    column = whole(column)
    present = arrow.valid(column) if column.null_count else None
    taken = column.drop_null()
    n = len(taken)
    places = arrow.in_time(np.arange(n), present, order) if order is not None else None
    own = _first_half(n, places)
    vocabulary = _vocabulary(taken.filter(_booleans(own)))
    measured = measure_text(taken, vocabulary)
    measured["unknown_words"][own] = np.nan
    kept, every = _frequent(known), arrow.categories(column)
    rest = known.counts[len(kept)] if len(kept) < len(known.counts) else 1
    return Text(
        parts={part: _sketch(values, places) for part, values in measured.items()},
        vocabulary=vocabulary,
        values=known.values[: len(kept)],
        counts=known.counts[: len(kept)],
        rest_most=rest,
        buckets=_buckets(every.values, np.bincount(every.codes, minlength=len(every.values)), kept),
    )


def _bucket(texts: Sequence[str]) -> NDArray[np.int64]:
    return (hashes_of(list(texts)) % np.uint64(BUCKETS)).astype(np.int64)


def _buckets(texts: Sequence[str], counts: NDArray[np.int64], listed: Sequence[str]) -> bytes:
    """Rows (texts,) by the bucket of their text, listed ones left out."""
    known = set(listed)
    others = [place for place, text in enumerate(texts) if text not in known]
    held = np.zeros(BUCKETS, np.int64)
    np.add.at(held, _bucket([texts[place] for place in others]), counts[others])
    return pack(held)


def _first_half(n: int, places: Order | None) -> NDArray[np.bool_]:
    """Which of n rows lend their words: every second row, or of rows in order of time every second of 40 blocks.

    Neighbours in time share words, so they stay together; without time the rows may be sorted by anything.
    """
    if places is None:
        return np.asarray(np.arange(n) % 2 == 0)
    own = np.zeros(n, bool)
    own[places] = np.arange(n) * 2 * BLOCKS // max(1, n) % 2 == 0
    return own


def _frequent(known: Categorical) -> tuple[str, ...]:
    kept: list[str] = []
    size = 0
    for value, count in zip(known.values[:FREQUENT], known.counts, strict=False):
        size += len(value.encode())
        if count < 2 or size > FREQUENT_BYTES:
            break
        kept.append(value)
    return tuple(kept)


def _sketch(values: Array, places: Order | None) -> Sketch:
    defined = ~np.isnan(values)
    series = values[places] if places is not None else None
    return sketch(values[defined], series[~np.isnan(series)] if series is not None else None)


def whole(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts as they are, however long."""
    import pyarrow as pa

    return arrow.plain(column).cast(pa.large_string())


def measure_text(texts: pa.ChunkedArray, vocabulary: tuple[str, ...]) -> dict[str, Array]:
    """Each part of texts (n,) without nulls -> (n,), NaN where a row has none: shares of an empty text.

    Shares are of a row's characters, `unknown_words` of its words.
    """
    import pyarrow.compute as pc

    length = _numbers(pc.utf8_length(texts))
    counted = {part: _numbers(pc.count_substring_regex(texts, pattern=pattern)) for part, pattern in _COUNTED.items()}
    words = _numbers(pc.count_substring_regex(texts, pattern=r"[^\s\p{Z}]+"))
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = {part: np.where(length > 0, count / length, np.nan) for part, count in counted.items()}
        word_length = np.where(words > 0, (length - counted["whitespace"]) / words, np.nan)
    unknown = _unknown(texts, vocabulary)
    return {"length": length, "words": words, "word_length": word_length, **shares, "unknown_words": unknown}


def _unknown(texts: pa.ChunkedArray, vocabulary: tuple[str, ...]) -> Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    known = arrow.text_array(vocabulary)
    shares = np.full(len(texts), np.nan)
    for start in range(0, len(texts), BATCH):
        batch = texts.slice(start, BATCH)
        words, rows = _words(batch)
        found = arrow.to_numpy(pc.is_in(words, value_set=known).cast(pa.uint8())).astype(bool)
        every = np.bincount(rows, minlength=len(batch))
        missed = np.bincount(rows[~found], minlength=len(batch))
        shares[start : start + len(batch)] = np.where(every > 0, missed / np.maximum(1, every), np.nan)
    return shares


def _words(texts: pa.ChunkedArray) -> tuple[pa.Array, NDArray[np.int64]]:
    """The words of texts in lower case, and the row that each stands in. Signs of scripts without spaces are words."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lower = pc.utf8_lower(texts)
    apart = pc.replace_substring_regex(lower, pattern=f"({_UNSPACED})", replacement=r" \1 ")
    split = pc.split_pattern_regex(apart, pattern=r"[^\p{L}\p{M}]+")
    split = split.combine_chunks() if isinstance(split, pa.ChunkedArray) else split
    words, rows = pc.list_flatten(split), arrow.to_numpy(pc.list_parent_indices(split))
    held = arrow.to_numpy(pc.binary_length(words)) > 0
    return words.filter(_booleans(held)), rows[held]


def _vocabulary(texts: pa.ChunkedArray) -> tuple[str, ...]:
    """The most frequent words that occur twice, up to 24 KiB of them; ties by word."""
    import pyarrow as pa
    import pyarrow.compute as pc

    counts: dict[str, int] = {}
    for start in range(0, len(texts), BATCH):
        words, _ = _words(texts.slice(start, BATCH))
        encoded = words.cast(pa.large_string()).dictionary_encode()
        seen = np.bincount(arrow.to_numpy(encoded.indices), minlength=len(encoded.dictionary))
        often = seen > (1 if len(texts) <= BATCH else 0)
        short = arrow.to_numpy(pc.binary_length(encoded.dictionary)) <= LONGEST_WORD
        kept = encoded.dictionary.filter(_booleans(often & short)).to_pylist()
        for word, count in zip(kept, seen[often & short].tolist(), strict=True):
            counts[word] = counts.get(word, 0) + count
    size, chosen = 0, []
    for word, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])):
        size += len(word.encode()) + 2
        if count < 2 or size > VOCABULARY_BYTES:
            break
        chosen.append(word)
    return tuple(chosen)


def count_like(known: Text, column: pa.ChunkedArray) -> Text:
    """Other rows in the frame of `known`: its edges, its vocabulary, its frequent texts. Every row is measured."""
    column = whole(column).drop_null()
    measured = measure_text(column, known.vocabulary)
    taken = arrow.categories(column)
    counts = np.bincount(taken.codes, minlength=len(taken.values))
    seen = dict(zip(taken.values, counts.tolist(), strict=True))
    return msgspec.structs.replace(
        known,
        parts={part: count_sketch(known.parts[part], values[~np.isnan(values)]) for part, values in measured.items()},
        counts=tuple(seen.get(value, 0) for value in known.values),
        rest_most=None,
        buckets=_buckets(taken.values, counts, known.values),
    )


def framed(known: Text) -> Text:
    """A column that chose its frame itself, as if it had been counted on it; but `unknown_words` is of one half."""
    return msgspec.structs.replace(known, rest_most=None)


def frame_of(known: Text) -> tuple[object, ...]:
    """What one reference decided, and others are counted on."""
    return known.vocabulary, known.values, {part: frame_of_sketch(one) for part, one in known.parts.items()}


def add(a: Text, b: Text) -> Text:
    """Both as one, exactly. Raises ValueError if their frames differ."""
    if frame_of(a) != frame_of(b):
        raise ValueError("texts counted in other frames do not add")
    return msgspec.structs.replace(
        a,
        parts={part: add_sketches(one, b.parts[part]) for part, one in a.parts.items()},
        counts=tuple(x + y for x, y in zip(a.counts, b.counts, strict=True)),
        rest_most=None,
        buckets=pack(unpack(a.buckets) + unpack(b.buckets)),
    )


def _numbers(values: pa.ChunkedArray) -> Array:
    return arrow.to_numpy(values).astype(np.float64)


def _places(rows: NDArray[np.int64]) -> pa.Array:
    import pyarrow as pa

    return pa.Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(np.ascontiguousarray(rows))])


def _booleans(chosen: NDArray[np.bool_]) -> pa.Array:
    """A mask from its bits: pa.array() would import pandas."""
    import pyarrow as pa

    bits = pa.py_buffer(np.packbits(chosen, bitorder="little").tobytes())
    return pa.Array.from_buffers(pa.bool_(), len(chosen), [None, bits])
