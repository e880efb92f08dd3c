"""The extension `edgesync.delta._mixing`, and what a wheel is called that has it or not; the rest is in pyproject.toml.

It is one extension for all Pythons from 3.10 on. It is left out without a C compiler or the headers of Python, with
EDGESYNC_UNMIXED set to anything, and for a Python without a GIL, whose limited API is another. The wheel is then one
for every machine.
"""

from __future__ import annotations

import os
import sysconfig
from glob import glob

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel

# Each decision of the coder needs the one before, on a dozen numbers: vectors make that a tenth slower.
_FLAGS = ["-std=c11", "-O3", "-fno-tree-vectorize", "-g0", "-fvisibility=hidden"]

MIXING = Extension(
    "edgesync.delta._mixing",
    sources=sorted(glob("edgesync/delta/mixing_core/*.c")),
    depends=sorted(glob("edgesync/delta/mixing_core/*.h")),
    extra_compile_args=_FLAGS,
    py_limited_api=True,
    optional=True,
)


class Wheel(bdist_wheel):
    """A wheel that is named after what is in it; setuptools names it after what could be, also where that failed."""

    def get_tag(self) -> tuple[str, str, str]:
        if any(map(os.path.exists, self.get_finalized_command("build_ext").get_outputs())):
            return super().get_tag()
        self.root_is_pure = True
        return "py3", "none", "any"


if os.environ.get("EDGESYNC_UNMIXED") or sysconfig.get_config_var("Py_GIL_DISABLED"):
    setup(cmdclass={"bdist_wheel": Wheel})
else:
    setup(
        ext_modules=[MIXING],
        cmdclass={"bdist_wheel": Wheel},
        options={"bdist_wheel": {"py_limited_api": "cp310"}},
    )
