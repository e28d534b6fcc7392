"""How full the disks are, on every host that runs a process of the site."""

import shutil
import socket
from pathlib import Path

Disk = tuple[str, str, int, int]
"""Host, area, bytes free, bytes in all."""


def here(**areas: Path) -> list[Disk]:
    """The disks of these folders, where they exist."""
    host, found = socket.gethostname(), []
    for area, folder in areas.items():
        try:
            usage = shutil.disk_usage(folder)
        except OSError:
            continue  # a host that keeps nothing there
        found.append((host, area, usage.free, usage.total))
    return found
