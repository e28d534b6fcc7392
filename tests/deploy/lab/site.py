"""A deployed site as people meet it: over HTTP(S) under its own name, wherever that name would resolve to.

For example:

    def test_an_update_fails_no_request(host):
        site = Site("https://models.example.org", host.address)
        site.await_ready()
        ada = site.person("ada", password).log_in()
        site.predict(ada)
        with Load(site, [ada], rate=10) as load:
            update()
        assert load.failures == []
"""

import http.client
import json
import re
import socket
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Sequence
from html.parser import HTMLParser
from types import TracebackType
from typing import Any

from tests.person import Person
from tests.processes import wait_until

FINAL = ("succeeded", "failed", "canceled")
MODEL = "diabetes-progression"
NO_ANSWER = 0


class Site:
    """One site: `url` is how people write it, `address` the machine to ask, `port` another than the scheme's own."""

    def __init__(self, url: str, address: str, port: int | None = None) -> None:
        self.url, self.address, self.port = url.rstrip("/"), address, port
        self._opener = urllib.request.build_opener(*self.handlers())

    def handlers(self) -> list[urllib.request.BaseHandler]:
        return [_Plainly(self.address, self.port), _Securely(self.address, self.port)]

    def person(self, name: str, password: str) -> Person:
        """Somebody with a browser of their own, not logged in yet."""
        return Person(self.url, name, password, *self.handlers())

    def ready(self, path: str = "/readyz?full") -> tuple[int, dict[str, Any]]:
        """What the site says of its health: the status (0: no answer) and the JSON."""
        try:
            with self._opener.open(self.url + path, timeout=20) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                text = error.read().decode(errors="replace")
            return error.code, json.loads(text) if text.startswith("{") else {"text": text}
        except OSError as error:
            return NO_ANSWER, {"text": str(error)}

    def await_ready(self, timeout_s: float = 60, path: str = "/readyz?full") -> None:
        """Wait until web, database, broker and a worker answer."""
        wait_until(lambda: self.ready(path)[0] == 200, timeout_s, lambda: f"{self.url}{path}: {self.ready(path)}")

    def set_password(self, link: str, name: str, password: str) -> Person:
        """Follow a link that lets a new person choose a password; returns them, logged in."""
        person = self.person(name, password)
        path = urllib.parse.urlsplit(person.get(urllib.parse.urlsplit(link).path).url).path
        answer = person.post(path, {"new_password1": password, "new_password2": password})
        assert answer.status == 200, answer.text[:2000]
        return person.log_in()

    def submit(self, person: Person, slug: str = MODEL) -> uuid.UUID:
        """Send the model's own first example."""
        return person.submit(slug, **example(person, slug))

    def status(self, person: Person, key: uuid.UUID) -> str:
        """The state of a prediction, as its page polls it; empty when the page did not say."""
        found = re.search(r'class="status (\w+)"', person.get(f"/predictions/{key}/status/").text)
        return found.group(1) if found else ""

    def await_outcome(self, person: Person, key: uuid.UUID, timeout_s: float = 60) -> str:
        """Poll a prediction to its end; returns its final state."""
        wait_until(lambda: self.status(person, key) in FINAL, timeout_s, lambda: f"{key}: {self.status(person, key)}")
        return self.status(person, key)

    def predict(self, person: Person, slug: str = MODEL, timeout_s: float = 60) -> uuid.UUID:
        """Submit and poll to the end; fails unless the prediction succeeded."""
        key = self.submit(person, slug)
        outcome = self.await_outcome(person, key, timeout_s)
        assert outcome == "succeeded", f"{key} {outcome}: {person.get(f'/predictions/{key}/').text[:3000]}"
        return key


def example(person: Person, slug: str) -> dict[str, str]:
    """What a model's form holds when it is opened with its first example."""
    page = _Form()
    answer = person.get(f"/models/{slug}/?example=0")
    assert answer.status == 200, f"{answer.status}: {answer.text[:1000]}"
    page.feed(answer.text)
    return {name: value for name, value in page.fields.items() if not name.startswith(("_", "csrf"))}


