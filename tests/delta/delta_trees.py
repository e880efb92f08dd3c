"""Images with files in them: what was changed between two of them, as a tar, ext4 or squashfs."""

from __future__ import annotations

import io
import random
import shutil
import subprocess
import tarfile
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from hypothesis import strategies as st

from edgesync.delta import chunks, groups, make, survey

Tree = dict[str, bytes]


@st.composite
def trees(draw: st.DrawFn) -> tuple[Tree, Tree]:
    """A tree and what it became: files changed, grown, renamed, doubled, deleted and added."""
    chance = random.Random(draw(st.integers(0, 999)))
    old: Tree = {}
    for number in range(draw(st.integers(0, 6))):
        size = draw(st.integers(0, 3000))
        old[f"lib/{number}/part-1.{number}"] = draw(
            st.sampled_from((chance.randbytes(size), bytes(size), b"ab" * size))
        )
    new = dict(old)
    for path in old:
        data = old[path]
        match draw(st.sampled_from(("same", "changed", "grown", "renamed", "doubled", "deleted", "numbered"))):
            case "changed" if data:
                at = draw(st.integers(0, len(data) - 1))
                new[path] = data[:at] + b"changed" + data[at + 7 :]
            case "grown":
                new[path] = data[: len(data) // 2] + chance.randbytes(draw(st.integers(0, 40))) + data[len(data) // 2 :]
            case "renamed":
                new[f"opt/{chance.random()}"] = new.pop(path)
            case "doubled":
                new[f"copy/{path}"] = data + b"more"
            case "deleted":
                del new[path]
            case "numbered":
                new[path.replace("-1.", "-22.")] = new.pop(path) + b"!"
    if draw(st.booleans()):
        new["new"] = chance.randbytes(draw(st.integers(0, 2000)))
    return old, new


def tar(tree: Tree) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        for path, data in sorted(tree.items()):
            member = tarfile.TarInfo(path)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return out.getvalue()


def raw(tree: Tree) -> bytes:
    """No tree that anybody could read."""
    return b"".join(data for _, data in sorted(tree.items()))


def missing(*programs: str) -> str:
    lost = [program for program in programs if not shutil.which(program, path="/usr/sbin:/sbin:/usr/bin:/bin")]
    return f"{', '.join(lost)}: not installed" if lost else ""


def written(directory: Path, tree: Tree) -> Path:
    """The tree as files."""
    root = directory / "tree"
    root.mkdir()
    for path, data in tree.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return root


def ext4(root: Path) -> bytes:
    image = root.with_name("ext4")
    command = ["/sbin/mke2fs", "-q", "-t", "ext4", "-b", "1024", "-d", root, image, "2M"]
    subprocess.run(command, check=True, capture_output=True)
    return image.read_bytes()


def squashfs(root: Path, *options: str) -> bytes:
    """Without compression, unless the options ask for something else."""
    image = root.with_name("squashfs")
    plain = options or ("-noI", "-noD", "-noF", "-noX")
    command = ["mksquashfs", root, image, *plain, "-no-progress", "-quiet", "-noappend"]
    subprocess.run(command, check=True, capture_output=True)
    return image.read_bytes()


@contextmanager
def small_scale():
    """Images of kilobytes are cut, grouped and windowed as those of gigabytes are."""
    with (
        mock.patch.multiple(chunks, SHORTEST=16, LONGEST=512, _RARE=32 - 6),
        mock.patch.multiple(groups, WHOLE=2500, BATCH=1500, WINDOW=1000),
        mock.patch.multiple(survey, SPAN=2000),
        mock.patch.multiple(make, WHOLE=0),
    ):
        yield
