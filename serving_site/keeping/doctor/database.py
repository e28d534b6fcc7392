"""The database: whether it answers, is the one that this code expects, and has room for connections."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from serving_site.jobs.sql import is_postgres
from serving_site.keeping.doctor.configuration import HERE
from serving_site.keeping.doctor.findings import Finding, error, ok, warning

NEARLY_ALL = 0.8


def answers() -> Iterator[Finding]:
    """Whether it can be reached, and how."""
    try:
        connection.ensure_connection()
    except DatabaseError as failure:
        told = (str(failure).strip().splitlines() or [type(failure).__name__])[0]
        yield error(f"The database does not answer: {told}", _advice(told))
        return
    if not is_postgres():
        yield from _sqlite()
        return
    version, is_super, has_tls = _row(
        "SELECT current_setting('server_version'), (SELECT rolsuper FROM pg_roles WHERE rolname = current_user), "
        "coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false)"
    )
    connection.check_database_version_supported()
    if is_super:
        yield warning(
            "The site's role is a superuser of the database: a hole in the site would be one in all of it.",
            "Make a role without SUPERUSER that owns the site's database, and name it in DATABASE_URL.",
        )
    host = str(connection.settings_dict["HOST"])
    if host and not host.startswith("/") and host not in HERE and not has_tls:
        yield warning(f"The connection to {host} is not encrypted.", "Append ?sslmode=require to DATABASE_URL.")
    yield ok(f"PostgreSQL {version.split()[0]} answers.")


def _sqlite() -> Iterator[Finding]:
    (mode,) = _row("PRAGMA journal_mode")
    if mode not in ("wal", "memory"):
        yield error(
            f"SQLite keeps its journal as {mode}: readers and the writer stop each other.",
            "Put DATA_DIR onto a local disk: WAL does not work on a network file system.",
        )
    yield ok("SQLite answers.")


def _advice(told: str) -> str:
    if "password" in told or "authentication" in told:
        return "Check user and password in DATABASE_URL, and pg_hba.conf of the server."
    if "does not exist" in told:
        return "Create the database and role that DATABASE_URL names."
    if "unable to open" in told:
        return f"Check that {settings.DATA_DIR} is there and belongs to the site's user."
    return "Check that the server runs (systemctl status postgresql) and that DATABASE_URL names its host and port."


def migrations_are_applied() -> Iterator[Finding]:
    """In both directions: the code may be behind the database too."""
    executor = MigrationExecutor(connection)
    waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if waiting:
        names = ", ".join(str(one) for one, _ in waiting[:3])
        yield error(f"{len(waiting)} migrations are not applied: {names}.", "Run `manage.py migrate`.")
    unknown = sorted(set(executor.loader.applied_migrations) - set(executor.loader.disk_migrations))
    if unknown:
        app, name = unknown[0]
        yield warning(
            f"The database is ahead of this code: it has {name} of {app}, which this code does not know.",
            "Nothing to do after a roll-back; otherwise install the release that brought it.",
        )
    if not waiting and not unknown:
        yield ok("All migrations are applied.")


def has_connections_left() -> Iterator[Finding]:
    if not is_postgres():
        yield ok("SQLite has no limit of connections.")
        return
    used, most = _row(
        "SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' OR backend_type IS NULL), "
        "current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
    )
    told = f"{used} of {most} connections are in use"
    if used >= most * NEARLY_ALL:
        yield warning(f"{told}.", "Raise max_connections of the server, or run fewer workers and WEB_THREADS.")
    else:
        yield ok(f"{told}.")


def _row(statement: str) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return tuple(cursor.fetchone())
