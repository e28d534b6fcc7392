"""Removes everything of one lab by its name: `python -m tests.deploy.lab.sweep lab-4`.

Every process, mount, namespace, cgroup, link and packet filter rule of a lab carries the lab's name, so nothing has to
be remembered. A lab's keeper calls this when the tests are over, also when they were killed; a person may, too. It
needs the standard library only.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
FORWARDING_BEFORE = Path("/run/serving-site-lab.ip_forward")
"""What the first lab of the machine found; the last one restores it."""
LINKS = Path("/sys/class/net")


def sweep(name: str, folder: Path) -> None:
    """End the lab `name`, whose files lie in `folder`, and remove all there is of it. Does no harm where nothing is."""
    _end_processes(name)
    _unmount(folder)
    for namespace in Path("/run/netns").glob(f"{name}-*"):
        _quietly("ip", "netns", "delete", namespace.name)
    _quietly("ip", "link", "delete", name)
    _delete_rules(name)
    for group in groups(name):
        _remove_group(group)
    if not any(LINKS.glob("lab-*")) and FORWARDING_BEFORE.exists():
        FORWARDING.write_text(FORWARDING_BEFORE.read_text())
        FORWARDING_BEFORE.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def hierarchies() -> list[Path]:
    """The roots of the control group hierarchies: one of the second version, or one a controller of the first."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return [one for one in sorted(CGROUPS.iterdir()) if one.is_dir() and not one.is_symlink()]


def groups(name: str) -> list[Path]:
    """The control groups of a lab, one in each hierarchy."""
    return [path for root in hierarchies() if (path := root / name).is_dir()]


def _end_processes(name: str) -> None:
    end = time.monotonic() + 10
    while (left := set(_members(name))) and time.monotonic() < end:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.05)


def _members(name: str) -> Iterator[int]:
    for group in groups(name):
        for listing in group.rglob("cgroup.procs"):
            try:
                yield from (int(pid) for pid in listing.read_text().split() if pid != "0")
            except OSError:  # the group has just gone
                continue


def _unmount(folder: Path) -> None:
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for place in reversed(mounted):
        if Path(place).is_relative_to(folder):
            _quietly("umount", place) or _quietly("umount", "--lazy", place)


def _delete_rules(name: str) -> None:
    for table in ("filter", "nat"):
        listed = subprocess.run(
            ["iptables", "-w", "-t", table, "-S"], capture_output=True, text=True, check=False
        ).stdout
        for rule in listed.splitlines():
            words = rule.split()
            if words[0] == "-A" and "--comment" in words and words[words.index("--comment") + 1].strip('"') == name:
                _quietly("iptables", "-w", "-t", table, "-D", *words[1:])


def _remove_group(group: Path) -> None:
    end = time.monotonic() + 5
    while group.is_dir() and time.monotonic() < end:  # the last processes may take a moment to leave
        for path in sorted([group, *group.rglob("*")], key=lambda one: -len(one.parts)):
            if path.is_dir():
                try:
                    path.rmdir()
                except OSError:
                    time.sleep(0.02)


def _quietly(*argv: str) -> bool:
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    sweep(sys.argv[1], Path(sys.argv[2]))
