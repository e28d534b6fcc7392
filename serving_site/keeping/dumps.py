"""The database as one file, and back: PostgreSQL by its own programs, SQLite by its online backup.

A password goes into the environment of these programs, never onto a command line.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from django.db import connection, transaction

from serving_site.jobs.sql import is_postgres
from serving_site.keeping.named import named_files

VARIABLES = {
    "host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE",
    "passfile": "PGPASSFILE", "service": "PGSERVICE", "sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY", "connect_timeout": "PGCONNECT_TIMEOUT",
}  # fmt: skip
DROP_EVERYTHING = """
BEGIN;
SET LOCAL lock_timeout = '10s';
DO $$ DECLARE one record; BEGIN
  FOR one IN SELECT oid::regclass AS name FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') LOOP
    EXECUTE format('DROP TABLE %s CASCADE', one.name);
  END LOOP;
  FOR one IN SELECT p.oid::regprocedure AS name FROM pg_proc p
    WHERE p.pronamespace = current_schema()::regnamespace
    AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e') LOOP
    EXECUTE format('DROP FUNCTION %s CASCADE', one.name);
  END LOOP;
END $$;
"""


class Failed(Exception):
    """The database cannot be dumped or loaded; the message says why, and nothing was changed."""


def engine() -> str:
    return "postgresql" if is_postgres() else "sqlite"


def member_name() -> str:
    """What the dump is called in an archive."""
    return "database.pgdump" if is_postgres() else "database.sqlite3"


def dump(target: Path, named: IO[bytes]) -> None:
    """Write the database into `target`, and the files that its rows name, as of the same moment, into `named`.

    Raises Failed.
    """
    if is_postgres():
        _dump_postgres(target, named)
    else:
        _dump_sqlite(target, named)


def check(chunks: Iterable[bytes]) -> None:
    """Whether a dump of PostgreSQL can be read by the programs here. Raises Failed."""
    with _running("pg_restore", "--list", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as program:
        _feed(program, chunks)


def load(chunks: Iterable[bytes], scratch: Path) -> None:
    """Put a dump in place of everything that the database holds, in one transaction. Raises Failed."""
    if is_postgres():
        connection.close()
        _load_postgres(chunks)
    else:
        _load_sqlite(chunks, scratch)


def _dump_sqlite(target: Path, named: IO[bytes]) -> None:
    connection.ensure_connection()
    with contextlib.closing(sqlite3.connect(target)) as copy:
        connection.connection.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
        (found,) = copy.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise Failed(f"The database is damaged: {found}.")
        for one in named_files(copy.execute):
            named.write(one.as_line())


def _load_sqlite(chunks: Iterable[bytes], scratch: Path) -> None:
    """Through SQLite itself, so that whoever else has the file open sees the old one or the new one."""
    place = scratch / "restored.sqlite3"
    with place.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
    try:
        with contextlib.closing(sqlite3.connect(place)) as restored:
            (found,) = restored.execute("PRAGMA integrity_check(1)").fetchone()
            if found != "ok":
                raise Failed(f"The database in the backup is damaged: {found}.")
            connection.ensure_connection()
            restored.backup(connection.connection)
    except sqlite3.Error as error:
        raise Failed(f"SQLite cannot load the backup: {error}.") from None
    finally:
        place.unlink(missing_ok=True)


def _dump_postgres(target: Path, named: IO[bytes]) -> None:
    """pg_dump sees what our own transaction sees, so that both tell of the same moment."""
    connection.close()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            cursor.execute("SELECT pg_export_snapshot()")
            (snapshot,) = cursor.fetchone()
        for one in named_files(_rows):
            named.write(one.as_line())
        options = ["--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}"]
        with target.open("wb") as written, _running("pg_dump", *options, stdout=written):
            pass
    with target.open("rb") as file:
        check(_chunks(file))


def _rows(statement: str) -> Iterator[tuple[Any, Any]]:
    """Row by row from the server, however many there are."""
    with connection.chunked_cursor() as cursor:
        cursor.execute(statement)
        yield from cursor


def _load_postgres(chunks: Iterable[bytes]) -> None:
    """pg_restore writes SQL, psql runs it between our own BEGIN and COMMIT, and nothing has happened before that."""
    run = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--output=/dev/null", "--file=-"]
    with _running("psql", *run, stdin=subprocess.PIPE) as loading:
        assert loading.stdin is not None
        try:
            loading.stdin.write(DROP_EVERYTHING.encode())
            options = ["--no-owner", "--no-privileges", "--exit-on-error", "--file=-"]
            with _running("pg_restore", *options, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as written:
                assert written.stdout is not None
                feeding = threading.Thread(target=_feed, args=(written, chunks), daemon=True)
                feeding.start()
                shutil.copyfileobj(written.stdout, loading.stdin)
                feeding.join()
            loading.stdin.write(b"\nCOMMIT;\n")
            loading.stdin.close()
        except BrokenPipeError:
            pass  # psql has given up, and says why


def _feed(program: subprocess.Popen[bytes], chunks: Iterable[bytes]) -> None:
    assert program.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it has read enough, or says what is wrong
        try:
            for chunk in chunks:
                program.stdin.write(chunk)
        finally:
            program.stdin.close()


@contextlib.contextmanager
def _running(program: str, *options: str, **streams: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A program of PostgreSQL that must end well. Raises Failed with what it said; ended with the block."""
    found = shutil.which(program)
    if found is None:
        raise Failed(f"{program} is not installed here (Debian: postgresql-client).")
    process = subprocess.Popen([found, *options], env=environment(), stderr=subprocess.PIPE, **streams)
    said: list[bytes] = []
    assert process.stderr is not None
    reading = threading.Thread(target=lambda: said.append(process.stderr.read()), daemon=True)  # type: ignore[union-attr]
    reading.start()
    try:
        yield process
    except BaseException:
        process.kill()
        raise
    finally:
        status = process.wait()
        reading.join()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
    if status:
        raise Failed(f"{program} failed: {_last_line(said)}")


def _last_line(said: Sequence[bytes]) -> str:
    lines = b"".join(said).decode(errors="replace").strip().splitlines()
    telling = [line for line in lines if "rror:" in line or "FATAL" in line or "ERROR" in line]
    return (telling or lines or ["it said nothing"])[0]


def environment() -> dict[str, str]:
    """How those programs reach the site's database."""
    known = connection.get_connection_params()
    told = {name: str(known[key]) for key, name in VARIABLES.items() if known.get(key)}
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C.UTF-8",
        "HOME": os.environ.get("HOME", "/"),
        **told,
    }


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(1024 * 1024):
        yield chunk
