"""What a check finds: how bad it is, what it is, and what to do next."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """`next_step` is empty where nothing has to be done."""

    severity: Severity
    text: str
    next_step: str = ""
    check: str = ""

    def of(self, check: str) -> Finding:
        return dataclasses.replace(self, check=check)


Check = Callable[[], Iterator[Finding]]


def ok(text: str) -> Finding:
    return Finding(Severity.OK, text)


def note(text: str) -> Finding:
    return Finding(Severity.NOTE, text)


def warning(text: str, next_step: str) -> Finding:
    return Finding(Severity.WARNING, text, next_step)


def error(text: str, next_step: str) -> Finding:
    return Finding(Severity.ERROR, text, next_step)
