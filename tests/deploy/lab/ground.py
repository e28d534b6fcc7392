"""A lab: one bridge with a network of its own behind NAT, and the folder, key and control groups of its machines."""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Protocol

from deploy.local.ground import PATH
from deploy.local.keeper import Keeper
from tests.deploy.lab import depot, sweep
from tests.deploy.lab.hosts import Host
from tests.deploy.lab.metadata import Instance, Metadata
from tests.deploy.lab.template import CACHE, kept, template
from tests.session import REPOSITORY

OWN_NUMBERS = range(100, 200)
"""From which a lab takes its number when `LAB_NUMBER` does not say."""


class Machine(Protocol):
    """What a lab has: something with a name that tells how it is."""

    name: str

    def report(self) -> str:
        """What a person would look at first when a test has failed."""


class Lab:
    """The network 10.77.N.0/24 with this machine and its depot at .1; `machines` are what is in it.

    `key` is what the tests come to every machine's root with; `owners_key` is another, for what is tested to let in.
    """

    def __init__(self) -> None:
        self.number = _claim()
        self.name = f"lab-{self.number}"
        self.network = f"10.77.{self.number}.0/24"
        self.gateway = self.address(1)
        self.folder = Path(os.environ["TESTS_TMPDIR"], f"serving-site-{self.name}")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o711)
        kept = self.folder / "kept"
        kept.mkdir(mode=0o711)
        self.keeper = Keeper(kept)
        self.keeper.at_end([sys.executable, sweep.__file__, self.name, str(self.folder)])
        self.machines: list[Machine] = []
        self._hosts = 0
        try:
            self._make_groups()
            self._make_network()
            self.key = self._make_key("key")
            self.owners_key = self._make_key("owners_key")
            self.start_depot(self.gateway)
        except BaseException:
            self.keeper.close()
            raise

    def address(self, last: int) -> str:
        return f"10.77.{self.number}.{last}"

    def host(
        self,
        name: str,
        *,
        seed: Mapping[str, str] | None = None,
        instance: Instance | None = None,
        address: str = "",
        names: Mapping[str, str] | None = None,
    ) -> Host:
        """Boot a bare Debian 12 and return when sshd answers and root may log in with the lab's key.

        `seed` gives cloud-init's NoCloud files ("user-data", "meta-data"), `instance` what its Ec2 source is told;
        without both cloud-init stays disabled. `address` is one that somebody else has chosen. `names` are further
        lines of /etc/hosts: name to address.
        """
        host = Host(self, name, address or self.address(11 + self._hosts), template())
        self._hosts += 1
        self.machines.append(host)
        if instance:
            self.metadata.answer(host.address, instance)
        host.prepare(seed=seed, metadata=self.metadata.address if instance else "", names=names or {})
        host.start()
        return host

    @cached_property
    def metadata(self) -> Metadata:
        """The metadata service, started when the first instance needs it."""
        return Metadata(self)

    def close(self) -> None:
        """End every machine and remove all of the lab: a Docker engine leaves gigabytes in many small files."""
        self.keeper.close(timeout_s=300)

    def start_depot(self, address: str, *enter: str) -> None:
        """Serve packages at an address; `enter` is the beginning of a command, to serve in another namespace."""
        debs = CACHE / "debs"
        debs.mkdir(exist_ok=True)
        argv = [*enter, sys.executable, "-I", depot.__file__, address, str(depot.PORT), str(debs), str(wheels())]
        environment = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
        self.keeper.start(argv, env={"PATH": PATH, **environment}, log=self.folder / "depot.log")

    def join(self, group: str) -> list[Path]:
        """The control groups that a machine's processes go into, made anew."""
        return [_new_group(path, group) for path in sweep.groups(self.name)]

    def command(self, *argv: str) -> None:
        """Run a command that must succeed."""
        command(*argv)

    def namespace(self, name: str, link: str, address: str) -> str:
        """Make a network namespace with one interface, eth0, on the lab's bridge; returns its name."""
        space = f"{self.name}-{name}"
        inside = ("ip", "-n", space)
        command("ip", "netns", "add", space)
        command("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space)
        command("ip", "link", "set", link, "master", self.name, "up")
        command(*inside, "address", "add", f"{address}/24", "dev", "eth0")
        command(*inside, "link", "set", "lo", "up")
        command(*inside, "link", "set", "eth0", "up")
        command(*inside, "route", "add", "default", "via", self.gateway)
        return space

    def _make_groups(self) -> None:
        # Without groups of their own all machines would share this machine's system.slice.
        for root in sweep.hierarchies():
            _new_group(root, self.name)

    def _make_network(self) -> None:
        command("ip", "address", "add", f"{self.gateway}/24", "dev", self.name)
        command("ip", "link", "set", self.name, "up")
        if not sweep.FORWARDING_BEFORE.exists():
            sweep.FORWARDING_BEFORE.write_text(sweep.FORWARDING.read_text())
        sweep.FORWARDING.write_text("1")
        ours = ("-m", "comment", "--comment", self.name)
        # Not what stays on the bridge: hosts must see each other's own addresses.
        outward = ("-s", self.network, "!", "-o", self.name)
        command("iptables", "-w", "-t", "nat", "-A", "POSTROUTING", *outward, *ours, "-j", "MASQUERADE")
        for way in ("-i", "-o"):
            command("iptables", "-w", "-I", "FORWARD", way, self.name, *ours, "-j", "ACCEPT")

    def _make_key(self, name: str) -> Path:
        path = self.folder / name
        command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", str(path))
        return path


def wheels() -> Path:
    """The folder with the wheels of everything that is pinned to be installed on a server."""
    files = [path for path in sorted((REPOSITORY / "requirements").glob("*.txt")) if path.name != "dev.txt"]
    recipe = "1 " + "".join(path.read_text() for path in files)
    return kept("wheels", recipe, lambda target: depot.fetch_wheels(REPOSITORY / "requirements", target))


def command(*argv: str) -> None:
    """Run a command; if it fails, raise with what it said."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={"PATH": PATH})
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: {(done.stderr or done.stdout).strip()}")


def _claim() -> int:
    """A number that no lab of this machine has: making the bridge succeeds once only."""
    given = os.environ.get("LAB_NUMBER")
    numbers = [int(given)] if given else random.sample(OWN_NUMBERS, len(OWN_NUMBERS))
    for number in numbers:
        name = f"lab-{number}"
        if (sweep.LINKS / name).exists() or list(Path("/run/netns").glob(f"{name}-*")):
            continue
        try:
            command("ip", "link", "add", name, "type", "bridge")
        except RuntimeError as error:
            if "File exists" in str(error):
                continue
            raise
        return number
    raise RuntimeError(
        f"no lab number is free of {numbers}; what a killed run left goes with `python -m tests.deploy.lab.sweep`"
    )


def _new_group(parent: Path, name: str) -> Path:
    path = parent / name
    path.mkdir(exist_ok=True)
    for file in ("cpuset.cpus", "cpuset.mems"):  # empty in a new group of the first version, which then takes nobody
        if (parent / file).exists() and not (parent / "cgroup.controllers").exists():
            (path / file).write_text((parent / file).read_text())
    return path
