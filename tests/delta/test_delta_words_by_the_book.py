"""The words of a segment in C and in a decoder that was written from the documents: the same, bit by bit."""

from __future__ import annotations

import pytest
import words_by_the_book
from arithmetic_by_the_book import RefusedError
from hypothesis import given, settings
from hypothesis import strategies as st
from test_delta_mixing_words import cases, likely, packed, said

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
