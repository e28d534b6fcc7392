"""Migration operation: a terminal status is final, whoever writes the SQL."""

from typing import Any

from django.db import migrations

POSTGRES = """
CREATE FUNCTION {table}_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'a % row of {table} is final', OLD.status USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER {table}_final BEFORE UPDATE OF status ON {table} FOR EACH ROW
  WHEN (OLD.status IN ('succeeded', 'failed', 'canceled') AND NEW.status IS DISTINCT FROM OLD.status)
  EXECUTE FUNCTION {table}_final();
ALTER TABLE {table} SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
"""
POSTGRES_UNDO = "DROP TRIGGER {table}_final ON {table}; DROP FUNCTION {table}_final();"
SQLITE = """
CREATE TRIGGER {table}_final BEFORE UPDATE OF status ON {table} FOR EACH ROW
  WHEN OLD.status IN ('succeeded', 'failed', 'canceled') AND NEW.status IS NOT OLD.status
BEGIN
  SELECT RAISE(ABORT, 'a final row of {table} is final');
END
"""
SQLITE_UNDO = "DROP TRIGGER {table}_final"


def _run(texts: dict[str, str], table: str) -> Any:
    def forwards(apps: Any, schema_editor: Any) -> None:
        schema_editor.execute(texts[schema_editor.connection.vendor].format(table=table), params=None)

    return forwards


def FinalStatus(table: str) -> migrations.RunPython:  # noqa: N802 - reads as a migration operation
    """Refuse every UPDATE of `table` that changes a terminal status; tune the table for many updates."""
    return migrations.RunPython(
        _run({"postgresql": POSTGRES, "sqlite": SQLITE}, table),
        _run({"postgresql": POSTGRES_UNDO, "sqlite": SQLITE_UNDO}, table),
    )


APPEND_ONLY_POSTGRES = """
CREATE FUNCTION {table}_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '{table} is append-only' USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW
  EXECUTE FUNCTION {table}_append_only();
"""
APPEND_ONLY_POSTGRES_UNDO = "DROP TRIGGER {table}_append_only ON {table}; DROP FUNCTION {table}_append_only();"
APPEND_ONLY_SQLITE = """
CREATE TRIGGER {table}_append_only BEFORE UPDATE ON {table} FOR EACH ROW
BEGIN
  SELECT RAISE(ABORT, '{table} is append-only');
END
"""
APPEND_ONLY_SQLITE_UNDO = "DROP TRIGGER {table}_append_only"


def AppendOnly(table: str) -> migrations.RunPython:  # noqa: N802 - reads as a migration operation
    """Refuse to change a row of `table` (on PostgreSQL also to delete one)."""
    return migrations.RunPython(
        _run({"postgresql": APPEND_ONLY_POSTGRES, "sqlite": APPEND_ONLY_SQLITE}, table),
        _run({"postgresql": APPEND_ONLY_POSTGRES_UNDO, "sqlite": APPEND_ONLY_SQLITE_UNDO}, table),
    )
