"""`make fuzz-mixing`: damaged streams for the context-mixing coder, built with AddressSanitizer and UBSan.

One invariant: a stream says data that encode to this very stream, or it is refused with ValueError; nothing is read or
written outside of what was given, no number overflows, and what was encoded decodes to itself. Any finding ends the
process with the sanitizer's report, and the seed that repeats it.

    python -m tests.fuzz.mixing [SECONDS [SEED]]
"""

from __future__ import annotations

import functools
import importlib.util
import os
import random
import subprocess
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from edgesync.delta import leb128
from edgesync.delta.mixing import Known

SOURCES = Path(__file__).parents[2] / "edgesync" / "delta" / "mixing_core"
BYTES = Path(__file__).parents[1] / "delta" / "mixing_bytes.c"
"""The smallest model, an extension of the tests' own."""
FLAGS = ("-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Wconversion", "-Werror")
ROUND = 40
"""Streams of each kind in one round of the search."""
TABLES = 5
"""Models of tables."""
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
Encode = Callable[[bytes, int, int], "bytes | None"]
Decode = Callable[[bytes, int], bytes]


def missing() -> str:
    """What is not here to build the extension with sanitizers, "" for nothing."""
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return f"Python.h of {sys.executable} is missing: its headers are not installed"
    try:
        return "" if _runtime().is_absolute() else "gcc has no AddressSanitizer (libasan)"
    except FileNotFoundError:
        return "gcc is not installed (apt-get install gcc libc6-dev)"


def build(directory: Path, flags: Sequence[str] = SANITIZERS) -> Path:
    """The directory, with the extension and the tests' own, every warning an error. Raises CalledProcessError."""
    directory.mkdir(parents=True, exist_ok=True)
    command = ["gcc", *FLAGS, *flags, "-fPIC", "-shared", f"-I{sysconfig.get_path('include')}", f"-I{SOURCES}"]
    sources = {"_mixing": sorted(SOURCES.glob("*.c")), "mixing_bytes": [BYTES, SOURCES / "model.c"]}
    for name, files in sources.items():
        subprocess.run([*command, *files, "-o", directory / f"{name}.abi3.so"], check=True)
    return directory


def load(directory: Path, name: str) -> ModuleType:
    """One of the two extensions that were built there."""
    spec = importlib.util.spec_from_file_location(name, directory / f"{name}.abi3.so")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def command(built: Path, seconds: float, seed: int) -> tuple[list[str], dict[str, str]]:
    """How to run this file's search on what was built there, one round at least, and in which environment."""
    settings = {"ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1", "PYTHONMALLOC": "malloc"}
    arguments = [sys.executable, "-m", "tests.fuzz.mixing", "--search", str(built), str(seconds), str(seed)]
    return arguments, {**os.environ, **settings, "LD_PRELOAD": str(_runtime())}


