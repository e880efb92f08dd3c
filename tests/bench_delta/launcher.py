"""Runs one command and reports what it took: `python -I -S launcher.py STDOUT COMMAND ...`, a JSON line at the end.

A small process of its own, because the kernel counts the parent's memory as its child's until the child calls exec: the
floor of every figure is this interpreter's 9 MB. The peak is that of the largest process, as the kernel knows it, or of
all processes together, looked at every EVERY seconds, whichever is more.
"""

import json
import os
import sys
import time

EVERY = 0.1


def resident(pid: int) -> int:
    """Bytes that a process and all that it has started hold; what they share is counted for each."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            pages = int(file.read().split()[1])
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = file.read().split()
    except OSError:
        return 0  # it has just ended
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(resident(int(child)) for child in children)


started = os.times().elapsed
pid = os.fork()
if pid == 0:
    out = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(out, 1)
    try:
        os.execvp(sys.argv[2], sys.argv[2:])
    finally:
        os._exit(127)
together = 0
while not (ended := os.wait4(pid, os.WNOHANG))[0]:
    together = max(together, resident(pid))
    time.sleep(EVERY)
_, status, usage = ended
took = {
    "status": os.waitstatus_to_exitcode(status),
    "cpu": usage.ru_utime + usage.ru_stime,
    "peak": max(usage.ru_maxrss * 1024, together),
    "wall": os.times().elapsed - started,
}
print(json.dumps(took))
