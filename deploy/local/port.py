"""Exits with one sentence if nobody can listen on HOST:PORT, before anything slow has begun."""

import errno
import os
import socket
import sys


def refusal(host: str, port: str) -> str | None:
    """Why a server cannot listen there; None if it can."""
    if not port.isdigit() or not 0 < int(port) < 65536:
        return f"PORT is {port!r}: expected a number from 1 to 65535."
    try:
        family, _, _, _, address = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return f"Port {port} of {host} is taken: stop what uses it, or choose another one: make run PORT=8001"
        return f"Cannot listen on {host}:{port}: {error.strerror or error}."
    return None


if __name__ == "__main__":
    sys.exit(refusal(os.environ.get("HOST", "127.0.0.1"), os.environ.get("PORT", "8000")))
