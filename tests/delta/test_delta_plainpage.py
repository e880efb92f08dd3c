"""Pages without numpy: whatever words, wherever from, under whatever tables, both rewrite and order them alike."""

from __future__ import annotations

from array import array

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_parts import page, plain_tables

from edgesync.delta import kinds, rewrite
from edgesync.delta.kinds import KIND_SHIFT
from edgesync.delta.plainpage import Predictor
from edgesync.delta.segment import source_of


def predicted(seed):
    """By numpy: the words, what they are ordered by, and the kinds of reference."""
    case = page(seed)
    words = np.array(case.words, np.uint32)
    words, found = rewrite.predict(words, source_of(case.copies, len(words)), case.offset, case.tables)
    keys = np.where(found.kind == 0, words >> 16, found.kind.astype(np.int64) << KIND_SHIFT | found.target)
    return words.tolist(), keys.tolist(), set(found.kind.tolist())


@settings(max_examples=800)
@given(st.integers(0, 1 << 32))
def test_both_predict_the_same_words_and_order_them_alike(seed):
    case = page(seed)
    words = array("I", case.words)
    keys = Predictor(plain_tables(case.tables)).predict(words, case.runs(), case.offset)
    assert (words.tolist(), keys.tolist()) == predicted(seed)[:2]


def test_the_pages_of_these_tests_have_every_kind_of_reference():
    found = set().union(*(predicted(seed)[2] for seed in range(300)))
    assert found == set(kinds.KINDS)
