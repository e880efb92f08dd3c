"""Golden deltas: whoever has this format understands them, with numpy and without, and they show all that it has."""

from __future__ import annotations

import pytest
from delta_parts import Bench, parts_of

from edgesync.delta import kinds, rewrite
from edgesync.delta.format import BYTES, MIXED, SPARSE, WORDS, ChapterHeader, Counts
from edgesync.delta.streams import DEFLATED, STORED
from edgesync.delta.streams import MIXED as MIXED_TABLE
from edgesync.delta.switch import VARIABLE
from tests.delta.golden import ALL, PLACE

BY_NAME = {golden.name: golden for golden in ALL}
FORMS = BYTES, SPARSE, MIXED, WORDS, WORDS + 1
"""The last stands for all numbers of corrected words."""
SIZE_LIMIT = 32 << 10
"""Bytes of all golden files: they are small, or nobody would look at them."""


@pytest.mark.parametrize("plain", ["", "1"], ids=["with numpy", "without numpy"])
@pytest.mark.parametrize(
    "name", [pytest.param(golden.name, marks=[pytest.mark.mixing] * golden.mixing) for golden in ALL]
)
def test_a_golden_delta_still_makes_its_image(tmp_path, monkeypatch, name, plain):
    monkeypatch.setenv(VARIABLE, plain)
    base, result = BY_NAME[name].images()
    assert Bench(tmp_path, base, result, BY_NAME[name].delta).apply() == result


def test_there_is_a_file_for_each_and_none_else_and_all_are_small():
    files = list(PLACE.iterdir())
    assert {file.stem for file in files} == set(BY_NAME)
    assert sum(file.stat().st_size for file in files) < SIZE_LIMIT


def heads(name):
    delta = BY_NAME[name].delta
    for _, body, head in parts_of(delta):
        streams, at = {}, body
        for stream, size in head.part.packed.items():
            if size and stream != "mixed":
                streams[stream] = delta[at]
            at += size
        yield head, streams


def test_together_they_have_every_field_stream_and_method_of_the_format():
    fields, streams, forms, methods = set(), set(), set(), set()
    for name in BY_NAME:
        for head, packed in heads(name):
            streams |= {stream for stream, size in head.part.packed.items() if size}
            methods |= set(packed.values())
            if isinstance(head, ChapterHeader):
                fields |= {field for field in head.counts.__slots__ if getattr(head.counts, field)}
                forms.add(("copies", head.counts.copies is None))
            else:
                forms.add(("form", min(head.form, WORDS + 1)))
    assert fields == set(Counts.__slots__)
    assert methods > {STORED, DEFLATED, MIXED_TABLE}
    assert forms == {("copies", True), ("copies", False), *(("form", form) for form in FORMS)}
    assert streams == {*Counts(1, 1, 1).limits(), "gaps", "values", "differences", "changes", "mixed", "extra"}


def test_the_programs_among_them_have_every_kind_of_reference(tmp_path, monkeypatch):
    found, predict = set(), rewrite.predict

    def noted(*arguments):
        words, references = predict(*arguments)
        found.update(references.kind.tolist())
        return words, references

    monkeypatch.setattr(rewrite, "predict", noted)
    monkeypatch.setenv(VARIABLE, "")
    for name in ("program", "program-32"):
        base, result = BY_NAME[name].images()
        Bench(tmp_path, base, result, BY_NAME[name].delta).apply()
    assert found == set(kinds.KINDS)
