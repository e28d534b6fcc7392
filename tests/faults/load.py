"""A few people who submit and look, at random moments of a seed, over HTTP; what they see goes into the log."""

import http.client
import random
import re
import threading
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Sequence
from types import TracebackType

from tests.faults.history import ACCEPTED, NO_ANSWER, UNAVAILABLE, Poll, Recorder, Submit
from tests.person import Person
from tests.rows import FINAL

TIMEOUT_S = 15.0
ORDINARY = ("zoo-slow",) * 5 + ("zoo-ok",) * 3 + ("zoo-poison",) * 2
"""Which models, as often as they are named. "zoo-poison" is honest but for its poisons."""


class Visitor:
    """A logged-in person's open tab: one connection, their cookies and form token, nothing followed or loaded twice."""

    def __init__(self, person: Person) -> None:
        found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', person.get("/models/zoo-ok/").text)
        assert found, "no form on the model's page"
        self.token = found.group(1)
        handlers = vars(person.opener)["handlers"]
        (jar,) = [one.cookiejar for one in handlers if isinstance(one, urllib.request.HTTPCookieProcessor)]
        self.cookie = "; ".join(f"{cookie.name}={cookie.value}" for cookie in jar)
        self.name = person.name
        self.connection = http.client.HTTPConnection(urllib.parse.urlsplit(person.base).netloc, timeout=TIMEOUT_S)

    def submit(self, recorder: Recorder, slug: str, x: float, key: str = "") -> Submit:
        """Send the form once; the same `key` again is the same click again."""
        key = key or uuid.uuid4().hex
        fields = {"csrfmiddlewaretoken": self.token, "_key": key, "x": repr(x)}
        started = time.time()
        code, location, text = self._ask("POST", f"/models/{slug}/", urllib.parse.urlencode(fields))
        found = re.fullmatch(r"/predictions/([0-9a-f-]{36})/", location)
        ended = time.time()
        entry = Submit(
            ended, ended - started, key, slug, x, code, found.group(1) if found else "", trouble(code, text, found)
        )
        recorder.record(entry)
        return entry

    def look(self, recorder: Recorder, key: str, part: str = "status/") -> Poll:
        """Poll a prediction as its page does; with `part` "" load the whole page."""
        started = time.time()
        code, _, text = self._ask("GET", f"/predictions/{key}/{part}")
        found = re.search(r'class="status (\w+)"', text)
        ended = time.time()
        entry = Poll(
            ended,
            ended - started,
            key,
            code,
            found.group(1) if found else "",
            trouble(code, text, found or code != 200),
        )
        recorder.record(entry)
        return entry

    def close(self) -> None:
        self.connection.close()

    def _ask(self, method: str, path: str, body: str | None = None) -> tuple[int, str, str]:
        headers = {"Cookie": self.cookie}
        if body:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        for last in (False, True):
            is_reused = self.connection.sock is not None
            try:
                self.connection.request(method, path, body, headers)
                answer = self.connection.getresponse()
                return answer.status, answer.headers.get("Location", ""), answer.read().decode(errors="replace")
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                # A connection that was kept open may be closed by the server between two requests; browsers retry too.
                self.connection.close()
                if last or not is_reused:
                    break
            except (OSError, http.client.HTTPException):
                self.connection.close()
                break
        return NO_ANSWER, "", ""


def trouble(code: int, text: str, understood: object) -> str:
    """What no answer may ever be, whatever its code; empty if there is nothing to complain about."""
    if "Traceback (most recent call last)" in text:
        return "the page shows a stack trace"
    if code in (ACCEPTED, 200) and not understood:
        return f"an answer without sense: {text[:200]!r}"
    return ""


class Load:
    """`with Load(...)`: the visitors submit about `rate` a second in all and poll as often, until the block ends."""

    def __init__(
        self,
        visitors: Sequence[Visitor],
        recorder: Recorder,
        seed: str,
        *,
        rate: float = 20.0,
        poisons: Sequence[float] = (),
        at_most: int = 1000,
    ) -> None:
        self.recorder, self.seed, self.rate, self.poisons = recorder, seed, rate, poisons
        self.pause_s = len(visitors) / rate
        self.each = at_most // len(visitors)
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._visit, args=[one], name=one.name) for one in visitors]
        self._errors: list[BaseException] = []

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        if self._errors and error is None:
            raise self._errors[0]

    def _visit(self, visitor: Visitor) -> None:
        try:
            self._submit_and_look(visitor, random.Random(f"{self.seed} {visitor.name}"))
        except BaseException as error:  # noqa: BLE001 - raised again at the block's end
            self._errors.append(error)

    def _submit_and_look(self, visitor: Visitor, chance: random.Random) -> None:
        watched: list[str] = []
        due = time.monotonic()
        for number in range(self.each):
            due += chance.expovariate(1 / self.pause_s)
            if self._stopped.wait(max(due - time.monotonic(), 0)):
                return
            if key := self._submit(visitor, *self._choice(chance)):
                watched = [*watched[-20:], key]
            if watched:
                seen = chance.choice(watched)
                if visitor.look(self.recorder, seen, "" if number % 10 == 9 else "status/").status in FINAL:
                    watched.remove(seen)

    def _choice(self, chance: random.Random) -> tuple[str, float]:
        if self.poisons and chance.random() < 0.03:
            return "zoo-poison", chance.choice(self.poisons)
        return chance.choice(ORDINARY), round(chance.uniform(-3, 3), 3)

    def _submit(self, visitor: Visitor, slug: str, x: float) -> str:
        """As a person does who is told to try again in a few seconds: the same form, until it is taken."""
        sent = visitor.submit(self.recorder, slug, x)
        while sent.code in (UNAVAILABLE, NO_ANSWER) and not self._stopped.wait(0.5):
            sent = visitor.submit(self.recorder, slug, x, sent.key)
        return sent.id
