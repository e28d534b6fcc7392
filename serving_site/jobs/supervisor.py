"""Telling systemd how a process is (sd_notify(3)); nothing happens where no supervisor listens."""

import os
import socket


def notify(state: str) -> None:
    """Send `state`, such as READY=1, to the socket that NOTIFY_SOCKET names."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.sendto(state.encode(), f"\0{path[1:]}" if path.startswith("@") else path)
