"""Templates in their child process: the same texts as in this one, and whatever a template does ends with the child."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesync.control import jinja, rendering
from edgesync.control.rendering import Fault, Rendered, Template, Values, render
from edgesync.wire.errors import NotReachableError
from tests.control.config_texts import here


def values(count: int) -> list[Values]:
    return [
        Values(f"b{number}", f"demo.b{number}", "demo", "files", (("site", f"s{number % 2}"),), "v1")
        for number in range(count)
    ]


def texts(template: Template, boards: Sequence[Values]) -> list[str | Fault]:
    (result,) = render([template], boards)
    return [result.texts[text] for text in result.of]


def test_the_child_gives_what_this_process_would():
    boards = values(5)
    templates = [
        Template("a", "{{ labels.site }} \u00fc", range(5)),
        Template("b", "{{ board }}{{ oops }}", [1, 2]),
        Template("c", "{{ board if board != 'b3' else labels.rack }}", [3, 4]),
    ]
    expected = [(list(r.texts), list(r.of)) for r in jinja.render(templates, boards)]
    assert [(list(r.texts), list(r.of)) for r in render(templates, boards)] == expected
    assert expected[0] == (["s0 \u00fc", "s1 \u00fc"], [0, 1, 0, 1, 0])
    assert isinstance(expected[1][0][0], Fault)
    assert expected[2] == ([Fault(1, "no label 'rack'", jinja._RENDERS), "b4"], [0, 1])


@given(st.lists(st.sampled_from(["{{ board }}", "{{ labels.site }}", "{{ fleet }}", "-"]), max_size=4).map("".join))
def test_sharing_texts_never_gives_a_board_the_text_of_another(source: str):
    boards = values(4)
    (shared,) = jinja.render([Template("a", source, range(4))], boards)
    for number, board in enumerate(boards):
        ((alone,),) = (r.texts for r in jinja.render([Template("a", source, [number])], boards))
        expected = source.replace("{{ board }}", board.board).replace("{{ labels.site }}", dict(board.labels)["site"])
        assert shared.texts[shared.of[number]] == alone == expected.replace("{{ fleet }}", "demo")


ENDLESS = "{% for i in range(10000) %}" * 3 + "{% endfor %}" * 3


def test_a_template_that_does_not_end_is_ended_and_named_with_its_board_and_the_others_are_rendered(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(rendering, "STALL", 2.0)
    source = "{% if board == 'b1' %}" + ENDLESS + "{% endif %}"
    first, endless, last = render(
        [Template("a", "one", [0]), Template("b", source, [0, 1, 2]), Template("c", "two", [0])], values(3)
    )
    assert (list(first.texts), list(last.texts)) == (["one"], ["two"])
    (fault,) = endless.texts
    assert isinstance(fault, Fault)
    assert fault.found == "a rendering of more than 2 s for board b1"
    assert list(endless.of) == [0, 0, 0]


def test_one_computation_that_does_not_end_is_ended_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rendering, "STALL", 2.0)
    (fault,) = texts(Template("a", "{{ 10 ** (10 ** 9) }}", [0]), values(1))
    assert isinstance(fault, Fault)
    assert "for board b0" in fault.found


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' * 10 ** 10 }}",
        "{{ 'x' | center(10 ** 10) }}",
        "{{ '%10000000000d' % 1 }}",
        "{% set n = namespace(x='x' * 1000) %}{% for i in range(100) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
    ],
)
def test_a_template_that_wants_all_memory_is_a_fault_of_that_template(source: str):
    (fault,) = texts(Template("a", source, [0]), values(1))
    assert isinstance(fault, Fault)


def test_after_some_templates_that_do_not_end_the_rest_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rendering, "STALL", 1.0)
    results = render([Template(str(number), ENDLESS, [0]) for number in range(5)], values(1))
    found = [result.texts[0].found for result in results if isinstance(result.texts[0], Fault)]
    assert ["3 other templates" in text for text in found] == [False, False, False, True, True]


def test_texts_beyond_the_limit_of_a_commit_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rendering, "OUTPUT_LIMIT", 10_000)
    (fault,) = set(texts(Template("a", "{{ board }}{{ 'x' * 6000 }}", [0, 1]), values(2)))
    assert isinstance(fault, Fault)
    assert "more than 10000 bytes of text" in fault.found


TEMPLATES = st.lists(
    st.tuples(
        st.sampled_from(["{{ board }}", "{{ labels.site }}", "x", "{{ oops }}"]), st.sets(st.integers(0, 3), min_size=1)
    ),
    max_size=4,
)


@given(st.lists(TEMPLATES, max_size=4))
def test_what_is_remembered_is_what_would_be_rendered_anew(commits: list[list[tuple[str, set[int]]]]):
    remembering, boards = rendering.Remembering(here), values(4)
    for commit in commits:
        templates = [Template(f"{number}", source, sorted(of)) for number, (source, of) in enumerate(commit)]
        assert remembering(templates, boards) == here(templates, boards)


def test_only_what_changed_since_the_last_commit_is_rendered():
    asked: list[str] = []

    def counting(templates: Sequence[Template], boards: Sequence[Values]) -> Sequence[Rendered]:
        asked.extend(template.source for template in templates)
        return here(templates, boards)

    remembering = rendering.Remembering(counting)
    kept, faulty = Template("a", "{{ board }}", [0, 1]), Template("b", "{{ board.x }}", [0])
    remembering([kept, faulty], values(2))
    remembering([Template("c", "new", [0]), kept, faulty], values(2))
    assert asked == ["{{ board }}", "{{ board.x }}", "new", "{{ board.x }}"]
    remembering([], [])
    remembering([kept], values(2))
    assert asked[-1] == "{{ board }}"


def test_the_child_reads_no_module_from_the_directory_that_it_is_started_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "jinja2.py").write_text("raise SystemExit('read from the repository')")
    monkeypatch.chdir(tmp_path)
    assert texts(Template("a", "x", [0]), values(1)) == ["x"]


def test_a_child_that_cannot_work_is_named_and_blames_no_template(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "jinja2.py").write_text("raise ImportError('no module jinja2')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(
        NotReachableError, match="templates of config cannot be rendered: ImportError: no module jinja2"
    ):
        render([Template("a", "x", [0])], values(1))


def test_a_child_whose_parent_is_another_does_nothing():
    run = subprocess.run(
        [sys.executable, "-m", "edgesync.control.jinja", str(os.getpid() + 1)],
        input=b'{"boards": [], "templates": []}\n',
        capture_output=True,
        check=False,
    )
    assert (run.returncode, run.stdout) == (1, b"")


def test_the_servers_process_does_not_load_jinja():
    code = "import sys, edgesync.control.repository; sys.exit('jinja2' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
