"""A wrong value stops the start with one sentence; a right one gives settings that Django's own check accepts."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.session import REPOSITORY

SECRET = "a-secret-of-the-tests-that-is-not-used-elsewhere-0123456789"


def manage(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`manage.py …` in a fresh interpreter that knows no variable but these."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=REPOSITORY,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "DATA_DIR": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"SECRET_KEY": "changeme"}, "SECRET_KEY is a default or too short: give at least 32 random characters"),
        ({"SECRET_KEY": "django-insecure-" + SECRET}, "SECRET_KEY is a default or too short"),
        ({"SECRET_KEY": "a" * 50}, "SECRET_KEY is a default or too short"),
        ({"SECRET_KEY": "$HOME"}, "SECRET_KEY is a default or too short"),
        ({"ALLOWED_HOSTS": "*"}, "ALLOWED_HOSTS=* is refused with DEBUG off: name the hosts that people use."),
        ({"ALLOWED_HOSTS": "example.org,*"}, "ALLOWED_HOSTS=* is refused with DEBUG off"),
        ({"RABBITMQ_URL": "amqp://h"}, "RABBITMQ_URL is set without DATABASE_URL: several processes need PostgreSQL."),
        ({"RABBITMQ_URL": "amqp://h", "DATABASE_URL": "sqlite:///x"}, "RABBITMQ_URL is set without DATABASE_URL"),
        ({"DATABASE_URL": "mysql://h/x"}, "DATABASE_URL has no known scheme: expected postgres:// or sqlite:///."),
        ({"DATABASE_URL": "postgres://u:p@h:abc/x"}, "DATABASE_URL cannot be read: Port could not be cast"),
        ({"STORAGE_URL": "ftp://h/x"}, "STORAGE_URL starts with 'ftp': expected file://, site:// or s3://."),
        ({"STORAGE_URL": "file://files"}, "STORAGE_URL is 'file://files': expected file:///an/absolute/folder."),
        ({"STORAGE_URL": "site://", "SECRET_KEY": SECRET}, "STORAGE_URL is 'site://': expected site://host:port."),
        ({"STORAGE_URL": "site://h:1"}, "STORAGE_URL=site:// needs SECRET_KEY: the web host and its workers share it."),
        (
            {"STORAGE_URL": "s3://"},
            "STORAGE_URL=s3:// cannot be read: expected s3://bucket/folder?endpoint_url=https://",
        ),
        ({"STORAGE_URL": "s3://key:secret@bucket"}, "STORAGE_URL=s3:// cannot be read: expected s3://bucket/folder?"),
        ({"STORAGE_URL": "s3://bucket?acl=public"}, "STORAGE_URL=s3:// cannot be read: expected s3://bucket/folder?"),
        (
            {"ACCEL_REDIRECT": "protected"},
            "ACCEL_REDIRECT is 'protected': expected a place of the proxy",
        ),
        ({"SIGNUP": "maybe"}, "SIGNUP is 'maybe': expected closed or open."),
        ({"PORT": "http"}, "PORT cannot be read: invalid literal for int() with base 10: 'http'."),
        ({"PREDICTION_DEADLINE_S": "soon"}, "PREDICTION_DEADLINE_S cannot be read: could not convert string to float"),
        ({"WORKER_SLOTS": "0"}, "WORKER_SLOTS is 0: expected 1 or more."),
        ({"EMAIL_URL": "pigeon://x"}, "Invalid email schema pigeon"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_a_wrong_value_stops_the_start_with_one_sentence(
    tmp_path: Path, environment: dict[str, str], sentence: str
) -> None:
    done = manage(tmp_path, "check", **environment)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"django.core.exceptions.ImproperlyConfigured: {sentence}")


def test_settings_of_production_pass_the_check_of_a_deployment(tmp_path: Path) -> None:
    environment = {
        "SITE_URL": "https://models.example.org",
        "DATABASE_URL": "postgres://user:password@db.example.org/site",
        "RABBITMQ_URL": "amqp://user:password@broker.example.org/site",
        "SECRET_KEY": SECRET,
    }
    done = manage(tmp_path, "check", "--deploy", "--fail-level", "WARNING", **environment)
    assert (done.returncode, done.stdout) == (0, "System check identified no issues (2 silenced).\n"), done.stderr


def test_a_start_without_any_variable_makes_a_secret_of_its_own_and_keeps_it(tmp_path: Path) -> None:
    print_it = ("shell", "-v", "0", "-c", "from django.conf import settings; print(settings.SECRET_KEY)")
    first, second = (manage(tmp_path / "data #1", *print_it) for _ in range(2))
    assert first.stdout == second.stdout
    assert len(first.stdout.strip()) > 50
    kept = tmp_path / "data #1" / "secret_key"
    assert kept.read_text() == first.stdout.strip()
    assert kept.stat().st_mode & 0o777 == 0o600


def test_files_are_kept_in_the_data_folder_whatever_its_name(tmp_path: Path) -> None:
    code = "from django.core.files.storage import storages; print(storages['uploads'].location)"
    folder = tmp_path / "data #1 100%41?"
    assert manage(folder, "shell", "-v", "0", "-c", code).stdout.strip() == f"{folder}/files/uploads"


def test_migrations_say_all_that_the_models_do(tmp_path: Path) -> None:
    done = manage(tmp_path, "makemigrations", "--check", "--dry-run")
    assert done.returncode == 0, done.stdout
