"""`python -m edgesync.control.jinja PARENT`: templates of config to text, the child's side of `rendering`.

A template sees the values of one board and nothing else: no files, no other templates, no attributes of Python. The
same template and values give the same text everywhere, so what is random, or prints an address in memory, is refused.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, Undefined, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from edgesync.control import rendering
from edgesync.control.rendering import Fault, Rendered, Values
from edgesync.control.section import did_you_mean
from edgesync.host.worker import confine

TEXT_LIMIT = 256 * 1024
"""Bytes of one rendered file."""
RANGE_LIMIT = 10_000
"""Numbers of one `range`."""
MEMORY = 512 * 1024 * 1024
"""Bytes of address space of the child."""
NAMES = tuple(Values.__slots__)

_ALONE = {nodes.Include: "include", nodes.Import: "import", nodes.FromImport: "from", nodes.Extends: "extends"}
_RENDERS = "a template that can be rendered for every board that it is for"

_ADDRESS = re.compile(r"<[^<>\n]{1,200} at 0x[0-9a-f]{6,16}>")
"""What Python makes of a generator or a method as text: another one in each process, and so another tree."""

Step = Mapping[str, Any]


class _Sandbox(ImmutableSandboxedEnvironment):
    """Members of a mapping come before its methods: a label may be called `items`."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, _Labels):
            return self.getitem(obj, attribute) if attribute in obj else self._unknown(obj, attribute)
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, _Labels) and argument not in obj:
            return self._unknown(obj, argument)
        return super().getitem(obj, argument)

    def _unknown(self, obj: _Labels, name: str) -> Any:
        if name in ("items", "keys", "values", "get"):
            return super().getattr(obj, name)
        return self.undefined(f"no label {str(name)[:60]!r}")


class _Labels(dict[str, str]):
    """The labels of a board."""


def render(templates: Sequence[rendering.Template], boards: Sequence[Values]) -> Iterator[Rendered]:
    """Each template's texts, in this process."""
    texts: list[str | Fault] = []
    for step in _steps(templates, boards):
        match step:
            case {"text": text}:
                texts.append(text)
            case {"of": of}:
                yield Rendered(texts, of)
                texts = []


def _steps(templates: Sequence[rendering.Template], boards: Sequence[Values]) -> Iterator[Step]:
    """The messages of `rendering`. Boards whose values agree in what a template uses share one text."""
    environment = _environment()
    contexts = [{**asdict(board), "labels": _Labels(board.labels)} for board in boards]
    keys = [{**context, "labels": tuple(context["labels"].items())} for context in contexts]
    for number, template in enumerate(templates):
        yield {"at": (number, template.boards[0])}
        made = _compile(environment, template)
        if isinstance(made, Fault):
            yield {"text": made}
            yield {"of": [0] * len(template.boards)}
            continue
        code, used = made
        known: dict[tuple[Any, ...], int] = {}
        of = []
        for board in template.boards:
            key = tuple(keys[board][name] for name in used)
            if key not in known:
                known[key] = len(known)
                yield {"at": (number, board)}
                yield {"text": _text(code, template.file, contexts[board])}
            of.append(known[key])
        yield {"of": of}


def _environment() -> _Sandbox:
    environment = _Sandbox(
        undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True, finalize=_printed, cache_size=0
    )
    environment.globals["range"] = _range
    del environment.globals["lipsum"], environment.filters["random"]
    return environment


def _compile(environment: _Sandbox, template: rendering.Template) -> tuple[Template, tuple[str, ...]] | Fault:
    """The template, and the names of the values that it uses."""
    try:
        tree = environment.parse(template.source, filename=template.file)
        if fault := _forbidden(tree):
            return fault
        used = meta.find_undeclared_variables(tree)
        if unknown := sorted(used - {*NAMES}):
            return _unknown(tree, unknown[0])
        code = environment.compile(tree, filename=template.file)
    except TemplateSyntaxError as error:
        return Fault(error.lineno, f"a mistake: {error.message}", "a Jinja2 template", everywhere=True)
    except Exception as error:  # noqa: BLE001 - nested too deeply, or with constants that take all memory
        what = " ".join(str(error).split())[:200]
        return Fault(0, f"{type(error).__name__} {what}".rstrip(), "a Jinja2 template", everywhere=True)
    made = Template.from_code(environment, code, environment.make_globals(None))
    return made, tuple(name for name in NAMES if name in used)


def _forbidden(tree: nodes.Template) -> Fault | None:
    node = next(tree.find_all(tuple(_ALONE)), None)
    if node is None:
        return None
    hint = "what layers share is a file of config/fleet"
    return Fault(node.lineno, f"the tag `{_ALONE[type(node)]}`", "a template that stands alone", hint, everywhere=True)


def _unknown(tree: nodes.Template, name: str) -> Fault:
    lines = [node.lineno for node in tree.find_all(nodes.Name) if node.name == name and node.ctx == "load"]
    hint = did_you_mean(name, NAMES)
    return Fault(
        min(lines, default=0), f"the unknown name {name[:60]!r}", f"one of {', '.join(NAMES)}", hint, everywhere=True
    )


def _text(template: Template, file: str, context: Mapping[str, Any]) -> str | Fault:
    parts, size = [], 0
    try:
        for part in template.generate(context):
            parts.append(part)
            size += len(part.encode())
            if size > TEXT_LIMIT:
                return Fault(0, f"a text of more than {TEXT_LIMIT} bytes", f"at most {TEXT_LIMIT}")
    except MemoryError:
        return Fault(0, f"a rendering of more than {MEMORY >> 20} MiB of memory", _RENDERS)
    except Exception as error:  # noqa: BLE001 - a template may raise anything that its expressions can
        what = " ".join(str(error).split())[:200] or type(error).__name__
        return Fault(_line(error, file), what, _RENDERS)
    text = "".join(parts)
    if address := _ADDRESS.search(text):
        line = text.count("\n", 0, address.start()) + 1
        found = f"{address.group().partition(' at 0x')[0]} at an address in memory>, in line {line} of the text,"
        return Fault(0, found, "text that is the same each time", "lists are joined with `| join`")
    return text


def _line(error: BaseException, file: str) -> int:
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _printed(value: Any) -> Any:
    """What `{{ }}` may print. The text of other things is Python's, and may differ from run to run."""
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, Undefined):
        return str(value)  # raises, naming what is undefined
    kind = "nothing (None)" if value is None else f"a {type(value).__name__}"
    raise TypeError(f"{kind} where text is printed; lists and mappings are printed with `| join` or `| tojson`")


def _range(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > RANGE_LIMIT:
        raise OverflowError(f"a range of {len(numbers)} numbers, expected at most {RANGE_LIMIT}")
    return numbers


def main() -> None:
    line = sys.stdin.buffer.readline()
    confine(MEMORY, 0)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent is gone")
    request = json.loads(line)
    templates = [rendering.Template(**template) for template in request["templates"]]
    boards = [Values(**board) for board in request["boards"]]
    for step in _steps(templates, boards):
        sys.stdout.buffer.write(json.dumps(step, default=asdict).encode() + b"\n")  # a fault is the only other value
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
