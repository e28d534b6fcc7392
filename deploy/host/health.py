"""Asking a web process how it is, on its own socket: before the proxy knows of it."""

import http.client
import json
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

PATIENCE_S = 10


class SocketConnection(http.client.HTTPConnection):
    """HTTP over the UNIX socket at `path`."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE_S)
        self.path = path

    def connect(self) -> None:
        """Connect, and give up after ten seconds."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(self.path)


def problem(path: str, settings: Mapping[str, str], *, full: bool) -> str:
    """What /readyz (with `full`: /readyz?full) finds wrong, or nothing."""
    connection = SocketConnection(path)
    name = urlsplit(settings.get("SITE_URL", "")).netloc or "localhost"
    try:
        connection.request("GET", "/readyz?full" if full else "/readyz", headers={"Host": name})
        answer = connection.getresponse()
        body = answer.read(65536)
    except (OSError, http.client.HTTPException) as error:
        return f"the web process does not answer ({type(error).__name__})"
    finally:
        connection.close()
    if answer.status == 200:
        return ""
    try:
        said = json.loads(body)
        wrong = {name: text for name, text in {**said["checks"], **said["behind"]}.items() if text != "ok"}
        return ", ".join(f"{name}: {text}" for name, text in wrong.items())
    except (ValueError, KeyError, AttributeError, TypeError):
        return f"the web process answers {answer.status}"
