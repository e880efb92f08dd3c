"""NVIDIA's Jetson boards: CPU and GPU share one memory, and `tegrastats` says what of it hangs together.

    RAM 4722/7764MB (lfb 5x4MB) SWAP 17/3882MB (cached 0MB) IRAM 0/252kB(lfb 252kB) CPU [...] EMC_FREQ 0% ...

`lfb` is the largest free blocks: an application that asks the GPU's driver for more in one piece gets nothing, however
much is free. Read here from sample lines, not from hardware.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LINE_LIMIT = 4096
"""Bytes of one line."""
PLACES = ("/usr/bin/tegrastats", "/usr/local/bin/tegrastats")
_UNITS = {"B": 1, "kB": 1 << 10, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
_RAM = re.compile(r"\bRAM (\d{1,9})/(\d{1,9})([kKMG]?B)(?: \(lfb (\d{1,6})x(\d{1,6})([kKMG]?B)\))?")
_SWAP = re.compile(r"\bSWAP (\d{1,9})/(\d{1,9})([kKMG]?B)")
_EMC = re.compile(r"\bEMC_FREQ (\d{1,3})%")


@dataclass(frozen=True, slots=True)
class Tegra:
    """Bytes. `blocks` free blocks of `block` bytes are the largest; `bandwidth` is the memory controller's load in
    percent, None where the line does not say.
    """

    used: int
    total: int
    blocks: int
    block: int
    swap_used: int
    bandwidth: int | None


def parse(line: str) -> Tegra | None:
    """None for a line that says nothing of memory."""
    ram = _RAM.search(line[:LINE_LIMIT])
    if not ram:
        return None
    unit = _UNITS[ram[3]]
    block = int(ram[5]) * _UNITS[ram[6]] if ram[4] else 0
    swap, emc = _SWAP.search(line[:LINE_LIMIT]), _EMC.search(line[:LINE_LIMIT])
    return Tegra(
        used=int(ram[1]) * unit,
        total=int(ram[2]) * unit,
        blocks=int(ram[4] or 0),
        block=block,
        swap_used=int(swap[1]) * _UNITS[swap[3]] if swap else 0,
        bandwidth=int(emc[1]) if emc else None,
    )
