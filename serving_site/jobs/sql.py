"""What differs between PostgreSQL and SQLite in our own SQL, each in one named place, and how values cross.

Everything else is one text for both engines (`UPDATE … FROM (VALUES …) RETURNING` works on both).
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection, models

SQLITE_TIME = "replace('@Y-@m-@d @H:@M:@f000', '@', char(37))"
"""Django's format of a time, without a percent sign: what its drivers and its debug log make of one depends on whether
the statement has parameters."""


def is_postgres() -> bool:
    return bool(connection.vendor == "postgresql")


def skip_locked() -> str:
    """SQLite has one writer at a time (transactions are IMMEDIATE), so nothing is ever locked by another."""
    return "FOR UPDATE SKIP LOCKED" if is_postgres() else ""


def clock(plus_s: int = 0) -> str:
    """The database's clock, which alone decides leases and order; SQLite's text is in Django's format."""
    if is_postgres():
        return f"(clock_timestamp() + interval '{plus_s} seconds')"
    return f"strftime({SQLITE_TIME}, 'now', '{plus_s:+d} seconds')"


def greatest() -> str:
    return "GREATEST" if is_postgres() else "MAX"


def relax_commit() -> str:
    """An expression that lets the transaction in which it is computed commit without a flush, on PostgreSQL.

    For claims: one that a crash forgets is only run again, and the fence keeps the outcome single.
    """
    return "set_config('synchronous_commit', 'off', true)" if is_postgres() else "NULL"


def returning_told(update: str, columns: str, channel: str, limit: int, instead: str) -> str:
    """`update`, an UPDATE without RETURNING, that returns `columns` of what it changed and, on PostgreSQL, notifies.

    `columns` begin with the id. The payload holds the ids, or `instead` where there are more than `limit`.
    """
    if not is_postgres():
        return f"{update} RETURNING {columns}"
    return (
        f"WITH changed AS ({update} RETURNING {columns}), told AS (SELECT pg_notify('{channel}', "
        f"CASE WHEN count(*) <= {limit} THEN string_agg(CAST(id AS text), ',') ELSE '{instead}' END) "
        f"FROM changed HAVING count(*) > 0) SELECT {columns} FROM changed, told"
    )


def try_lock(number: int) -> str:
    return f"SELECT pg_try_advisory_xact_lock({number})" if is_postgres() else "SELECT 1"


def placeholders(count: int) -> str:
    return ", ".join(["%s"] * count)


def keys(ids: Sequence[uuid.UUID]) -> list[Any]:
    """`ids` as the driver wants them."""
    key = models.UUIDField()
    return [key.get_db_prep_save(each, connection) for each in ids]


def value_row(model: type[models.Model], key: uuid.UUID, values: Mapping[str, Any]) -> list[Any]:
    """One row of a VALUES list: the key, then the model's `values` as the driver wants them, in their order."""
    fields = [model._meta.get_field(name) for name in values]
    prepared = (field.get_db_prep_save(values[field.name], connection) for field in fields)  # type: ignore[union-attr]
    return [*keys([key]), *prepared]


def update_from(model: type[models.Model], names: Sequence[str]) -> str:
    """`name = CAST(v.columnN AS type), …` for columns 2, 3, … of a VALUES list named v (column1 is the key)."""
    fields = [model._meta.get_field(name) for name in names]
    return ", ".join(
        f"{field.column} = CAST(v.column{number} AS {field.db_type(connection)})"  # type: ignore[union-attr]
        for number, field in enumerate(fields, start=2)
    )


def now() -> datetime.datetime:
    """The database clock's present time."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {clock()}")
        return read_time(cursor.fetchone()[0])


def read_time(value: Any) -> datetime.datetime:
    """A timestamp as the raw cursor gave it, aware and in UTC."""
    if isinstance(value, str):
        value = datetime.datetime.fromisoformat(value)
    read: datetime.datetime = value if value.tzinfo else value.replace(tzinfo=datetime.UTC)
    return read


def key_type() -> str:
    return str(models.UUIDField().db_type(connection))


def value_rows(rows: Sequence[Sequence[Any]]) -> str:
    """The placeholders of a VALUES list, one parenthesis per row."""
    return ", ".join(f"({placeholders(len(row))})" for row in rows)
