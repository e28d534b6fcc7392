"""Whether code that runs can live with a migration: a new release changes the database while the old one still serves.

So what old code reads and writes must stay. Something is taken away in two releases: the first no longer uses it, the
second removes it and says so in its migration: `running_code_does_without = True`.
"""

from collections.abc import Iterator

from django.apps.registry import Apps
from django.db import connection
from django.db.migrations import Migration, operations
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ModelState, ProjectState
from django.db.models import NOT_PROVIDED

DECLARED = "running_code_does_without"


def hazards() -> list[str]:
    """One sentence for each operation of the migrations not yet applied here that running code could not live with.

    None before the first migration: nothing runs yet.
    """
    executor = MigrationExecutor(connection)
    if not executor.loader.applied_migrations:
        return []
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    state = executor.loader.project_state(list(executor.loader.applied_migrations))
    return [sentence for migration, _ in plan for sentence in _of_migration(migration, state)]


def _of_migration(migration: Migration, state: ProjectState) -> Iterator[str]:
    declared = getattr(migration, DECLARED, False)
    for operation in migration.operations:
        before = state.clone()
        operation.state_forwards(migration.app_label, state)
        for one in getattr(operation, "database_operations", [operation]):
            if not declared and (problem := _problem(one, migration.app_label, before)):
                yield f"{migration.app_label}.{migration.name}: {one.describe()}. {problem}"


def _problem(operation: Operation, app: str, before: ProjectState) -> str | None:
    match operation:
        case operations.RemoveField() | operations.DeleteModel():
            return "Running code still reads it: remove it in a release after the one that no longer uses it."
        case operations.RenameField() | operations.RenameModel() | operations.AlterModelTable():
            return "Running code knows the old name: add the new one beside it, and remove the old one later."
        case operations.AddField() if _must_be_written(operation, app, before):
            return "Running code does not write it: let it be null, or give it a db_default."
        case operations.AlterField() if _got_stricter(operation, app, before):
            return "Running code may still write nothing there: first write it everywhere, then forbid its absence."
        case _:
            return None


def _must_be_written(operation: operations.AddField, app: str, before: ProjectState) -> bool:
    field = operation.field
    if field.null or field.many_to_many or field.db_default is not NOT_PROVIDED:
        return False
    return (app, operation.model_name_lower) not in _made_now(before)


def _got_stricter(operation: operations.AlterField, app: str, before: ProjectState) -> bool:
    model: ModelState = before.models[app, operation.model_name_lower]
    return bool(model.fields[operation.name].null and not operation.field.null)


def _made_now(before: ProjectState) -> set[tuple[str, str]]:
    """Models that have no table yet: no running code writes them."""
    tables = set(connection.introspection.table_names())
    apps: Apps = before.apps
    return {
        (model._meta.app_label, str(model._meta.model_name))
        for model in apps.get_models(include_auto_created=True)
        if model._meta.db_table not in tables
    }
