"""The words of a segment in C and in a decoder that was written from the documents: the same, bit by bit."""

from __future__ import annotations

import random

import pytest
import words_by_the_book
from arithmetic_by_the_book import RefusedError
from hypothesis import given, settings
from hypothesis import strategies as st
from test_delta_mixing_words import cases, likely, packed, said

from edgesync.delta.mixing import Known

pytestmark = pytest.mark.mixing


@given(cases())
def test_a_decoder_written_from_the_documents_reads_the_same(case):
    known, result = case
    assert words_by_the_book.decode(packed(known, result), *known) == result


@settings(max_examples=50)
@given(cases(), st.binary(max_size=30))
def test_a_decoder_written_from_the_documents_refuses_the_same(case, stream):
    known, _ = case
    try:
        found = words_by_the_book.decode(stream, *known)
    except RefusedError:
        found = None
    assert said(stream, known) == found


@pytest.mark.parametrize("seed", range(3))
def test_a_decoder_written_from_the_documents_reads_words_of_programs(seed):
    known, result = likely(1500, seed)
    assert words_by_the_book.decode(packed(known, result), *known) == result


def test_a_decoder_written_from_the_documents_reads_long_runs_of_the_same():
    chance = random.Random(3)
    run = [chance.getrandbits(32) for _ in range(60)]
    right = [chance.choice(run) for _ in range(300)]
    parts = (
        (15, run, 0),
        (15, run, 0),
        (15, run[20:], 0),
        (0, right, 0),
        (0, run[:1] * 20, 4),
        (0, right, 0),
        (0, run, 8),
    )
    rows = [(mark, word, off) for mark, words, off in parts for word in words]
    result = b"".join((word + off & 0xFFFFFFFF).to_bytes(4, "little") for _, word, off in rows)
    draft = b"".join((0 if mark else word).to_bytes(4, "little") for mark, word, _ in rows)
    known = Known(bytes(len(rows)), bytes(len(draft)), bytes(mark for mark, _, _ in rows), draft)
    assert words_by_the_book.decode(packed(known, result), *known) == result
