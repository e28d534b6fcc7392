"""What each way of launching needs: its machines, and the few ports of each."""

from collections.abc import Sequence
from dataclasses import dataclass

from settings_file import Refused

WORLD = ("0.0.0.0/0", "::/0")
WEB_PORTS = (80, 443)
SSH_PORT = 22
INSIDE_PORTS = (5432, 5672, 8010)
"""PostgreSQL, RabbitMQ and the site's files, which production serves the other machines."""


@dataclass(frozen=True)
class Machine:
    """An instance, known by its name; what it does is also the security group that it is in."""

    name: str
    does: str


@dataclass(frozen=True)
class Door:
    """A port that is open: to a network, or to the machines of another security group."""

    port: int
    network: str = ""
    group: str = ""

    def __str__(self) -> str:
        return f"{self.port} from {'anywhere' if self.network in WORLD else self.network or self.group}"


def machines(way: str, name: str, workers: int, development: bool) -> list[Machine]:
    """The machines of a launch, the one that serves people first."""
    if way != "cluster":
        return [Machine(name, "site")]
    wanted = [Machine(f"{name}-production", "production")]
    wanted += [Machine(f"{name}-worker-{number}", "worker") for number in range(1, workers + 1)]
    return wanted + ([Machine(f"{name}-development", "development")] if development else [])


def doors(name: str, wanted: Sequence[Machine], ssh_from: Sequence[str]) -> dict[str, list[Door]]:
    """For each security group, by its name, what is open in it, and nothing more."""
    kinds = list(dict.fromkeys(machine.does for machine in wanted))
    ssh = [Door(SSH_PORT, network) for network in ssh_from]
    web = [Door(port, network) for port in WEB_PORTS for network in WORLD]
    opened = {group_name(name, kind): [*ssh, *(web if kind in {"site", "production"} else [])] for kind in kinds}
    for kind in set(kinds) - {"site", "production"}:
        inside = [*INSIDE_PORTS, *([SSH_PORT] if kind == "development" else [])]  # development pushes models and code
        opened[group_name(name, "production")] += [Door(port, group=group_name(name, kind)) for port in inside]
    return opened


def group_name(name: str, does: str) -> str:
    return f"{name}-{does}"


def refuse_closed(way: str, ssh_from: Sequence[str], keys: Sequence[str]) -> None:
    """Ansible comes by SSH: without a key and an open port there is no cluster."""
    if way == "cluster" and not ssh_from:
        raise Refused("A cluster is set up over SSH: --ssh-from NETWORK says from where, such as 203.0.113.4/32.")
    if way == "cluster" and not keys:
        raise Refused("A cluster is set up over SSH: put your public key into ssh_authorized_keys of the settings.")
