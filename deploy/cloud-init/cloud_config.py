"""User data for cloud-init: a cloud-config that fetches the code and runs install.sh, small and without a secret."""

import json
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from settings_file import Refused, Settings, Source, is_ip, refuse_unknown

HERE = Path(__file__).resolve().parent
LIMIT_BYTES = 16_384
"""What EC2 takes; others take as much or more."""
WAYS = ("single", "compose")
LOGIN = "admin"
"""Who Ansible comes as; Debian's own images for EC2 call their first user so too."""
OWN_KEYS = ("runcmd", "ssh_authorized_keys", "write_files")
SECRET_KEYS = ("chpasswd", "password", "ssh_keys")
# cloud-init warns of a misspelt key, if at all, in a log that nobody reads, and goes on without it.
TOP_KEYS = (
    *OWN_KEYS, *SECRET_KEYS, "apt", "apt_pipelining", "bootcmd", "ca-certs", "ca_certs", "device_aliases",
    "disable_root", "disk_setup", "final_message", "fqdn", "fs_setup", "groups", "growpart", "hostname", "keyboard",
    "locale", "manage_etc_hosts", "manage_resolv_conf", "mount_default_fields", "mounts", "ntp", "output",
    "package_reboot_if_required", "package_update", "package_upgrade", "packages", "phone_home", "power_state",
    "prefer_fqdn_over_hostname", "preserve_hostname", "random_seed", "resize_rootfs", "resolv_conf", "rsyslog", "snap",
    "ssh", "ssh_deletekeys", "ssh_genkeytypes", "ssh_import_id", "ssh_publish_hostkeys", "ssh_pwauth", "swap",
    "timezone", "user", "users", "wireguard",
)  # fmt: skip
FILE_KEYS = ("append", "content", "defer", "encoding", "owner", "path", "permissions")


class Dumper(yaml.SafeDumper):
    """Scripts stay readable: a text of several lines is written as one."""


Dumper.add_representer(
    str,
    lambda dumper, value: dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None),
)


def user_data(settings: Settings, way: str) -> str:
    """User data for a machine that becomes a site; `way` is single or compose. Raises Refused."""
    if not settings.source:
        raise Refused("source is missing; expected a table with repository and ref, or archive and sha256.")
    domain = settings.variables["site_domain"]
    named = {} if is_ip(domain) else {"hostname": domain.split(".")[0], "fqdn": domain, "manage_etc_hosts": True}
    return render(
        {
            **named,
            **base(settings),
            "write_files": [
                file("/etc/serving-site/settings.json", json.dumps(settings.variables, indent=2) + "\n", "0600"),
                file("/etc/serving-site/source.conf", source_conf(settings.source, way), "0600"),
                file("/usr/local/sbin/serving-site-install", (HERE / "install.sh").read_text(), "0755"),
            ],
            "runcmd": [["/usr/local/sbin/serving-site-install"]],
        }
    )


def node_user_data(settings: Settings, hostname: str) -> str:
    """User data for a machine that Ansible sets up later."""
    return render({"hostname": hostname, "user": {"name": LOGIN}, **base(settings)})


def base(settings: Settings) -> dict[str, Any]:
    """What every machine gets."""
    refuse_unknown(settings.cloud_config, set(TOP_KEYS) - {*OWN_KEYS, *SECRET_KEYS}, "cloud_config.")
    keys = {"ssh_authorized_keys": settings.ssh_authorized_keys} if settings.ssh_authorized_keys else {}
    return {"locale": "C.UTF-8", **keys, **settings.cloud_config}


def source_conf(source: Source, way: str) -> str:
    """Variables for install.sh."""
    chosen = {"way": way, **{name: value for name, value in asdict(source).items() if value}}
    return "".join(f"{name.upper()}={shlex.quote(value)}\n" for name, value in chosen.items())


def file(path: str, content: str, permissions: str) -> dict[str, str]:
    return {"path": path, "permissions": permissions, "content": content}


def render(config: dict[str, Any]) -> str:
    """The text, checked. Raises Refused."""
    made = "#cloud-config\n" + yaml.dump(config, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=1000)
    check(made)
    return made


def check(made: str) -> None:
    """Raises Refused where cloud-init would ignore or refuse a part of this user data."""
    refuse_long(made)
    if not made.startswith("#cloud-config\n"):
        raise Refused(f"user data starts with {made[:20]!r}; expected the line #cloud-config.")
    try:
        config = yaml.safe_load(made)
    except yaml.YAMLError as error:
        raise Refused(f"user data is no YAML: {error}.") from None
    check_keys(config)
    ask_cloud_init(made)


def refuse_long(made: str) -> None:
    """Raises Refused for more than EC2 takes."""
    if (size := len(made.encode())) > LIMIT_BYTES:
        raise Refused(
            f"user data has {size} bytes; expected at most {LIMIT_BYTES}, which is what EC2 takes. "
            "Put large files where the machine can fetch them."
        )


def check_keys(config: Any) -> None:
    """Raises Refused for a key that cloud-init does not know."""
    if not isinstance(config, dict):
        raise Refused(f"user data is {type(config).__name__}; expected keys and values.")
    refuse_unknown(map(str, config), TOP_KEYS, what="key of cloud-init named")
    for entry in config.get("write_files") or []:
        if not isinstance(entry, Mapping):
            raise Refused(f"write_files holds {entry!r}; expected entries with path and content.")
        refuse_unknown(map(str, entry), FILE_KEYS, "write_files.", "key of cloud-init named")


def ask_cloud_init(made: str) -> None:
    """Where cloud-init is installed, its own schema has the last word."""
    if not (program := shutil.which("cloud-init")):
        return
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as draft:
        draft.write(made)
        draft.flush()
        command = [program, "schema", "--config-file", draft.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(f"cloud-init refuses the user data: {(done.stderr or done.stdout).strip()}")
