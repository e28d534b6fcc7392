"""Pushed code, from the hook of the repository to the running site.

The hook may write to one socket and nothing else of ours. systemd starts this for each connection, as root and in a
process of its own: whoever kills the hook, the connection or git does not leave half a change behind.

What is said on the socket: one line of JSON, {"release": ID, "bytes": N}, then N bytes of `git archive`; back come
lines for people, and at the end `accepted` or `refused` on a line of its own.
"""

import json
import os
import select
import sys
from pathlib import Path
from typing import IO

from machine import Machine, Refused, say
from releases import build, room
from switching import switch

HEADER_BYTES = 4096
MAX_BYTES = 256 * 1024**2
CHUNK = 1024**2


def receive(machine: Machine) -> None:
    """Build and switch to what standard input holds; the verdict is printed."""
    try:
        name, size = _header(sys.stdin.buffer)
        with machine.lock(f"receiving the push of {name}"):
            archive = _archive(machine, sys.stdin.buffer, name, size)
            try:
                build(machine, name, archive)
            finally:
                archive.unlink()
            if _is_gone():
                raise Refused("Whoever pushed is gone: the release was built, and is not switched to.")
            switch(machine, name)
    except Refused as error:
        say(str(error))
        say("refused")
    except BaseException:
        say("The change failed for a reason that it did not foresee; the log of serving-site-push has it.")
        say("refused")
        raise
    else:
        say("accepted")


def _header(stream: IO[bytes]) -> tuple[str, int]:
    try:
        said = json.loads(stream.readline(HEADER_BYTES))
        name, size = str(said["release"]), int(said["bytes"])
    except (ValueError, KeyError, TypeError):
        raise Refused("The hook said something else than a release and its size.") from None
    if not 0 < size <= MAX_BYTES:
        raise Refused(f"The code is {size // 1024**2} MB: at most {MAX_BYTES // 1024**2} MB are accepted.")
    return name, size


def _archive(machine: Machine, stream: IO[bytes], name: str, size: int) -> Path:
    """The archive as a file that only root can read."""
    machine.release(name)  # a name that is none is refused before it is part of a path
    machine.archives.mkdir(mode=0o700, parents=True, exist_ok=True)
    room(machine.archives, 2 * size)
    path = machine.archives / f".pushed-{name}.tar.gz"
    left = size
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            while left and (chunk := stream.read(min(left, CHUNK))):
                file.write(chunk)
                left -= len(chunk)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise Refused(f"The code cannot be stored: {error.strerror}.") from None
    if left:
        path.unlink()
        raise Refused("The connection ended before the code was here whole.")
    return path


def _is_gone() -> bool:
    """Whether the hook has closed its end; it keeps it open for as long as somebody waits."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))
