"""The settings file of a site on fresh machines (TOML): what may stand in it, and a sentence for what may not.

The names are those of the Ansible variables in deploy/ansible. No secret has a place here: user data, for which this is
made, can be read by every process of its machine. Secrets are made on the machine itself.
"""

import difflib
import ipaddress
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SECRET_VARIABLES = ("DATABASE_URL", "DJANGO_SUPERUSER_PASSWORD", "RABBITMQ_URL", "SECRET_KEY")


class Refused(Exception):
    """Nothing can be made of this; the message is a sentence that names what was found and what was expected."""


@dataclass(frozen=True)
class Source:
    """Where the code comes from: a git repository at a ref, or a release archive with its hash."""

    repository: str = ""
    ref: str = ""
    archive: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Settings:
    """A whole settings file, checked."""

    variables: dict[str, Any]
    """For Ansible, by the names that deploy/ansible uses."""
    source: Source | None
    """None where the code is not fetched by the machine itself."""
    ssh_authorized_keys: list[str] = field(default_factory=list)
    cloud_config: dict[str, Any] = field(default_factory=dict)
    """More of cloud-init's own keys."""


@dataclass(frozen=True)
class Kind:
    """What a value must be, in words and as a test."""

    expected: str
    accepts: Callable[[Any], bool]


def text(pattern: str, expected: str) -> Kind:
    return Kind(expected, lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None)


def whole(first: int, last: int) -> Kind:
    return Kind(f"a whole number from {first} to {last}", lambda value: type(value) is int and first <= value <= last)


def is_domain(value: Any) -> bool:
    """Whether it is a host's name in small letters, or an IPv4 address."""
    label = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
    return isinstance(value, str) and len(value) < 254 and re.fullmatch(rf"({label}\.)*{label}", value) is not None


def is_address(value: Any) -> bool:
    """Whether it is an http address that carries no name and password."""
    if not isinstance(value, str) or not re.fullmatch(r"https?://[\x21-\x7e]+", value):
        return False
    return "@" not in urlsplit(value).netloc and bool(urlsplit(value).hostname)


def are_pushers(value: Any) -> bool:
    """Whether it is a list of names, each with a public key."""
    return isinstance(value, list) and all(
        isinstance(one, dict)
        and one.keys() == {"name", "key"}
        and re.fullmatch(r"[\w.@+-]{1,150}", str(one["name"])) is not None
        and PUBLIC_KEY.accepts(one["key"])
        for one in value
    )


