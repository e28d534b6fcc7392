"""The wire between a parent and its executor child: one JSON header and raw blobs per frame.

Both sizes stand in front, so a reader refuses a frame before it allocates for it, and nothing is
ever unpickled. The conversation is strictly question and answer: bytes beyond one frame break it.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

SIZES = struct.Struct("!II")  # header bytes, blob bytes
FIRST_READ = 64 * 1024
NEXT_READ = 1024 * 1024


class Broken(Exception):
    """The other side does not keep to the protocol, or is gone."""


class Gone(Broken):
    """The connection is closed."""


class Late(Exception):
    """The deadline passed before the frame was through."""


@dataclass(frozen=True)
class Bounds:
    """The largest frame that a reader accepts, in bytes."""

    header: int
    blobs: int


@dataclass(frozen=True)
class Frame:
    header: dict[str, Any]
    blobs: list[bytes]


def pack(header: Mapping[str, Any], blobs: Sequence[bytes] = ()) -> bytes:
    """The bytes of one frame. Raises TypeError when the header is not plain JSON."""
    sizes = [len(blob) for blob in blobs]
    text = orjson.dumps({**header, "blobs": sizes}, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"".join((SIZES.pack(len(text), sum(sizes)), text, *blobs))


def send(connection: socket.socket, frame: bytes, deadline: float | None = None) -> None:
    """Write `frame` before `deadline` (monotonic seconds), or raise Late or Broken."""
    connection.settimeout(_remaining(deadline))
    try:
        connection.sendall(frame)  # its timeout covers the whole call, not one write
    except TimeoutError:
        raise Late from None
    except OSError as error:
        raise Gone(str(error)) from error


def receive(connection: socket.socket, bounds: Bounds, deadline: float | None = None) -> Frame:
    """Read one frame that keeps to `bounds` before `deadline`, or raise Late or Broken."""
    buffer = bytearray(_some(connection, FIRST_READ, deadline))
    while len(buffer) < SIZES.size:
        buffer += _some(connection, SIZES.size - len(buffer), deadline)
    header_size, blob_size = SIZES.unpack_from(buffer)
    if header_size > bounds.header or blob_size > bounds.blobs:
        raise Broken("a frame is larger than allowed")
    total = SIZES.size + header_size + blob_size
    while len(buffer) < total:
        buffer += _some(connection, min(total - len(buffer), NEXT_READ), deadline)
    if len(buffer) > total:
        raise Broken("bytes arrived that nobody asked for")
    return _unpack(memoryview(buffer), SIZES.size + header_size)


def _some(connection: socket.socket, size: int, deadline: float | None) -> bytes:
    connection.settimeout(_remaining(deadline))
    try:
        data = connection.recv(size)
    except TimeoutError:
        raise Late from None
    except OSError as error:
        raise Gone(str(error)) from error
    if not data:
        raise Gone("the connection was closed")
    return data


def _remaining(deadline: float | None) -> float | None:
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise Late
    return left


def _unpack(view: memoryview, start: int) -> Frame:
    try:
        header = orjson.loads(view[SIZES.size : start])
    except ValueError as error:
        raise Broken("a header is not JSON") from error
    sizes = header.get("blobs") if isinstance(header, dict) else None
    if not isinstance(sizes, list) or not all(type(s) is int and s >= 0 for s in sizes):
        raise Broken("a header names no blobs")
    if sum(sizes) != len(view) - start:
        raise Broken("a header lies about its blobs")
    blobs = []
    for size in sizes:
        blobs.append(bytes(view[start : start + size]))
        start += size
    return Frame(header, blobs)
