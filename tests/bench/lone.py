"""Runs one command, and prints what it and its children took: `python -m tests.bench.lone COMMAND ARG...`

    {"cpu": seconds, "peak": bytes, "own": bytes}

`peak` is the largest resident size that any one process of them had. `own` is this process's: a child inherits the
account of its parent when it is started, so a peak that is not above it says nothing. Hence nothing is imported here
that the command would not weigh anyway.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys


def main() -> int:
    done = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
    took, own = resource.getrusage(resource.RUSAGE_CHILDREN), resource.getrusage(resource.RUSAGE_SELF)
    cpu = took.ru_utime + took.ru_stime
    print(json.dumps({"cpu": cpu, "peak": took.ru_maxrss * 1024, "own": _peak_of_memory(own)}))
    return done.returncode


def _peak_of_memory(own: resource.struct_rusage) -> int:
    """Bytes. Not `own` itself where the kernel can be asked: it has inherited an account as well."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
    except OSError:
        return own.ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main())
