"""A migration must leave what running code reads and writes; what does not is named before anything starts."""

from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

MIGRATION = """
from django.db import migrations, models
class Migration(migrations.Migration):
    dependencies = [("mlmodels", "{latest}")]
    {declared}
    operations = [{operation}]
"""
NEW_TABLE = 'migrations.CreateModel("Note", [("id", models.BigAutoField(primary_key=True))])'
Write = Callable[..., None]


@pytest.fixture
def migration(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Puts one more migration of mlmodels after the real ones."""
    real = settings.BASE_DIR / "mlmodels" / "migrations"
    latest = max(path.stem for path in real.glob("0*.py"))
    package = tmp_path / f"migrations_{tmp_path.name}"

    def write(operation: str, declared: str = "") -> None:
        package.mkdir()
        (package / "__init__.py").write_text(f"__path__.append({str(real)!r})\n")
        (package / "9999_more.py").write_text(MIGRATION.format(latest=latest, operation=operation, declared=declared))
        monkeypatch.syspath_prepend(tmp_path)
        settings.MIGRATION_MODULES = {"mlmodels": package.name}

    return write


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("operation", "sentence"),
    [
        ('migrations.RemoveField("MLModel", "title")', "still reads it"),
        ('migrations.DeleteModel("Release")', "still reads it"),
        ('migrations.RenameField("MLModel", "title", "name")', "knows the old name"),
        ('migrations.AddField("MLModel", "mood", models.CharField(default="", max_length=9))', "does not write it"),
        ('migrations.AlterField("MLModel", "title", models.CharField(max_length=9))', "no longer fits"),
        ('migrations.AlterField("Delivery", "landed_at", models.DateTimeField())', "no longer fits"),
        (
            'migrations.AddConstraint("MLModel", models.UniqueConstraint(fields=["title"], name="one_title"))',
            "may break it",
        ),
        ('migrations.RunSQL("DROP TABLE mlmodels_release")', "cannot be seen"),
        ("migrations.RunPython(migrations.RunPython.noop)", "cannot be seen"),
    ],
)
def test_what_running_code_could_not_live_with_is_refused(migration: Write, operation: str, sentence: str) -> None:
    migration(operation)
    with pytest.raises(CommandError, match=sentence) as error:
        call_command("check_migrations")
    assert "mlmodels.9999_more: " in str(error.value)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "operation",
    [
        'migrations.AddField("MLModel", "mood", models.CharField(null=True, max_length=9))',
        'migrations.AddField("MLModel", "mood", models.CharField(db_default="", max_length=9))',
        f'{NEW_TABLE}, migrations.AddField("Note", "text", models.TextField(default=""))',
        'migrations.AlterField("MLModel", "title", models.CharField(max_length=999))',
        'migrations.AddIndex("MLModel", models.Index(fields=["title"], name="titles"))',
    ],
)
def test_what_adds_and_leaves_the_rest_passes(migration: Write, operation: str) -> None:
    migration(operation)
    said = StringIO()
    call_command("check_migrations", stdout=said)
    assert said.getvalue() == "Running code can live with every migration.\n"


@pytest.mark.django_db
def test_what_is_declared_passes(migration: Write) -> None:
    migration('migrations.RemoveField("MLModel", "title")', declared="lives_beside_running_code = True")
    call_command("check_migrations", stdout=StringIO())


@pytest.mark.django_db
def test_what_a_release_left_that_was_rolled_back_is_no_hazard(migration: Write) -> None:
    MigrationRecorder(connection).record_applied("mlmodels", "9998_of_a_release_that_went")
    call_command("check_migrations", stdout=StringIO())


@pytest.mark.django_db
def test_before_the_first_migration_nothing_runs_that_could_suffer(migration: Write) -> None:
    migration('migrations.RemoveField("MLModel", "title")')
    MigrationRecorder(connection).flush()
    call_command("check_migrations", stdout=StringIO())
