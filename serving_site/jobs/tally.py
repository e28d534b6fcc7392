"""Totals for monitoring: added up in memory, and by a thread of each process into the database once a second.

So whoever does the work never waits for its counting, rows of the database hold the sum of every process (also of those
that have ended), and a scrape reads a few hundred rows however long the history is. A process that is killed loses the
counts of its last second. Nothing is counted where METRICS is off.
"""

import atexit
import json
import os
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection, transaction

from serving_site.jobs import sql
from serving_site.jobs.models import Tally

log = structlog.get_logger(__name__)
WRITE_S = 1.0
BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
LAST = "+Inf"
BOUNDS = (*map(str, BOUNDS_S), LAST)
SUM = "sum"

Key = tuple[str, tuple[str, ...]]
FAMILIES: dict[str, "Total | Times"] = {}


@dataclass(frozen=True)
class Total:
    """A number that only grows, one for each combination of the labels' values."""

    name: str
    help: str
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        FAMILIES[self.name] = self

    def add(self, *values: str, by: float = 1) -> None:
        _add([((self.name, values), by)])


@dataclass(frozen=True)
class Times:
    """How many of the measured durations fell between which bounds, and the sum of all."""

    name: str
    help: str
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        FAMILIES[self.name] = self

    def observe(self, seconds: float, *values: str) -> None:
        self.observe_all([seconds], *values)

    def observe_all(self, durations_s: Sequence[float], *values: str) -> None:
        """Many at once, for a fraction of what one by one costs."""
        found = Counter(bisect_left(BOUNDS_S, seconds) for seconds in durations_s)
        counted: list[tuple[Key, float]] = [((self.name, (*values, BOUNDS[at])), many) for at, many in found.items()]
        _add([*counted, ((self.name, (*values, SUM)), sum(durations_s))])


class Writer:
    """What one process has counted and not yet written."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.pending: dict[Key, float] = {}
        self.lock = threading.Lock()
        self.has_news = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="tally", daemon=True).start()
        atexit.register(self.write)

    def add(self, counted: Iterable[tuple[Key, float]]) -> None:
        with self.lock:
            for key, by in counted:
                self.pending[key] = self.pending.get(key, 0) + by
        self.has_news.set()

    def write(self) -> None:
        """Add what is pending to the database's rows; while that is away it stays pending."""
        if os.getpid() != self.pid:
            return
        with self.lock:
            counted, self.pending = self.pending, {}
        try:
            _write(counted)
        except (DatabaseError, InterfaceError) as error:
            log.warning("tally_waits", error=str(error).strip()[:200])
            connection.close()
            self.add(counted.items())

    def _run(self) -> None:
        while True:
            self.has_news.wait()
            time.sleep(WRITE_S)
            self.has_news.clear()
            self.write()


_writer: Writer | None = None
_starting = threading.Lock()


def _add(counted: list[tuple[Key, float]]) -> None:
    global _writer  # noqa: PLW0603 - one per process, started after fork
    if not settings.METRICS:
        return
    with _starting:
        if _writer is None or _writer.pid != os.getpid():
            _writer = Writer()
            _writer.start()
    _writer.add(counted)


def _write(counted: dict[Key, float]) -> None:
    """One statement in the order of the keys, so that two processes never wait for each other in a circle."""
    rows: list[list[Any]] = [[name, json.dumps(labels), by] for (name, labels), by in sorted(counted.items())]
    if not rows:
        return
    table = Tally._meta.db_table
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SELECT {sql.relax_commit()}")
        cursor.execute(
            f"INSERT INTO {table} (name, labels, value) VALUES {sql.value_rows(rows)} "
            f"ON CONFLICT (name, labels) DO UPDATE SET value = {table}.value + excluded.value",
            [value for row in rows for value in row],
        )


def written() -> dict[str, dict[tuple[str, ...], float]]:
    """By family: the totals of all processes, by the labels' values."""
    found: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in FAMILIES}
    for name, labels, value in Tally.objects.values_list("name", "labels", "value"):
        found.setdefault(name, {})[tuple(json.loads(labels))] = value
    return found
