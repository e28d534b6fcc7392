"""Whether code that runs can live with a migration: a new release changes the database while the old one still serves.

So what old code reads and writes must stay. Something is taken away in two releases: the first no longer uses it, the
second removes it and says so in its migration: `lives_beside_running_code = True`. So does one that runs SQL or Python
of its own, which cannot be judged here, once its author has thought of the code that runs.
"""

import math
from collections.abc import Iterator

from django.apps.registry import Apps
from django.db import connection
from django.db.migrations import Migration, operations
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ModelState, ProjectState
from django.db.models import NOT_PROVIDED

DECLARED = "lives_beside_running_code"


def hazards() -> list[str]:
    """One sentence for each operation of the migrations not yet applied here that running code could not live with.

    None before the first migration: nothing runs yet.
    """
    executor = MigrationExecutor(connection)
    if not executor.loader.applied_migrations:
        return []
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    known = executor.loader.graph.nodes  # a release that was rolled back may have left others
    state = executor.loader.project_state([one for one in executor.loader.applied_migrations if one in known])
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
    problem = None
    match operation:
        case operations.RemoveField() | operations.DeleteModel():
            problem = "Running code still reads it: remove it in a release after the one that no longer uses it."
        case operations.RenameField() | operations.RenameModel() | operations.AlterModelTable():
            problem = "Running code knows the old name: add the new one beside it, and remove the old one later."
        case operations.AddField() if _must_be_written(operation, app, before):
            problem = "Running code does not write it: let it be null, or give it a db_default."
        case operations.AlterField() if _got_stricter(operation, app, before):
            problem = "Running code may still write what no longer fits: first write what will, then forbid the rest."
        case operations.AddConstraint() | operations.AlterUniqueTogether() if _has_table(operation, app, before):
            problem = "Running code does not know it and may break it: first write only what keeps it."
        case operations.RunSQL() | operations.RunPython():
            problem = "What it does cannot be seen from here."
    return problem


def _must_be_written(operation: operations.AddField, app: str, before: ProjectState) -> bool:
    field = operation.field
    if field.null or field.many_to_many or field.db_default is not NOT_PROVIDED:
        return False
    return _has_table(operation, app, before)


def _got_stricter(operation: operations.AlterField, app: str, before: ProjectState) -> bool:
    model: ModelState = before.models[app, operation.model_name_lower]
    was, now = model.fields[operation.name], operation.field
    if not _has_table(operation, app, before):
        return False
    is_shorter = (now.max_length or math.inf) < (was.max_length or math.inf)
    is_other = was.db_type(connection) != now.db_type(connection) and was.get_internal_type() != now.get_internal_type()
    return bool(is_shorter or is_other or (was.null and not now.null) or (now.unique and not was.unique))


def _has_table(operation: Operation, app: str, before: ProjectState) -> bool:
    """Whether the operation's model is in the database already, so that running code may write it."""
    name = str(getattr(operation, "model_name", "") or getattr(operation, "name", ""))
    apps: Apps = before.apps
    return apps.get_model(app, name)._meta.db_table in connection.introspection.table_names()
