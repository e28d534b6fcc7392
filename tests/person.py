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
    """Keeps cookies; `submit` gives the new prediction's id or raises with what the page said."""

    def __init__(self, base: str, name: str, password: str) -> None:
        self.base, self.name, self.password = base, name, password
        self.cookies = CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))

    def get(self, path: str) -> Answer:
        return self._open(urllib.request.Request(self.base + path))

    def post(self, path: str, fields: Mapping[str, str], token_from: str = "") -> Answer:
        """A form post with the token of the page at `token_from` (default: the same path)."""
        page = self.get(token_from or path).text
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
        data = {"csrfmiddlewaretoken": token.group(1) if token else "", **fields}
        return self._open(urllib.request.Request(self.base + path, urllib.parse.urlencode(data).encode()))

    def log_in(self) -> "Person":
        answer = self.post("/accounts/login/", {"username": self.name, "password": self.password})
        assert answer.status == 200, answer.text[:2000]
        assert "/accounts/login/" not in answer.url, answer.text[:2000]
        return self

    def submit(self, slug: str, **fields: str) -> uuid.UUID:
        answer = self.post(f"/models/{slug}/", {"_key": uuid.uuid4().hex, **fields})
        found = re.search(r"/predictions/([0-9a-f-]{36})/$", answer.url)
        if answer.status != 200 or not found:
            raise AssertionError(f"not accepted ({answer.status}): {answer.text[:3000]}")
        return uuid.UUID(found.group(1))

    def _open(self, request: urllib.request.Request) -> Answer:
        try:
            with self.opener.open(request, timeout=TIMEOUT_S) as response:
                return Answer(response.status, response.url, response.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.url, error.read().decode(errors="replace"))
