"""Where the machines of a lab get packages from: each .deb and wheel comes to this machine once.

Two things over HTTP, on one port: a proxy for apt that keeps every .deb it has seen, and the wheels of `requirements/`,
which this machine's own pip has fetched in the way it is configured to. Machines are pointed to them by `/etc/apt` and
`/etc/pip.conf`, as an administrator would; what is installed on them knows nothing of it. The server is a program that
needs the standard library only: `depot.py ADDRESS PORT DEBS WHEELS`.
"""

import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from email.message import Message
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

PORT = 3142
PASSED_ON = ("If-Modified-Since", "Range", "If-Range", "Cache-Control", "User-Agent", "Accept")


class Shelf(SimpleHTTPRequestHandler):
    """Lists and gives wheels; fetches for apt, whose requests name a whole address."""

    protocol_version = "HTTP/1.1"

    def __init__(self, *arguments: Any, debs: Path, wheels: Path) -> None:
        self.debs = debs
        super().__init__(*arguments, directory=str(wheels))

    def do_GET(self) -> None:
        if not self.path.startswith("http://"):
            super().do_GET()
        elif not self.path.endswith(".deb"):
            self._pass_through()
        else:
            self._give_deb()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
        """Errors only."""

    def _pass_through(self) -> None:
        answer, status, headers = self._ask()
        with answer:
            body = b"" if status == 304 else answer.read()
        self._begin(status, headers, len(body))
        self.wfile.write(body)

    def _give_deb(self) -> None:
        place = self.debs / quote(self.path, safe="")
        if not place.exists():
            answer, status, headers = self._ask(whole=True)
            with answer, tempfile.NamedTemporaryFile(dir=self.debs, delete=False) as unfinished:
                shutil.copyfileobj(answer, unfinished)
            if status != 200:
                body = Path(unfinished.name).read_bytes()
                Path(unfinished.name).unlink()
                self._begin(status, headers, len(body))
                self.wfile.write(body)
                return
            Path(unfinished.name).rename(place)
        with place.open("rb") as deb:
            self._begin(200, Message(), place.stat().st_size)
            shutil.copyfileobj(deb, self.wfile)

    def _ask(self, *, whole: bool = False) -> tuple[IO[bytes], int, Message]:
        headers = {} if whole else {name: self.headers[name] for name in PASSED_ON if name in self.headers}
        request = urllib.request.Request(self.path, headers=headers)
        try:
            answer = urllib.request.urlopen(request, timeout=60)
            return answer, answer.status, answer.headers
        except urllib.error.HTTPError as error:
            return error, error.code, error.headers

    def _begin(self, status: int, headers: Message, length: int) -> None:
        self.send_response(status)
        for name in ("Last-Modified", "Content-Type", "Content-Range", "ETag"):
            if name in headers:
                self.send_header(name, headers[name])
        self.send_header("Content-Length", str(length))
        self.end_headers()


def apt_configuration(address: str) -> str:
    """A file of apt.conf.d for a machine that reaches the depot at `address`."""
    return f'Acquire::http::Proxy "http://{address}:{PORT}";\nAcquire::https::Proxy "DIRECT";\n'


def pip_configuration(address: str) -> str:
    """A pip.conf for a machine that reaches the depot at `address`."""
    return f"[global]\nno-index = true\nfind-links = http://{address}:{PORT}/\ntrusted-host = {address}\n"


def fetch_wheels(requirements: Path, target: Path) -> None:
    """Download what the files pin into `target`; pip's own configuration says from where."""
    pip = [sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check", "download", "--dest", str(target)]
    for pinned in sorted(requirements.glob("*.txt")):
        if pinned.name not in ("dev.txt", "torch.txt"):
            subprocess.run([*pip, "--require-hashes", "--requirement", pinned], check=True, timeout=600)
    subprocess.run([*pip, "--find-links", target, "--requirement", requirements / "torch.txt"], check=True, timeout=600)


def main(address: str, port: str, debs: str, wheels: str) -> None:
    """Serve until killed."""
    handler = partial(Shelf, debs=Path(debs), wheels=Path(wheels))
    ThreadingHTTPServer((address, int(port)), handler).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
