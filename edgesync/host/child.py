"""`python -m edgesync.host.child PARENT MODULE ARGS...`: runs a module that dies with the process PARENT.

A server that is killed leaves no build behind that would compete with the one that the next server starts, and a build
that is killed leaves no worker.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys

from edgesync.host.worker import PR_SET_PDEATHSIG


def main() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    parent, module, *arguments = sys.argv[1:]
    if os.getppid() != int(parent):
        sys.exit(1)  # it died before the line above
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
