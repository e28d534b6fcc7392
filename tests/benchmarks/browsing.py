"""People at a fixed pace, with as little of their own cost as possible: one connection kept open, no page parsed."""

import http.client
import re
import threading
import time
import urllib.parse
import uuid
from urllib.parse import urlsplit

from mlmodels import training
from tests.person import Person


class Browser:
    """One kept connection with the cookies of a person who has logged in."""

    def __init__(self, base: str, person: Person) -> None:
        self.connection = http.client.HTTPConnection(urlsplit(base).netloc, timeout=20)
        self.headers = {"Cookie": "; ".join(f"{cookie.name}={cookie.value}" for cookie in person.cookies)}
        self.token = ""

    def get(self, path: str) -> str:
        self.connection.request("GET", path, headers=self.headers)
        response = self.connection.getresponse()
        return response.read().decode()

    def submit(self, slug: str, fields: dict[str, str]) -> None:
        """Post the form; raises unless the site leads on to the new prediction."""
        if not self.token:
            found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', self.get(f"/models/{slug}/"))
            assert found
            self.token = found.group(1)
        body = urllib.parse.urlencode({"csrfmiddlewaretoken": self.token, "_key": uuid.uuid4().hex, **fields})
        form = {"Content-Type": "application/x-www-form-urlencoded", **self.headers}
        self.connection.request("POST", f"/models/{slug}/", body, form)
        response = self.connection.getresponse()
        text = response.read()
        if response.status != 302:
            raise AssertionError(f"not accepted ({response.status}): {text.decode()[:2000]}")


def paced(
    base: str, people: list[Person], slug: str, fields: dict[str, str], *, per_s: int, seconds: int
) -> list[float]:
    """Submits at a fixed pace from eight connections; milliseconds of each, counted from when it was due."""
    due = [number / per_s for number in range(per_s * seconds)]
    latencies: list[float] = []
    lock = threading.Lock()
    browsers = [Browser(base, people[number % len(people)]) for number in range(8)]
    for browser in browsers:
        browser.submit(slug, fields)
    started = time.perf_counter()

    def work(browser: Browser) -> None:
        while True:
            with lock:
                if not due:
                    return
                at = due.pop(0)
            time.sleep(max(0.0, started + at - time.perf_counter()))
            browser.submit(slug, fields)
            with lock:
                latencies.append((time.perf_counter() - started - at) * 1000)

    threads = [threading.Thread(target=work, args=(browser,)) for browser in browsers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return latencies


def bare_model(slug: str, fields: dict[str, str], seconds: float = 2.0) -> float:
    """Rows per second of the model alone, one by one, in this process."""
    import torch

    trained = training.train(training.own_data(slug))
    torch.set_num_threads(1)
    row = {name: float(value) for name, value in fields.items()}
    module = trained.module.eval()
    count, until = 0, time.perf_counter() + seconds
    with torch.inference_mode():
        while time.perf_counter() < until:
            module.predict([row])
            count += 1
    return count / seconds
