"""Amazon's instance metadata service for machines of a lab: cloud-init's own Ec2 source fetches their user data.

It answers at 169.254.169.254, in a network namespace of its own, to each machine by its address. The server is a
program that needs the standard library only: `metadata.py FOLDER`, with one JSON file for each machine in the folder.

A session's token is given and checked, but not demanded: cloud-init asks for one where the BIOS names Amazon, and a
machine of a lab has none.
"""

import base64
import json
import secrets
import sys
from dataclasses import asdict, dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.deploy.lab.ground import Lab

ADDRESS = "169.254.169.254"
TOKEN = "X-aws-ec2-metadata-token"


@dataclass(frozen=True)
class Instance:
    """What EC2 would know of a machine: `user_data` is what its launcher sent, not encoded."""

    user_data: bytes
    id: str
    public_key: str = ""
    type: str = "t3.medium"
    image: str = "ami-00000000000000000"
    hostname: str = ""
    zone: str = "eu-central-1a"
    extra: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> str:
        return json.dumps({**asdict(self), "user_data": base64.b64encode(self.user_data).decode()})


class Metadata:
    """The service of one lab; `address` is the router that leads machines to it."""

    def __init__(self, lab: "Lab") -> None:
        self.address = lab.address(3)
        self.folder = lab.folder / "metadata"
        self.folder.mkdir()
        namespace = lab.namespace("metadata", f"lab{lab.number}metadata"[:15], self.address)
        lab.command("ip", "-n", namespace, "address", "add", f"{ADDRESS}/32", "dev", "lo")
        argv = ["nsenter", f"--net=/run/netns/{namespace}", sys.executable, "-I", __file__, str(self.folder)]
        lab.keeper.start(argv, env={"PATH": "/usr/bin:/bin"}, log=lab.folder / "metadata.log")

    def answer(self, address: str, instance: Instance) -> None:
        """From now on the machine at `address` is this instance."""
        (self.folder / f"{address}.json").write_text(instance.as_json())


class Service(BaseHTTPRequestHandler):
    """Answers as Amazon's service does, in every version of its interface."""

    def __init__(self, *arguments: Any, folder: Path, token: str) -> None:
        self.folder, self.token = folder, token
        super().__init__(*arguments)

    def do_PUT(self) -> None:
        if self.path.endswith("/api/token"):
            self._say(200, self.token.encode())
        else:
            self._say(404)

    def do_GET(self) -> None:
        known = self.folder / f"{self.client_address[0]}.json"
        if self.headers.get(TOKEN, self.token) != self.token:
            self._say(401)
        elif not known.exists():
            self._say(404)
        else:
            found = self._find(json.loads(known.read_text()), [part for part in self.path.split("/")[2:] if part])
            self._say(404) if found is None else self._say(200, found)

    def _find(self, instance: dict[str, Any], parts: list[str]) -> bytes | None:
        if parts == ["user-data"]:
            return base64.b64decode(instance["user_data"])
        if parts[:1] == ["dynamic"]:
            return json.dumps({"instanceId": instance["id"], "region": instance["zone"][:-1]}).encode()
        if parts[:1] != ["meta-data"]:
            return None
        node: Any = _tree(instance, self.client_address[0])
        for part in parts[1:]:
            node = node.get(part.removesuffix("=key")) if isinstance(node, dict) else None
        if isinstance(node, dict):
            keys = parts[-1] == "public-keys"
            names = [f"{name}=lab" if keys else f"{name}{'/' * isinstance(node[name], dict)}" for name in node]
            return "\n".join(names).encode()
        return None if node is None else str(node).encode()

    def _say(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _tree(instance: dict[str, Any], address: str) -> dict[str, Any]:
    name = instance["hostname"] or f"ip-{address.replace('.', '-')}.internal"
    return {
        "ami-id": instance["image"],
        "instance-id": instance["id"],
        "instance-type": instance["type"],
        "hostname": name,
        "local-hostname": name,
        "local-ipv4": address,
        "public-ipv4": address,
        "placement": {"availability-zone": instance["zone"]},
        **({"public-keys": {"0": {"openssh-key": instance["public_key"]}}} if instance["public_key"] else {}),
        **instance["extra"],
    }


def main(folder: str) -> None:
    """Serve until killed."""
    service = partial(Service, folder=Path(folder), token=secrets.token_hex(16))
    ThreadingHTTPServer((ADDRESS, 80), service).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
