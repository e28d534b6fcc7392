"""Pushed code, from the hook of the repository to the running site.

The hook may write to one socket and nothing else of ours. systemd starts this for each connection, as root and in a
process of its own: whoever kills the hook, the connection or git does not leave half a change behind.

What is said on the socket: one line of JSON, {"release": ID, "bytes": N}, then N bytes of `git archive`; back come
lines for people, and at the end `accepted` or `refused` on a line of its own.
"""

import contextlib
import json
import select
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from machine import Machine, Refused, say
from releases import build, prune, room
from switching import switch

HEADER_BYTES = 4096
MAX_BYTES = 256 * 1024**2
CHUNK = 1024**2
KEPT = 5
"""Releases that stay when the next one comes."""


def receive(machine: Machine) -> None:
    """Build and switch to what standard input holds; the verdict is printed."""
    try:
        name, size = _header(sys.stdin.buffer)
        with _archive(machine, sys.stdin.buffer, name, size) as archive, machine.lock(f"the push of {name}"):
            prune(machine, KEPT)
            build(machine, name, archive)
            _is_wanted()
            switch(machine, name, is_wanted=_is_wanted)
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


@contextlib.contextmanager
def _archive(machine: Machine, stream: IO[bytes], name: str, size: int) -> Iterator[Path]:
    """The archive as a file that only root can read, while it is needed."""
    machine.release(name)  # a name that is none is refused before it is part of a path
    machine.archives.mkdir(mode=0o700, parents=True, exist_ok=True)
    room(machine.archives, 2 * size)
    with tempfile.NamedTemporaryFile(dir=machine.archives, prefix=f".pushed-{name}-") as file:
        left = size
        try:
            while left and (chunk := stream.read(min(left, CHUNK))):
                file.write(chunk)
                left -= len(chunk)
            file.flush()
        except OSError as error:
            raise Refused(f"The code cannot be stored: {error.strerror}.") from None
        if left:
            raise Refused("The connection ended before the code was here whole.")
        yield Path(file.name)


def _is_wanted() -> None:
    """Raises Refused where the hook has closed its end; it keeps it open for as long as somebody waits."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), select.POLLHUP | select.POLLERR)
    if poll.poll(0):
        raise Refused("Whoever pushed is gone, so the push is not accepted.")
