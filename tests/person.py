"""Somebody with an account who uses the site over HTTP, as a browser without JavaScript does."""

import re
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar

TIMEOUT_S = 15


@dataclass(frozen=True)
class Answer:
    """What the site answered: the final status, address and text after redirects."""

    status: int
    url: str
    text: str


class Person:
    """Keeps cookies; `submit` gives the new prediction's id or raises with what the page said.

    `handlers` are urllib's, for a site that cannot be reached by its name.
    """

    def __init__(self, base: str, name: str, password: str, *handlers: urllib.request.BaseHandler) -> None:
        self.base, self.name, self.password = base, name, password
        self.cookies = CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies), *handlers)
        self.opener.addheaders = [("Referer", f"{base}/")]  # as browsers do; Django asks for it over HTTPS

    def get(self, path: str) -> Answer:
        return self._open(urllib.request.Request(self.base + path))

    def read(self, path: str) -> bytes:
        with self.opener.open(self.base + path, timeout=TIMEOUT_S) as response:
            return bytes(response.read())

    def post(self, path: str, fields: Mapping[str, str], token_from: str = "") -> Answer:
        """A form post with the token of the page at `token_from` (default: the same path)."""
        data = {"csrfmiddlewaretoken": self._token(token_from or path), **fields}
        return self._open(urllib.request.Request(self.base + path, urllib.parse.urlencode(data).encode()))

    def submit_file(self, slug: str, field: str, name: str, content: bytes) -> uuid.UUID:
        """Send a form with one file, as a browser does."""
        page = f"/models/{slug}/"
        fields = {"csrfmiddlewaretoken": self._token(page), "_key": uuid.uuid4().hex}
        boundary = uuid.uuid4().hex
        parts = [f'name="{key}"\r\n\r\n{value}'.encode() for key, value in fields.items()]
        parts.append(f'name="{field}"; filename="{name}"\r\nContent-Type: image/png\r\n\r\n'.encode() + content)
        start = f"--{boundary}\r\nContent-Disposition: form-data; ".encode()
        body = b"".join(start + part + b"\r\n" for part in parts) + f"--{boundary}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        return _accepted(self._open(urllib.request.Request(self.base + page, body, headers)))

    def log_in(self) -> "Person":
        answer = self.post("/accounts/login/", {"username": self.name, "password": self.password})
        assert answer.status == 200, answer.text[:2000]
        assert "/accounts/login/" not in answer.url, answer.text[:2000]
        return self

    def submit(self, slug: str, **fields: str) -> uuid.UUID:
        return _accepted(self.post(f"/models/{slug}/", {"_key": uuid.uuid4().hex, **fields}))

    def _token(self, path: str) -> str:
        found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', self.get(path).text)
        return found.group(1) if found else ""

    def _open(self, request: urllib.request.Request) -> Answer:
        try:
            with self.opener.open(request, timeout=TIMEOUT_S) as response:
                return Answer(response.status, response.url, response.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.url, error.read().decode(errors="replace"))


def _accepted(answer: Answer) -> uuid.UUID:
    found = re.search(r"/predictions/([0-9a-f-]{36})/$", answer.url)
    if answer.status != 200 or not found:
        raise AssertionError(f"not accepted ({answer.status}): {answer.text[:3000]}")
    return uuid.UUID(found.group(1))
