"""What people saw, kept in a file outside the system, and the checker that holds it against the rows afterwards.

The log has one JSON object a line: every submit (what was sent, the id or the refusal), every poll (the status that
was shown), and the events that excuse a refusal ("database_down", "database_up"). A fault test without the checker
would prove nothing: whatever a test breaks, `violations` must find nothing.
"""

import json
import math
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests import zoo
from tests.rows import FINAL

ACCEPTED = 302
NO_ANSWER = 0
UNAVAILABLE = 503
POISONS = {
    zoo.POISON_SEGV: "worker_crashed",
    zoo.POISON_EXIT: "worker_crashed",
    zoo.POISON_RAISE: "raised",
    zoo.POISON_HANG: "timeout",
    zoo.POISON_OOM: "out_of_memory",
    zoo.POISON_NAN: "bad_output",
}


@dataclass(frozen=True)
class Submit:
    """One POST: `id` where it was accepted, else empty; `code` 0: no answer at all. `at` is its end, `s` how long."""

    at: float
    s: float
    key: str
    slug: str
    x: float
    code: int
    id: str
    trouble: str = ""


@dataclass(frozen=True)
class Poll:
    """One look at a prediction's page; `status` is what it said, empty where the page was refused."""

    at: float
    s: float
    id: str
    code: int
    status: str
    trouble: str = ""


@dataclass(frozen=True)
class Event:
    """Something that a test did."""

    at: float
    name: str


Entry = Submit | Poll | Event
_KINDS: dict[str, type[Submit] | type[Poll] | type[Event]] = {"submit": Submit, "poll": Poll, "event": Event}


class Recorder:
    """Appends to the log; every line is with the operating system before `record` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("a")
        self._lock = threading.Lock()

    def record(self, entry: Entry) -> None:
        line = json.dumps({"what": type(entry).__name__.lower(), **asdict(entry)})
        with self._lock:
            self._file.write(line + "\n")
            self._file.flush()

    def event(self, name: str) -> None:
        self.record(Event(time.time(), name))

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> list[Entry]:
    """The log as it stands in the file."""
    entries: list[Entry] = []
    for line in path.read_text().splitlines():
        fields = json.loads(line)
        entries.append(_KINDS[fields.pop("what")](**fields))
    return entries


def submits(entries: Iterable[Entry]) -> list[Submit]:
    return [entry for entry in entries if isinstance(entry, Submit)]


def polls(entries: Iterable[Entry]) -> list[Poll]:
    return [entry for entry in entries if isinstance(entry, Poll)]


def accepted(entries: Iterable[Entry]) -> dict[str, Submit]:
    """The accepted submits by id."""
    return {entry.id: entry for entry in submits(entries) if entry.code == ACCEPTED}


def times(entries: Iterable[Entry], first: str, last: str) -> list[tuple[float, float]]:
    """The spans between the events `first` and `last`; one that has no end yet lasts for ever."""
    spans: list[tuple[float, float]] = []
    for entry in entries:
        if isinstance(entry, Event) and entry.name == first:
            spans.append((entry.at, math.inf))
        elif isinstance(entry, Event) and entry.name == last:
            spans[-1] = (spans[-1][0], entry.at)
    return spans


def violations(
    entries: Sequence[Entry], rows: Sequence[Mapping[str, Any]], outcomes: Sequence[Mapping[str, Any]]
) -> list[str]:
    """What the promise does not allow, one sentence each.

    `rows` are the predictions of the scenario after recovery; `outcomes` has one line per UPDATE that completed one,
    written by a trigger of the tests.
    """
    return [
        *_refusals(entries),
        *_polls(entries, rows),
        *_rows(entries, rows),
        *_outcomes(rows, outcomes),
    ]


def _refusals(entries: Sequence[Entry]) -> Iterator[str]:
    """A valid input is taken, or the site says 503 while the database is away."""
    away = times(entries, "database_down", "database_up")
    for entry in entries:
        if isinstance(entry, Event):
            continue
        what = f"{type(entry).__name__.lower()} of {entry.id or entry.key if isinstance(entry, Submit) else entry.id}"
        if entry.trouble:
            yield f"{what}: {entry.trouble}"
        is_excused = any(start <= entry.at and entry.at - entry.s <= end for start, end in away)
        if entry.code not in (ACCEPTED if isinstance(entry, Submit) else 200, UNAVAILABLE if is_excused else None):
            yield f"{what} was answered {entry.code or 'not at all'} after {entry.s:.2f} s"


def _polls(entries: Sequence[Entry], rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A terminal status that somebody saw is the row's, for ever."""
    final_of = {str(row["id"]): row["status"] for row in rows}
    for poll in polls(entries):
        if poll.status in FINAL and final_of.get(poll.id) != poll.status:
            yield f"{poll.id} was shown as {poll.status} and is {final_of.get(poll.id, 'gone')}"


def _rows(entries: Sequence[Entry], rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Every accepted id is there, every row is terminal and right, one row per thing that was sent."""
    row_of = {str(row["id"]): row for row in rows}
    taken = accepted(entries)
    yield from (f"{key} was accepted and is gone" for key in taken if key not in row_of)
    for key, row in row_of.items():
        x = taken[key].x if key in taken else row["inputs"][0]["x"]
        if row["inputs"] != [{"x": x}]:
            yield f"{key} holds {row['inputs']}, sent was {x}"
        elif row["status"] not in FINAL:
            yield f"{key} is {row['status']} (attempts {row['attempts']}, lost {row['lost']})"
        else:
            yield from _result(key, x, row)
    ids_of: dict[str, set[str]] = defaultdict(set)
    for key, entry in taken.items():
        ids_of[entry.key].add(key)
    yield from (f"one form became {sorted(ids)}" for ids in ids_of.values() if len(ids) > 1)
    if len(rows) > (sent := len({entry.key for entry in submits(entries)})):
        yield f"{len(rows)} rows came of {sent} forms"


def _result(key: str, x: float, row: Mapping[str, Any]) -> Iterator[str]:
    """A poison fails for its reason; everybody else succeeds with what the honest model answers."""
    reason = POISONS.get(x) if row["slug"] == "zoo-poison" else None
    if (row["status"], row["reason_code"]) != ("failed" if reason else "succeeded", reason or ""):
        yield f"{key} (x = {x}) {row['status']} {row['reason_code']} {row['error']}"
    elif not reason and not _equals(row["outputs"], x):
        yield f"{key} (x = {x}) answered {row['outputs']}"


def _equals(outputs: Any, x: float) -> bool:
    right = zoo.expected(x)
    return (
        len(outputs) == 1
        and outputs[0]["label"] == right["label"]
        and all(
            math.isclose(outputs[0]["probabilities"][name], value, rel_tol=1e-5, abs_tol=1e-7)
            for name, value in right["probabilities"].items()
        )
    )


def _outcomes(rows: Sequence[Mapping[str, Any]], outcomes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A terminal row was made so exactly once."""
    count: dict[uuid.UUID, int] = defaultdict(int)
    for outcome in outcomes:
        count[outcome["id"]] += 1
    for row in rows:
        if row["status"] in FINAL and count[row["id"]] != 1:
            yield f"{row['id']} has {count[row['id']]} recorded outcomes"