def is_ip(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


PUBLIC_KEY = text(
    r"(ssh-(ed25519|rsa)|ecdsa-sha2-nistp\d+|sk-[a-z0-9-]+@openssh\.com) [A-Za-z0-9+/]+=* ?[^\r\n]*",
    "public SSH keys, each one line such as ssh-ed25519 AAAA… ann@laptop",
)
PUSHERS = Kind('tables such as {name = "ann", key = "ssh-ed25519 AAAA…"}', are_pushers)
YES_OR_NO = Kind("true or false", lambda value: isinstance(value, bool))
MEMORY = text(r"[1-9][0-9]*[MG]|[1-9][0-9]?%", 'memory such as "512M", "2G" or "80%"')
EMAIL = text(r"[^@\s]+@[^@\s]+", "an e-mail address")
VARIABLES = {
    "site_domain": Kind("a host name in small letters such as models.example.org, or an IPv4 address", is_domain),
    "admin_email": EMAIL,
    "admin_name": text(r"[\w.@+-]{1,150}", "a user name of letters, digits and .@+-_"),
    "site_url": Kind("an address such as https://models.example.org, without a password", is_address),
    "certificate": text("self-signed|letsencrypt", "self-signed or letsencrypt"),
    "gpu": YES_OR_NO,
    "torch_index": Kind("a package index's address, or nothing for pip's own", lambda v: v == "" or is_address(v)),
    "demo_models": YES_OR_NO,
    "monitoring": YES_OR_NO,
    "worker_slots": whole(1, 64),
    "web_threads": whole(1, 256),
    "backup_at": text("([01][0-9]|2[0-3]):[0-5][0-9]", "a time of day such as 03:15"),
    "web_memory": MEMORY,
    "worker_memory": MEMORY,
    "train_memory": MEMORY,
    "code_push_keys": PUSHERS,
    "model_push_keys": PUSHERS,
    "site_settings": Kind("a table of the site's environment variables, each a text", lambda v: isinstance(v, dict)),
}
REQUIRED = ("site_domain", "admin_email")
TABLES = ("source", "cloud_config")
SOURCE = {
    "repository": text(r"(https?|git)://[^\s@:/]+(:[0-9]+)?/\S+", "an address of git by https, without a password"),
    "ref": text(r"[A-Za-z0-9_][A-Za-z0-9_./+-]*", "a branch, a tag or a commit"),
    "archive": Kind("an address of a release archive (.tar.gz), without a password", is_address),
    "sha256": text("[0-9a-f]{64}", "the 64 hexadecimal digits of the archive's SHA-256"),
}


def read(path: Path) -> Settings:
    """The settings in a file. Raises Refused with a sentence for people."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Refused(f"{path} is no TOML: {error}.") from None
    try:
        return check(found)
    except Refused as error:
        raise Refused(f"{path}: {error}") from None


def check(found: Mapping[str, Any]) -> Settings:
    """The same of what was read already."""
    refuse_unknown(found, [*VARIABLES, *TABLES, "ssh_authorized_keys"])
    refuse_missing(found, REQUIRED)
    for table in TABLES:
        if not isinstance(found.get(table, {}), dict):
            raise wrong(table, found[table], "a table")
    variables = {name: value for name, value in found.items() if name in VARIABLES}
    for name, value in variables.items():
        expect(name, value, VARIABLES[name])
    check_environment(variables.get("site_settings", {}))
    keys = found.get("ssh_authorized_keys", [])
    for key in keys if isinstance(keys, list) else [keys]:
        expect("ssh_authorized_keys", key, PUBLIC_KEY)
    source = check_source(found["source"]) if "source" in found else None
    return Settings(variables, source, list(keys), dict(found.get("cloud_config", {})))


def check_source(found: Mapping[str, Any]) -> Source:
    """Exactly one of the two ways to the code."""
    refuse_unknown(found, SOURCE, "source.")
    for name, value in found.items():
        expect(f"source.{name}", value, SOURCE[name])
    if found.keys() not in ({"repository", "ref"}, {"archive", "sha256"}):
        has = " and ".join(found) or "nothing"
        raise Refused(f"[source] holds {has}; expected repository and ref, or archive and sha256.")
    return Source(**found)


def check_environment(variables: Mapping[str, Any]) -> None:
    """Names of variables, texts without line ends, and none that holds a secret."""
    for name, value in variables.items():
        if not re.fullmatch("[A-Z][A-Z0-9_]*", name):
            raise Refused(f"site_settings holds {name}; expected names such as SIGNUP, in capital letters.")
        if name in SECRET_VARIABLES or (isinstance(value, str) and re.search(r"://[^/\s]*:[^/\s]*@", value)):
            raise Refused(
                f"site_settings.{name} holds a secret; expected none, for every process of the machine can read user "
                "data."
            )
        expect(f"site_settings.{name}", value, text(r"[^\r\n]*", "a text on one line"))


def refuse_unknown(found: Iterable[str], known: Iterable[str], prefix: str = "", what: str = "setting") -> None:
    """A misspelt name would be ignored, and nobody would know."""
    names = list(known)
    for name in found:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {prefix}{close[0]}?" if close else f"expected one of {', '.join(sorted(names))}."
            raise Refused(f"there is no {what} {prefix}{name}; {hint}")


def refuse_missing(found: Iterable[str], required: Iterable[str]) -> None:
    for name in required:
        if name not in found:
            raise Refused(f"{name} is missing; expected {VARIABLES[name].expected}.")


def expect(name: str, value: Any, kind: Kind) -> None:
    if not kind.accepts(value):
        raise wrong(name, value, kind.expected)


def wrong(name: str, value: Any, expected: str) -> Refused:
    shown = json.dumps(value, ensure_ascii=False, default=str)
    return Refused(f"{name} is {shown if len(shown) < 100 else shown[:97] + '…'}; expected {expected}.")
