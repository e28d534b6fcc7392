"""The rows of an install, read from outside the site: what a checker believes."""

import sqlite3
import uuid
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.processes import SiteProcesses, wait_until

FINAL = ("succeeded", "failed", "canceled")


def query(site: SiteProcesses, text: str, *parameters: Any) -> list[dict[str, Any]]:
    """Rows of a SELECT; `%s` stands for a parameter on both engines."""
    if url := site.environment.get("DATABASE_URL"):
        with psycopg.connect(url, row_factory=dict_row, autocommit=True) as connection:
            return list(connection.execute(text, parameters))
    with sqlite3.connect(f"{site.environment['DATA_DIR']}/site.sqlite3", timeout=20) as connection:
        connection.row_factory = sqlite3.Row
        plain = [value.hex if isinstance(value, uuid.UUID) else value for value in parameters]
        return [dict(row) for row in connection.execute(text.replace("%s", "?"), plain)]


def prediction(site: SiteProcesses, key: uuid.UUID) -> dict[str, Any]:
    (row,) = query(site, "SELECT * FROM predictions_prediction WHERE id = %s", key)
    return row


def ended(site: SiteProcesses, key: uuid.UUID, timeout_s: float = 30) -> dict[str, Any]:
    """The prediction's row once it is terminal."""
    row: dict[str, Any] = {}

    def look() -> bool:
        row.update(prediction(site, key))
        return row["status"] in FINAL

    wait_until(look, timeout_s, lambda: f"{key} is {row.get('status')}:\n{site.logs()}")
    return row


def unfinished(site: SiteProcesses) -> int:
    """How many predictions are queued or running."""
    (row,) = query(site, "SELECT count(*) AS n FROM predictions_prediction WHERE status IN ('queued', 'running')")
    return int(row["n"])


def counter(site: SiteProcesses, name: str) -> int:
    found = query(site, "SELECT value FROM jobs_counter WHERE name = %s", name)
    return int(found[0]["value"]) if found else 0
