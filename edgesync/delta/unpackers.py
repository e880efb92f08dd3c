"""Decoders of gzip, xz and zstd with one shape, that of `lzma.LZMADecompressor`, and with bounded memory.

The standard library knows zstd from Python 3.14 on. Before that it is the package zstandard, an extra of its own
(`edgesync[zstd]`, 24 MB): only a server whose build system delivers .zst needs it, and no board does.
"""

from __future__ import annotations

import importlib
import lzma
import sys
import zlib
from typing import Any, Literal, Protocol

from edgesync.wire.errors import NotReachableError

Compression = Literal["gzip", "xz", "zstd"]

MEMORY_LIMIT = 192 << 20
"""Bytes that a decoder may take: enough for `xz -9` and `zstd --long=27`, and no more for a hostile header."""
_WINDOW_LOG = 27


class UnpackError(ValueError):
    """The bytes are not what the packing says. The caller, who knows the file, names it."""


class Decoder(Protocol):
    """Of one member of a file. `input_size` is the bytes to hand over at once, so that memory stays bounded."""

    input_size: int

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes:
        """At most `max_length` bytes (the package zstandard: at most 32 MiB). Raises UnpackError."""


def decoder(compression: Compression) -> Decoder:
    """Raises NotReachableError where zstd is not known."""
    if compression == "gzip":
        return _Gzip()
    if compression == "xz":
        return _Whole(lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=MEMORY_LIMIT), lzma.LZMAError)
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415 - a module of Python 3.14

        options = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
        return _Whole(zstd.ZstdDecompressor(options=options), zstd.ZstdError)
    try:
        package = importlib.import_module("zstandard")
    except ImportError as error:
        raise NotReachableError("zstd: the package zstandard is not installed; install edgesync[zstd]") from error
    return _ZstandardPackage(package)


class _Whole:
    """A decoder of the standard library; only its error gets our name."""

    input_size = 256 * 1024

    def __init__(self, inner: Any, error: type[Exception]) -> None:
        self._inner, self._error = inner, error

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def needs_input(self) -> bool:
        return bool(self._inner.needs_input)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        try:
            return bytes(self._inner.decompress(data, max_length))
        except self._error as error:
            raise UnpackError(str(error)) from error


class _Gzip:
    input_size = 256 * 1024

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(zlib.MAX_WBITS | 16)  # 16: with gzip's header and checksum
        self._full = False

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail and not self._full

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        try:
            piece = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        except zlib.error as error:
            raise UnpackError(str(error)) from error
        self._full = len(piece) == max_length  # then zlib may hold more, although it has read everything
        return piece


class _ZstandardPackage:
    """It takes no limit for its output; but four bytes make 128 KiB at most, so its input is kept small."""

    input_size = 1024
    needs_input = True

    def __init__(self, package: Any) -> None:
        self._inner = package.ZstdDecompressor(max_window_size=1 << _WINDOW_LOG).decompressobj()
        self._error: type[Exception] = package.ZstdError

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data)

    def decompress(self, data: bytes, _max_length: int) -> bytes:
        try:
            return bytes(self._inner.decompress(data))
        except self._error as error:
            raise UnpackError(str(error)) from error
