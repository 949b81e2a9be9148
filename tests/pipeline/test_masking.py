"""Secrets in what a stage prints."""

from __future__ import annotations

import itertools
import json
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.core.pipeline.masking import Mask

# Few letters, so that secrets overlap, begin each other and stand half at the end of a block.
SECRETS = st.lists(st.text("ab", min_size=1, max_size=6), min_size=1, max_size=4)
TEXTS = st.lists(st.sampled_from([b"a", b"b", b"ab", b"ba", b"c", b"\n"]), max_size=40).map(b"".join)


def streamed(mask: Mask, text: bytes, cuts: list[int]) -> bytes:
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    blocks = [text[start:end] for start, end in itertools.pairwise(places)]
    return b"".join(map(mask.feed, blocks)) + mask.rest()


@settings(deadline=None)
@given(SECRETS, TEXTS, st.lists(st.integers(0, 200), max_size=12))
def test_however_the_stream_is_cut_the_text_is_the_same_and_no_secret_is_in_it(
    secrets: list[str], text: bytes, cuts: list[int]
) -> None:
    whole = Mask(secrets).mask(text)
    assert streamed(Mask(secrets), text, cuts) == whole
    assert not any(secret.encode() in whole for secret in secrets)


@settings(deadline=None)
@given(st.lists(st.text(min_size=1, max_size=8), max_size=3), st.lists(st.text(max_size=8), max_size=8))
def test_any_text_may_be_a_secret(secrets: list[str], texts: list[str]) -> None:
    text = "".join(part for pair in zip(texts, [*secrets, *texts], strict=False) for part in pair).encode(
        errors="surrogatepass"
    )
    real = [secret for secret in secrets if secret.strip() and not set(secret) & set("*") and secret.isascii()]
    whole = Mask(real).mask(text)
    assert streamed(Mask(real), text, list(range(len(text)))) == whole
    assert not any(secret.strip().encode() in whole for secret in real)


def test_without_secrets_nothing_waits() -> None:
    mask = Mask()
    assert mask.feed(b"half a li") == b"half a li"
    assert Mask(["", "  "]).feed(b"text") == b"text"


def test_what_cannot_become_a_secret_is_shown_at_once() -> None:
    mask = Mask(["hunter2"])
    assert mask.feed(b"ready: hu") == b"ready: "
    assert mask.feed(b"m\n") == b"hum\n"
    assert mask.feed(b"hunter2") == b"***"
    assert mask.rest() == b""


@pytest.mark.parametrize("written", [lambda it: it, lambda it: json.dumps(it)[1:-1], lambda it: quote(it, safe="")])
def test_a_secret_is_found_as_json_and_urls_write_it(written: object) -> None:
    secret = 'p"ä/ss\\wörd&1'
    text = f"url=https://me:{written(secret)}@host".encode()  # type: ignore[operator]
    assert Mask([secret]).mask(text) == b"url=https://me:***@host"


def test_every_line_of_a_key_is_a_secret_but_not_its_brackets() -> None:
    mask = Mask(['{\n  "token": "abcd"\n}\n'])
    assert mask.mask(b'{"other": 1}\n') == b'{"other": 1}\n'
    assert b"abcd" not in mask.mask(b'{\n  "token": "abcd"\n}\n') + mask.mask(b'"token": "abcd"')


def test_bytes_that_are_no_text_are_a_secret_too() -> None:
    assert Mask([b"\xff\xfekey".decode(errors="surrogateescape")]).mask(b"<\xff\xfekey>") == b"<***>"
