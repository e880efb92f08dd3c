"""Android sparse images for the tests of this directory."""

from __future__ import annotations

import struct


def simg(image: bytes, block: int = 4096) -> bytes:
    """An Android sparse image: holes for zeros, fills for repeated words, raw blocks for the rest."""
    chunks, blocks = [], -(-len(image) // block)
    for number in range(blocks):
        data = image[number * block :][:block].ljust(block, b"\0")
        if not any(data):
            chunks.append(struct.pack("<HHII", 0xCAC3, 0, 1, 12))
        elif data == data[:4] * (block // 4):
            chunks.append(struct.pack("<HHII", 0xCAC2, 0, 1, 16) + data[:4])
        else:
            chunks.append(struct.pack("<HHII", 0xCAC1, 0, 1, 12 + block) + data)
    chunks.append(struct.pack("<HHIII", 0xCAC4, 0, 0, 16, 0x1234))
    return struct.pack("<IHHHHIIII", 0xED26FF3A, 1, 0, 28, 12, block, blocks, len(chunks), 0) + b"".join(chunks)
