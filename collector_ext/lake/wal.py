"""The write-ahead log: what is in it and synced is acknowledged, and survives a kill at any moment.

A record is its length and its CRC-32 (both u32, little-endian), then an Arrow record batch message without its schema.
Reading ends at the first record that is torn: nothing behind it was ever acknowledged.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from edgesync.host.files import fsync_dir, storage_errors
from edgesync.wire.errors import MessageTooLargeError

RECORD_LIMIT = 64 << 20
"""Bytes of one record."""

_HEAD = struct.Struct("<II")


class WriteAheadLog:
    """One file that grows. Raises DiskFullError and StorageError; after a failed `append` the file is what it was."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with storage_errors(str(path)):
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            self._size = 0
            fsync_dir(str(path.parent))

    def append(self, batches: Sequence[pa.RecordBatch]) -> None:
        """On disk for good when this returns. Raises MessageTooLargeError for a batch of more than `RECORD_LIMIT`."""
        records = [_record(batch) for batch in batches]
        try:
            with storage_errors(str(self.path)):
                for record in records:
                    _write_all(self._fd, record)
                os.fdatasync(self._fd)
        except BaseException:
            with storage_errors(str(self.path)):
                os.ftruncate(self._fd, self._size)
                os.lseek(self._fd, self._size, os.SEEK_SET)
            raise
        self._size += sum(map(len, records))

    def close(self) -> None:
        """The file stays."""
        os.close(self._fd)

    def end(self) -> None:
        """Its rows are in a Parquet file now."""
        self.close()
        with storage_errors(str(self.path)):
            self.path.unlink(missing_ok=True)


def replay(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Every record that was acknowledged, in order."""
    with storage_errors(str(path)), path.open("rb") as file:
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            size, crc = _HEAD.unpack(head)
            if size > RECORD_LIMIT or len(data := file.read(size)) < size or zlib.crc32(data) != crc:
                return
            yield pa.ipc.read_record_batch(pa.py_buffer(data), schema)


def _record(batch: Any) -> bytes:
    data: bytes = batch.serialize().to_pybytes()
    if len(data) > RECORD_LIMIT:
        raise MessageTooLargeError(f"a batch of {batch.num_rows} rows has {len(data)} bytes, at most {RECORD_LIMIT}")
    return _HEAD.pack(len(data), zlib.crc32(data)) + data


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
