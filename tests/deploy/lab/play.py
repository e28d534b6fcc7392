"""Ansible's playbooks of this repository, run against machines of a lab as an operator runs them."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.deploy.lab.ground import Lab
from tests.deploy.lab.hosts import SSH, Host
from tests.session import REPOSITORY

PLAYBOOKS = REPOSITORY / "deploy" / "ansible"


class PlayFailed(AssertionError):
    """A playbook ended with failures; says what Ansible printed."""


class Play:
    """An inventory of `groups` and `variables`; torch comes from where the machines' pip finds it."""

    def __init__(self, lab: Lab, groups: Mapping[str, Sequence[Host]], **variables: Any) -> None:
        self.lab, self.groups = lab, {name: list(hosts) for name, hosts in groups.items()}
        self.variables: dict[str, Any] = {"torch_index": "", **variables}
        self.folder = Path(lab.folder) / "play"
        self.folder.mkdir(exist_ok=True)

    def run(self, playbook: str, *arguments: str, timeout_s: float = 900) -> dict[str, dict[str, int]]:
        """Run one playbook; returns Ansible's recap by host (ok, changed, …). Raises PlayFailed."""
        done = self.attempt(playbook, *arguments, timeout_s=timeout_s)
        if done.returncode != 0:
            raise PlayFailed(
                f"{playbook} {arguments} ended with {done.returncode}:\n{done.stdout[-8000:]}{done.stderr}"
            )
        return recap(done.stdout)

    def attempt(self, playbook: str, *arguments: str, timeout_s: float = 900) -> subprocess.CompletedProcess[str]:
        """Run one playbook that may fail."""
        inventory, extra = self.folder / "inventory.ini", self.folder / "extra.json"
        inventory.write_text(self.inventory())
        extra.write_text(json.dumps(self.variables))
        argv = [str(REPOSITORY / ".venv/bin/ansible-playbook"), "-i", str(inventory), "-e", f"@{extra}"]
        environment = {
            **{name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
            "HOME": str(self.folder),
            "ANSIBLE_CONFIG": str(PLAYBOOKS / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
        }
        return subprocess.run(
            [*argv, *arguments, str(PLAYBOOKS / playbook)],
            cwd=PLAYBOOKS, env=environment, capture_output=True, text=True, check=False, timeout=timeout_s,
        )  # fmt: skip

    def inventory(self) -> str:
        lines = []
        for name, hosts in self.groups.items():
            lines.append(f"[{name}]")
            lines += [f"{host.name} ansible_host={host.address} private_address={host.address}" for host in hosts]
        options = " ".join(SSH[1:])
        lines += [
            "[all:vars]",
            "ansible_user=root",
            "ansible_python_interpreter=/usr/bin/python3",
            f"ansible_ssh_private_key_file={self.lab.key}",
            f"ansible_ssh_common_args='{options}'",
        ]
        return "\n".join([*lines, ""])


def recap(said: str) -> dict[str, dict[str, int]]:
    """The counts at the end of what Ansible prints."""
    lines = said.partition("PLAY RECAP")[2].splitlines()[1:]
    return {
        line.split(":")[0].strip(): {
            name: int(count) for name, _, count in (one.partition("=") for one in line.split(":")[1].split())
        }
        for line in lines
        if ":" in line and "ok=" in line
    }
