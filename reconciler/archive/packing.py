"""Pack lines so that they survive damage: many small gzip members in a row, which every tool reads as one file."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable

import msgspec

_BLOCK = 64 * 1024
"""Bytes of lines in one member, and a line: so much is lost where a byte is wrong. Smaller ones make objects larger."""
_LEVEL = 2
_MAGIC = b"\x1f\x8b\x08"
_AUTO = 31
"""zlib's window bits for a gzip member."""


class Unpacked(msgspec.Struct, frozen=True):
    """The lines of an object.

    Attributes:
        lines: those that can be read, without what is cut.
        lost: how many places of the object cannot be read; 0 = it is whole.
    """

    lines: list[bytes]
    lost: int = 0


def pack(lines: Iterable[str]) -> bytes:
    """Compress lines; equal lines make equal bytes."""
    parts: list[bytes] = []
    block: list[str] = []
    size = 0
    for line in lines:
        block.append(line)
        size += len(line)
        if size >= _BLOCK:
            parts.append(_member(block))
            block, size = [], 0
    if block or not parts:
        parts.append(_member(block))
    return b"".join(parts)


def _member(block: list[str]) -> bytes:
    text = "\n".join(block)
    return gzip.compress(f"{text}\n".encode() if block else b"", _LEVEL, mtime=0)


def unpack(data: bytes) -> Unpacked:
    """Read lines; where a member is damaged, go on with the next one."""
    lines: list[bytes] = []
    lost = 0 if data else 1
    at, view = 0, memoryview(data)
    while at < len(data):
        text, size = _read_member(view[at:])
        lines += text.split(b"\n")[:-1]
        if size:
            at += size
        else:
            lost += 1
            found = data.find(_MAGIC, at + 1)
            at = found if found > 0 else len(data)
    return Unpacked(lines, lost)


def _read_member(data: memoryview) -> tuple[bytes, int]:
    """Read the gzip member at the start of the data, and its size; 0 = it is damaged, and the text may be incomplete."""
    reader = zlib.decompressobj(_AUTO)
    text = b""
    try:
        text = reader.decompress(data)
    except zlib.error:
        return text, 0
    return text, len(data) - len(reader.unused_data) if reader.eof else 0
