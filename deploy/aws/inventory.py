"""The Ansible inventory of a cluster, written from what stands in EC2."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from cloud_config import LOGIN
from settings_file import Settings

from deploy.aws.fleet import address_of, does, name_of

GROUPS = {"production": "production", "worker": "workers", "development": "development"}


def write(folder: Path, instances: Sequence[dict[str, Any]], settings: Settings) -> Path:
    """Write `hosts.yml` and the variables beside it; returns the former. What people added elsewhere stays."""
    (folder / "group_vars" / "all").mkdir(parents=True, exist_ok=True)
    known_hosts = (folder / "known_hosts").absolute()
    common = {
        "ansible_user": LOGIN,
        "ansible_ssh_common_args": f"-o StrictHostKeyChecking=accept-new -o UserKnownHostsFile={known_hosts}",
    }
    hosts = {
        group: {"hosts": {name_of(one): of_host(one) for one in instances if does(one) == kind}}
        for kind, group in GROUPS.items()
    }
    path = folder / "hosts.yml"
    path.write_text(yaml.safe_dump({"all": {"vars": common}, **hosts}, sort_keys=False))
    variables = json.loads(json.dumps(settings.variables))
    (folder / "group_vars" / "all" / "launch.yml").write_text(yaml.safe_dump(variables, sort_keys=False))
    return path


def of_host(instance: dict[str, Any]) -> dict[str, str]:
    """Where Ansible reaches it, and where the other machines do."""
    return {"ansible_host": address_of(instance), "private_address": str(instance["PrivateIpAddress"])}
