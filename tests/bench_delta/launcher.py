"""Runs one command and reports what it took: `python -I -S launcher.py STDOUT COMMAND ...`, a JSON line at the end.

A small process of its own, because the kernel counts the parent's memory as its child's until the child calls exec: the
floor of every figure is this interpreter's 9 MB.
"""

import json
import os
import sys

started = os.times().elapsed
pid = os.fork()
if pid == 0:
    out = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(out, 1)
    try:
        os.execvp(sys.argv[2], sys.argv[2:])
    finally:
        os._exit(127)
_, status, usage = os.wait4(pid, 0)
took = {
    "status": os.waitstatus_to_exitcode(status),
    "cpu": usage.ru_utime + usage.ru_stime,
    "peak": usage.ru_maxrss * 1024,
    "wall": os.times().elapsed - started,
}
print(json.dumps(took))