class Load:
    """`with Load(site, people, rate=10)`: people open pages, submit and poll, `rate` requests a second in all.

    Afterwards `requests` is how many there were, `failures` those that no person should see, with the time since the
    start, and `accepted` the predictions that the site has promised. A person who fails is not tried again.
    """

    def __init__(self, site: Site, people: Sequence[Person], *, rate: float = 10.0, slug: str = MODEL) -> None:
        self.site, self.people, self.slug = site, people, slug
        self.pause_s = len(people) / rate
        self.requests = 0
        self.failures: list[tuple[float, str, str]] = []
        self.accepted: dict[uuid.UUID, Person] = {}
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._visit, args=[one]) for one in people]

    def __enter__(self) -> "Load":
        self._began = time.monotonic()
        self._fields = example(self.people[0], self.slug)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def outcomes(self, timeout_s: float = 60) -> dict[str, int]:
        """Wait until all that was accepted has ended; how many ended how."""
        counts: dict[str, int] = {}
        for key, person in self.accepted.items():
            outcome = self.site.await_outcome(person, key, timeout_s)
            counts[outcome] = counts.get(outcome, 0) + 1
        return counts

    def _visit(self, person: Person) -> None:
        due = time.monotonic()
        keys: list[uuid.UUID] = []
        turn = 0
        while not self._over.wait(max(due - time.monotonic(), 0)):
            due += self.pause_s
            what = ("submit", "status", "home", "status")[turn % 4]
            turn += 1
            try:
                self._act(person, what, keys)
            except (OSError, http.client.HTTPException, AssertionError) as error:
                with self._lock:
                    self.failures.append((round(time.monotonic() - self._began, 2), what, f"{error!r:.400}"))
            with self._lock:
                self.requests += 1

    def _act(self, person: Person, what: str, keys: list[uuid.UUID]) -> None:
        if what == "submit":
            key = person.submit(self.slug, **self._fields)
            keys.append(key)
            with self._lock:
                self.accepted[key] = person
            return
        path = f"/predictions/{keys[-1]}/status/" if what == "status" and keys else "/"
        answer = person.get(path)
        assert answer.status == 200, f"{path}: {answer.status}: {answer.text[:300]}"
        assert "/accounts/login/" not in answer.url, f"{path}: logged out"


class _Form(HTMLParser):
    """Collects the fields of a page: inputs, chosen options, text areas."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self._select = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        name = given.get("name", "")
        if tag == "select":
            self._select = name
        elif tag == "option" and self._select and ("selected" in given or self._select not in self.fields):
            self.fields[self._select] = given.get("value", "")
        elif tag == "input" and name and given.get("type") not in ("checkbox", "radio", "file", "submit"):
            self.fields[name] = given.get("value", "")
        elif tag == "input" and name and "checked" in given:
            self.fields[name] = given.get("value", "on")

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._select = ""


def _towards(address: str, port: int | None) -> Any:
    """A stand-in for name resolution: every connection goes to one machine."""

    def connect(place: tuple[str, int], *options: Any) -> socket.socket:
        return socket.create_connection((address, port or place[1]), *options)

    return connect


class _Plainly(urllib.request.HTTPHandler):
    def __init__(self, address: str, port: int | None) -> None:
        super().__init__()
        self.connect = _towards(address, port)

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connection, request)

    def _connection(self, host: str, /, **options: Any) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(host, **options)
        connection._create_connection = self.connect  # type: ignore[attr-defined]
        return connection


class _Securely(urllib.request.HTTPSHandler):
    """Takes any certificate: the first one of an installation is signed by itself."""

    def __init__(self, address: str, port: int | None) -> None:
        super().__init__()
        self.connect = _towards(address, port)
        self.trusting = ssl.create_default_context()
        self.trusting.check_hostname = False
        self.trusting.verify_mode = ssl.CERT_NONE

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connection, request)

    def _connection(self, host: str, /, **options: Any) -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection(host, context=self.trusting, **options)
        connection._create_connection = self.connect  # type: ignore[attr-defined]
        return connection