def search(directory: Path, chance: random.Random) -> Counter[str]:
    """Some streams, damaged; how many were whole, and how many refused. Raises AssertionError for a finding."""
    core, small, found = load(directory, "_mixing"), load(directory, "mixing_bytes"), Counter[str]()
    for _ in range(ROUND):
        data = _data(chance)
        found += _damaged(
            data, len(data), chance, lambda text, _, most: small.encode_bytes(text, most), small.decode_bytes
        )
        numbers, model = _numbers(chance), chance.randrange(TABLES)
        calls = (functools.partial(call, model) for call in (core.encode_table, core.decode_table))
        found += _damaged(leb128.encode(numbers), len(numbers), chance, *calls)
    for _ in range(ROUND // 4):  # a model of some MiB each
        found += _damaged_words(core, chance)
    return found


def _damaged(data: bytes, size: int, chance: random.Random, encode: Encode, decode: Decode) -> Counter[str]:
    found = Counter[str]()
    stream = encode(data, size, 4 * len(data) + 64)
    assert stream is not None
    assert decode(stream, size) == data
    assert encode(data, size, chance.randrange(len(stream))) is None
    for _ in range(4):
        damaged, other = _damage(stream, chance), max(0, size + chance.choice((0, 0, -1, 1, 50)))
        try:
            said = decode(damaged, other)
        except ValueError:
            found["refused"] += 1
        else:
            assert encode(said, other, len(damaged)) == damaged
            found["whole"] += 1
    return found


def _damaged_words(core: ModuleType, chance: random.Random) -> Counter[str]:
    """As `_damaged`; but there is more than one way to say the same words."""
    found = Counter[str]()
    known, result = _words(chance)
    stream = core.encode_words(*known, result, 2 * len(result) + 64)
    assert stream is not None
    assert core.decode_words(stream, *known) == result
    assert core.encode_words(*known, result, chance.randrange(len(stream))) is None
    for _ in range(2):
        try:
            said = core.decode_words(_damage(stream, chance), *known)
        except ValueError:
            found["refused"] += 1
        else:
            assert core.decode_words(core.encode_words(*known, said, 2 * len(said) + 64), *known) == said
            found["whole"] += 1
    for field in Known._fields:
        data = getattr(known, field)
        wrong = known._replace(**{field: data[1:] if data and chance.random() < 0.5 else data + b"\0"})
        for call in (lambda: core.encode_words(*wrong, result, 64), lambda: core.decode_words(stream, *wrong)):  # noqa: B023
            try:
                call()
            except ValueError:
                found["refused"] += 1
            else:
                raise AssertionError(f"{field} of another length")
    return found


def _words(chance: random.Random) -> tuple[Known, bytes]:
    """What is known of words, some of them again and again, and what they become."""
    count = chance.choice((0, 1, 2, 30, 300, 3000))
    some = [chance.randbytes(4) for _ in range(chance.choice((1, 9, 90)))] + [bytes(4), b"\xff" * 4]
    bits = chance.choice((0, 15, 16, 31, 255))

    def words() -> list[bytes]:
        return [chance.choice(some) if chance.random() < 0.9 else chance.randbytes(4) for _ in range(count)]

    draft = words()
    result = [old if chance.random() < 0.7 else new for old, new in zip(draft, words(), strict=True)]
    kind, marks = (bytes(chance.choice((0, 0, byte)) & bits for byte in chance.randbytes(count)) for _ in range(2))
    return Known(kind, b"".join(words()), marks, b"".join(draft)), b"".join(result)


def _numbers(chance: random.Random) -> list[int]:
    """Rows of a table: numbers of all lengths, some of them again and again."""
    some = [chance.getrandbits(chance.randrange(41)) for _ in range(9)]
    return [chance.choice(some) for _ in range(3 * chance.choice((0, 1, 2, 30, 300)))]


def _data(chance: random.Random) -> bytes:
    """Something between noise and one byte again and again."""
    letters = chance.randbytes(chance.choice((1, 2, 5, 256)))
    data = bytes(chance.choices(letters, k=chance.choice((0, 1, 3, 40, 400, 3000))))
    return data + data[: chance.randrange(len(data) + 1)]


def _damage(stream: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(stream)
    for _ in range(chance.randrange(3)):
        damaged[chance.randrange(len(damaged))] = chance.choice((0, 255, chance.randrange(256)))
    return bytes(damaged[: chance.choice((len(damaged), chance.randrange(len(damaged) + 1)))]) + chance.randbytes(
        chance.choice((0, 0, 0, 1, 5))
    )


def _runtime() -> Path:
    """The library that has to be loaded before all others; a mere name if there is none."""
    asked = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    return Path(asked.stdout.strip())


def main(arguments: Sequence[str]) -> None:
    if arguments[:1] == ["--search"]:
        built, seconds, chance = Path(arguments[1]), float(arguments[2]), random.Random(int(arguments[3]))
        end, found = time.monotonic() + seconds, search(built, chance)
        while time.monotonic() < end:
            found += search(built, chance)
        print(f"{found['refused']} streams refused, {found['whole']} whole")
        return
    if reason := missing():
        raise SystemExit(reason)
    seconds, seed = (
        float(arguments[0] if arguments else 60),
        int(arguments[1]) if len(arguments) > 1 else time.time_ns(),
    )
    print(f"{seconds:g} s with seed {seed}", flush=True)
    run, env = command(build(Path("build/fuzz/mixing")), seconds, seed)
    raise SystemExit(subprocess.run(run, env=env, check=False).returncode)


if __name__ == "__main__":
    main(sys.argv[1:])
