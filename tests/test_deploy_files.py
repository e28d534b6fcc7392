"""What lies in deploy/ is safe to run: no secret in it, no port open that nobody wants, no root without need.

Each table names everything of its kind. What is new in a file fails here until somebody has written down why.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.session import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file() and path.suffix != ".pyc")
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
COMPOSE = DEPLOY / "compose"

SECRETS = {
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY"),
    "an access key of Amazon": re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a password in an address": re.compile(r"://[^/\s:@'\"{}$<>]+:(?!(?i:password)@|\.\.\.@)[^/\s@'\"{}$<>]+@"),
    "a password": re.compile(r"(?i)(password|secret|token|api_?key)\w*\s*[=:]\s*['\"]?(?=\S*\d)[A-Za-z0-9+/_-]{16,}"),
}
ARGUMENTS = re.compile(r"PGPASSWORD=\S+ |--password[= ]\S|add_user \S+ \S|change_password \S+ \S")
"""What every user of a machine sees in its list of processes."""

LISTENS = {
    "compose/nginx/listen.conf": {"127.0.0.1:8010"},
    "compose/nginx/upstream.conf": {"127.0.0.1:8001"},
    "compose/rabbitmq/30-compose.conf": {"5672"},  # of a network between containers
    "monitoring/nginx.conf": {"127.0.0.1:8011"},
    "nginx/site.conf": {"80", "[::]:80", "443", "[::]:443"},
    "systemd/serving-site-push.socket": {"/run/serving-site-push.sock"},
    "ansible/roles/broker/tasks/main.yml": {"127.0.0.1:4369", "127.0.0.1:5672", "{{ own_address }}:5672"},
    "ansible/roles/database/tasks/main.yml": {
        "'{{ (['localhost'] + ([own_address] if other_hosts else [])) | join(',') }}'"
    },
}
"""File by file, what it makes a server listen on. Addresses beside loopback are private ones, behind the firewall."""
LISTENING = re.compile(
    r"(?:^|[{;])\s*(?:listen |ListenStream=|listeners\.tcp\.\w+ = |listen_addresses = )(?P<where>[^#\s;].*?)"
    r"(?: ssl| http2| default_server|;|$)",
    re.MULTILINE,
)
FIREWALL = {
    "68",
    "546",
    "{{ ssh_port }}",
    "{ 80, 443 }",
    "53",
    "{ 5432, 5672, {{ files_port }} }",
    "{ {{ ports | join(', ') }} }",
}
"""Ports that the firewall of hosts opens: DHCP, names, SSH, the site, and to the other hosts what production serves."""

HARDENED = (
    "NoNewPrivileges=yes", "CapabilityBoundingSet=", "ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes",
    "ProtectClock=yes", "ProtectControlGroups=yes", "ProtectHostname=yes", "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes", "ProtectKernelTunables=yes", "RestrictRealtime=yes", "RestrictSUIDSGID=yes",
    "LockPersonality=yes", "RemoveIPC=yes", "SystemCallArchitectures=native", "User=serving-site",
)  # fmt: skip
SUPERVISED = ("Type=notify", "Restart=always", "KillMode=mixed")
ROOT_UNITS = {"serving-site-push@.service": "it starts services and gives files away"}
ROOT_IMAGES = {
    "rabbitmq": {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"},
    "postgres": {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"},
    "proxy": {"CHOWN", "DAC_OVERRIDE", "NET_BIND_SERVICE", "SETGID", "SETUID"},
}
"""Official images that start as root and give it up themselves, and all that this root may do."""


def text_of(path: Path) -> str:
    try:
        return path.read_text()
    except UnicodeDecodeError:
        return ""


def name_of(path: Path) -> str:
    return path.relative_to(DEPLOY).as_posix()


def secrets_in(text: str) -> list[str]:
    return [kind for kind, pattern in SECRETS.items() if pattern.search(text)]


def test_no_file_holds_a_secret() -> None:
    assert {name_of(path): found for path in FILES if (found := secrets_in(text_of(path)))} == {}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("-----BEGIN OPENSSH PRIVATE KEY-----", ["a private key"]),
        ("key: AKIAIOSFODNN7EXAMPLE", ["an access key of Amazon"]),
        ("DATABASE_URL=postgresql://site:hunter22@db/site", ["a password in an address"]),
        ("broker_password: 3f1c9a7be2d0448695ab", ["a password"]),
        ("DATABASE_URL=postgresql://user:password@host/name", []),
        ("RABBITMQ_URL=amqp://serving-site:{{ secrets.broker_password }}@host/serving-site", []),
        ("secret_key: {file: /etc/serving-site/secrets/secret_key}", []),
    ],
)
def test_secrets_are_recognised(line: str, found: list[str]) -> None:
    assert secrets_in(line) == found


def test_no_password_is_an_argument_of_a_command() -> None:
    calls = {name_of(path): found for path in FILES if (found := ARGUMENTS.findall(text_of(path)))}
    # In the environment of one client of the machine's own database, which only its user sees.
    assert calls == {"postgresql/setup": ["PGPASSWORD=$password "]}


def test_servers_listen_only_where_the_table_says() -> None:
    found = {
        name_of(path): {one["where"].strip() for one in LISTENING.finditer(text_of(path))}
        for path in FILES
        if path.suffix not in (".md", ".py")
    }
    assert {name: places for name, places in found.items() if places} == LISTENS


def test_the_firewall_opens_only_what_the_table_says() -> None:
    rules = (DEPLOY / "ansible/roles/firewall/templates/firewall.nft.j2").read_text()
    assert set(re.findall(r"dport (\{ .*? \}(?= accept)|\{\{.*?\}\}|\d+)", rules)) == FIREWALL
    assert "policy drop" in rules


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_has_no_more_rights_than_it_needs(unit: Path) -> None:
    lines = unit.read_text().splitlines()
    if unit.name not in ROOT_UNITS:
        assert [setting for setting in HARDENED if setting not in lines] == []
    assert [
        line for line in lines if line.startswith(("AmbientCapabilities", "PermissionsStartOnly", "ExecStart=+"))
    ] == []


@pytest.mark.parametrize("unit", [unit for unit in UNITS if "@" in unit.name and unit.name not in ROOT_UNITS], ids=str)
def test_a_unit_that_serves_comes_back_and_cannot_take_the_whole_machine(unit: Path) -> None:
    lines = unit.read_text().splitlines()
    assert [setting for setting in SUPERVISED if setting not in lines] == []
    names = {line.partition("=")[0] for line in lines}
    assert {"MemoryMax", "TasksMax", "TimeoutStopSec", "UMask", "RestrictAddressFamilies"} <= names


def services() -> dict[str, dict[str, Any]]:
    return dict(yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"])


def test_containers_write_nowhere_gain_nothing_and_start_as_root_only_where_said() -> None:
    for name, service in services().items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert not {"privileged", "network_mode", "pid", "userns_mode"} & set(service), name
        assert "/var/run/docker.sock" not in str(service), name
        assert "mem_limit" in service, name
    assert {
        name: set(service["cap_add"]) for name, service in services().items() if "cap_add" in service
    } == ROOT_IMAGES


def test_only_the_proxy_publishes_ports() -> None:
    published = {name: service["ports"] for name, service in services().items() if "ports" in service}
    assert published == {"proxy": ["${HTTP_PORT:-80}:80", "${HTTPS_PORT:-443}:443"]}


def dockerfiles() -> list[Path]:
    return [path for path in FILES if path.name.startswith("Dockerfile")]


def test_images_of_the_site_do_not_run_as_root() -> None:
    assert dockerfiles() != []
    for path in dockerfiles():
        stages = re.split(r"^FROM ", path.read_text(), flags=re.MULTILINE)[1:]
        users = [
            re.findall(r"^USER (\S+)", stage, re.MULTILINE)
            for stage in stages
            if re.search("^CMD", stage, re.MULTILINE)
        ]
        assert users != []
        assert all(found and found[-1] not in ("root", "0") for found in users), name_of(path)


def images(text: str) -> Iterator[str]:
    """Every image that a file takes from elsewhere, by default."""
    stages = set(re.findall(r" AS (\S+)", text))
    defaults = dict(re.findall(r"^ARG (\w+)=(\S*)", text, re.MULTILINE))
    for name in re.findall(r"^FROM (\S+)", text, re.MULTILINE):
        given = defaults.get(name.strip("${}"), name)
        if given not in stages:
            yield given
    for name in re.findall(r"^\s+image: (\S+)", text, re.MULTILINE):
        yield re.sub(r"\$\{\w+:-(.*)\}", r"\1", name)


def test_images_from_elsewhere_name_a_version() -> None:
    named = {
        image
        for path in FILES
        if path.suffix in (".yaml", ".yml") or "Dockerfile" in path.name
        for image in images(text_of(path))
    }
    assert {image for image in named if not re.search(r":.*\d|:bookworm", image)} == {
        "serving-site-web",
        "serving-site-worker",
    }
    assert [name_of(path) for path in FILES if re.search(r"\w:latest\b", text_of(path))] == []


def tasks(entries: Any) -> Iterator[dict[str, Any]]:
    """Every task of a playbook or a role's file, also in blocks."""
    for entry in entries or []:
        yield entry
        for nested in ("block", "rescue", "always", "tasks", "pre_tasks", "post_tasks", "handlers"):
            yield from tasks(entry.get(nested) if isinstance(entry, dict) else None)


def test_ansible_prints_nothing_of_a_task_that_handles_secrets() -> None:
    """What reads them, and what fills a file with them."""
    telling = [
        f"{name_of(path)}: {task.get('name')}"
        for path in (DEPLOY / "ansible").rglob("*.yml")
        for task in tasks(yaml.safe_load(path.read_text()) if "group_vars" not in path.parts else [])
        if re.search(r"slurp.*secret|site\.env\.j2|secrets\.\w+_(password|key)", str(task)) and not task.get("no_log")
        and not {"block", "hosts"} & set(task)
    ]  # fmt: skip
    assert telling == []
