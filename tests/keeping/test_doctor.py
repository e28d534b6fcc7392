"""What the doctor says of a site that is well, and of one fault at a time."""

import datetime
import gc
import io
import json
import os
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from mlmodels.models import MLModel, ModelVersion, State
from predictions.models import Prediction
from serving_site.broker import Broker
from serving_site.jobs import sql
from serving_site.jobs.kinds import KINDS
from serving_site.jobs.models import Worker
from serving_site.keeping import doctor
from tests.keeping.conftest import keep
from tests.processes import SiteProcesses
from tests.services import PostgreSQL, RabbitMQ

Found = dict[str, list[tuple[str, str]]]


def told() -> Found:
    """Per check what was found: how bad it is and the text. Every fault has a next step, and nothing else has one."""
    found: Found = {}
    for one in doctor.examine():
        assert bool(one.next_step) == (one.severity in ("warning", "error")), one
        found.setdefault(one.check, []).append((str(one.severity), one.text))
    return found


def faults() -> dict[str, list[tuple[str, str]]]:
    bad = {name: [one for one in some if one[0] in ("warning", "error")] for name, some in told().items()}
    return {name: some for name, some in bad.items() if some}


HOUR = datetime.timedelta(hours=1)


@pytest.fixture
def well(folder: Path, prediction: Prediction, settings: Any, monkeypatch: pytest.MonkeyPatch) -> MLModel:
    """A site of which nothing bad can be said, on a host without torch, which takes seconds to import."""
    monkeypatch.setattr("serving_site.keeping.doctor.work.find_spec", lambda _: None)
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    backups = folder / "backups"
    backups.mkdir(mode=0o700)
    (backups / "serving-site-20260101T000000.000Z.tar").touch(mode=0o600)
    now = sql.now()
    queues = [kind.queue for kind in KINDS.values()]
    info = {"sandbox": "base+namespaces", "clock_ahead_s": 0.1}
    Worker.objects.create(host="here", pid=1, slots=2, queues=queues, info=info, started_at=now, seen_at=now + HOUR)
    ModelVersion.objects.update(manifest={**prediction.version.manifest, "architecture": "image-cnn"})
    return prediction.model


def test_a_site_that_is_well_is_told_so(well: MLModel) -> None:
    assert faults() == {}
    found = told()
    assert found["workers"] == [("ok", "1 workers are alive, with 2 slots.")]
    assert found["live versions"] == [("ok", "1 live versions are healthy, and their files are what was stored.")]
    out = io.StringIO()
    call_command("doctor", "--json", stdout=out)
    facts = json.loads(out.getvalue())
    assert (facts["ok"], facts["errors"], facts["warnings"]) == (True, 0, 0)
    assert {name for name, _ in storages["artifacts"].stored() if "-" in name} == set()  # type: ignore[attr-defined]


NOWHERE = {"BACKEND": "serving_site.storage.LocalStorage", "OPTIONS": {"base": "/proc/nowhere/uploads"}}
SETTINGS: list[tuple[dict[str, Any], str, str, str]] = [
    ({"DEBUG": True}, "settings", "error", "DEBUG is on"),
    ({"EMAIL_BACKEND": "django.core.mail.backends.console.EmailBackend"}, "settings", "warning", "E-mail goes nowhere"),
    ({"SITE_URL": "https://m.example.org"}, "addresses", "error", "SITE_URL names m.example.org, which ALLOWED_HOSTS"),
    (
        {"SITE_URL": "https://m.example.org", "HTTPS": True, "ALLOWED_HOSTS": ["m.example.org"]},
        "addresses", "error", "SITE_URL is https and TRUSTED_PROXIES is 0: the site redirects to https for ever",
    ),
    (
        {"SITE_URL": "http://m.example.org", "ALLOWED_HOSTS": ["m.example.org"]},
        "addresses", "error", "SITE_URL is http://m.example.org: passwords travel",
    ),
    ({"TRUSTED_PROXIES": 1}, "addresses", "warning", "TRUSTED_PROXIES is 1 and SITE_URL is not https."),
    ({"STORAGES": {"uploads": NOWHERE}}, "storages", "error", "The storage uploads does not work: "),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "check", "severity", "text"), SETTINGS)
def test_settings_that_do_not_fit_are_told(
    well: MLModel, settings: Any, changes: dict[str, Any], check: str, severity: str, text: str
) -> None:
    for name, value in changes.items():
        setattr(settings, name, {**settings.STORAGES, **value} if name == "STORAGES" else value)
    assert [(level, words[: len(text)]) for level, words in faults()[check]][:1] == [(severity, text)]


def test_files_that_others_can_read_are_told(well: MLModel, folder: Path) -> None:
    (folder / "secret_key").write_text("x")
    (folder / "secret_key").chmod(0o644)
    folder.chmod(0o755)
    (backup,) = (folder / "backups").iterdir()
    backup.chmod(0o644)
    assert faults() == {
        "secrets": [("error", f"{folder}/secret_key holds secrets and has mode 644: others can read it.")],
        "folders": [("warning", f"{folder} has mode 755: others can read it.")],
        "backups": [("error", f"{backup} can be read by others.")],
    }


def test_backups_that_are_missing_or_old_are_told(well: MLModel, folder: Path) -> None:
    (backup,) = (folder / "backups").iterdir()
    os.utime(backup, (time.time() - 72 * 3600,) * 2)
    assert faults() == {"backups": [("warning", "The newest of 1 backups is 72 hours old.")]}
    backup.unlink()
    assert faults() == {"backups": [("warning", f"There is no backup in {folder}/backups.")]}


def test_a_proxy_that_could_not_read_the_files_is_told(well: MLModel, folder: Path, settings: Any) -> None:
    settings.ACCEL_REDIRECT = "/protected/"
    assert faults() == {}
    (folder / "files").chmod(0o700)
    (fault,) = faults()["folders"]
    assert fault == (
        "error",
        f"ACCEL_REDIRECT is set, and the site's group, in which the proxy is, cannot read {folder}/files.",
    )


def test_a_host_of_workers_needs_no_pages_and_makes_no_backup(well: MLModel, folder: Path, settings: Any) -> None:
    for path in (folder / "backups").iterdir():
        path.unlink()
    settings.STORAGE_URL = "site://web.example.org:8010"
    found = told()
    assert [found[name] for name in ("static files", "programs", "backups")] == [
        [("note", "The web host serves them.")],
        [("note", "The web host makes the backups.")],
        [("note", "The web host makes the backups.")],
    ]


def test_files_of_versions_that_are_missing_or_damaged_are_told(well: MLModel) -> None:
    version = well.versions.get()
    storages["artifacts"].delete(version.weights_sha256)
    storages["artifacts"].save(version.manifest_sha256, ContentFile(b"spoilt"))
    assert faults() == {
        "live versions": [
            ("error", f"{version} is live, and its file {version.manifest_sha256[:16]}… is damaged."),
            ("error", f"{version} is live, and its file {version.weights_sha256[:16]}… is missing."),
        ],
        "other versions": [("warning", f"Files of 1 versions are missing: {version}.")],
    }
    keep(b"of pictures")
    keep(b"manifest of pictures")
    ModelVersion.objects.update(state=State.QUARANTINED, state_reason="its last 10 runs all died")
    assert faults() == {
        "live versions": [("error", f"{version} is live and quarantined: its last 10 runs all died")],
        "work": [("warning", f"{version} is quarantined: its last 10 runs all died")],
    }


def test_architectures_that_are_not_known_are_told_where_torch_is(
    well: MLModel, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told()["architectures"][0][0] == "note"
    monkeypatch.setattr("serving_site.keeping.doctor.work.find_spec", find_spec)
    assert told()["architectures"] == [("ok", "The architectures of 1 live versions are known here.")]
    version = well.versions.get()
    ModelVersion.objects.update(manifest={**version.manifest, "architecture": "mystery"})
    text = "What is live of pictures has the architecture 'mystery', which is not known here."
    assert faults() == {"architectures": [("error", text)]}
    settings.MODEL_ARCHITECTURES = ["no.such.module"]
    text = "MODEL_ARCHITECTURES cannot be loaded: ModuleNotFoundError: No module named 'no'"
    assert faults() == {"architectures": [("error", text)]}


def test_workers_that_are_silent_open_or_late_are_told(well: MLModel) -> None:
    Worker.objects.update(info={"sandbox": "none", "clock_ahead_s": -400.0}, queues=["infer.v1"])
    found = faults()
    assert found["workers"][0] == ("warning", "No living worker hears check.v1.")
    assert ("error", "The worker here (process 1) runs models with the sandbox level “none”: less than base.") in (
        found["workers"]
    )
    assert found["clocks"] == [("error", "The clock of here (process 1) differs from the database's by -400 s.")]
    Worker.objects.update(seen_at=sql.now() - datetime.timedelta(seconds=60))
    silent = faults()["workers"]
    assert silent[0] == ("error", "No worker has answered for 10 s: what people submit waits.")
    assert silent[1][1].startswith("The worker here (process 1) is silent for 6")


def test_rows_that_should_have_moved_on_are_told(well: MLModel, prediction: Prediction) -> None:
    long_ago = sql.now() - datetime.timedelta(hours=2)
    states = {"status": "running", "lease_until": long_ago, "completed_at": None}
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER predictions_prediction_final")
    Prediction.objects.update(**states)
    MLModel.objects.update(next_version=prediction.version, next_at=long_ago)
    assert faults() == {
        "work": [
            ("error", "1 rows of infer.v1 run under leases that ended long ago."),
            ("warning", f"pictures is being promoted since {long_ago:%F %H:%M}."),
        ]
    }
    MLModel.objects.update(next_version=None)
    Prediction.objects.update(status="queued", created_at=long_ago)
    assert faults() == {"work": [("warning", f"The oldest row of infer.v1 waits since {long_ago:%F %H:%M}.")]}


def test_a_migration_that_is_not_applied_comes_first(well: MLModel) -> None:
    MigrationRecorder(connection).record_unapplied("predictions", "0003_prediction_batch_rows")
    found = told()
    assert found["migrations"] == [("error", "1 migrations are not applied: predictions.0003_prediction_batch_rows.")]
    assert found["workers"] == [("note", "Not looked at: first mend the migrations.")]
    MigrationRecorder(connection).record_applied("predictions", "0003_prediction_batch_rows")
    MigrationRecorder(connection).record_applied("predictions", "0099_of_later_code")
    try:
        assert faults()["migrations"][0][1].startswith("The database is ahead of this code: it has 0099_of_later_code")
    finally:
        MigrationRecorder(connection).record_unapplied("predictions", "0099_of_later_code")


def test_one_error_makes_the_command_fail_and_quiet_tells_it_alone(well: MLModel, settings: Any) -> None:
    settings.DEBUG = True
    out = io.StringIO()
    with pytest.raises(CommandError, match=r"^1 errors, 0 warnings\.$"):
        call_command("doctor", "--quiet", stdout=out)
    assert out.getvalue() == (
        "! ERROR   settings: DEBUG is on: pages show code and settings to anybody.\n"
        "            → Set DEBUG=false and restart.\n"
    )


def doctors_words(site: SiteProcesses) -> dict[str, list[dict[str, str]]]:
    """What the command itself says, as a program reads it."""
    with pytest.raises(AssertionError) as error:
        site.manage("doctor", "--json")
    line = next(line for line in str(error.value).splitlines() if line.startswith("{"))
    found: dict[str, list[dict[str, str]]] = {}
    for one in json.loads(line)["findings"]:
        found.setdefault(one["check"], []).append(one)
    return found


def test_with_servers_it_sees_what_they_are(
    site_process: SiteProcesses, rabbitmq: RabbitMQ, postgres: PostgreSQL
) -> None:
    """One install on real servers, broken in one way after the other."""
    site_process.distributed(rabbitmq, postgres)
    site_process.manage("migrate", "--verbosity", "0")
    site_process.worker(wait_for="worker_started")
    found = doctors_words(site_process)  # static files are not collected
    assert found["database"][0]["severity"] == "warning"
    assert found["database"][0]["text"].startswith("The site's role is a superuser")
    assert [one["severity"] for one in found["broker"]] == ["ok", "ok", "note"]
    assert found["broker"][0]["text"].startswith("RabbitMQ 3.")
    assert found["broker"][1]["text"] == "4 queues are classic queues, as set, and heard."
    assert found["workers"][0]["text"] == "1 workers are alive, with 2 slots."
    assert found["clocks"][0]["severity"] == "ok"

    away = {
        "DATABASE_URL": "postgresql://u:hidden-word@127.0.0.1:9/x",
        "RABBITMQ_URL": "amqp://u:hidden-word@127.0.0.1:9/x",
    }
    site_process.environment |= away
    found = doctors_words(site_process)
    assert found["database"][0]["text"].startswith("The database does not answer: connection failed")
    assert found["broker"][0]["text"].startswith("The broker at 127.0.0.1:9 does not answer")
    assert found["workers"][0]["text"] == "Not looked at: first mend the database."
    assert found["storages"][0]["severity"] == "ok"
    assert "hidden-word" not in json.dumps(found)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_what_the_broker_refuses_is_told(
    db: None, rabbitmq: RabbitMQ, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.EMBEDDED = False
    url = rabbitmq.url(rabbitmq.new_vhost())

    def words(url: str, *, quorum: bool = False) -> list[tuple[str, str]]:
        one = Broker(amqp_url=url, quorum=quorum, confirm_delivery=True, middleware=[])
        monkeypatch.setattr("dramatiq.get_broker", lambda: one)
        try:
            return [(str(found.severity), found.text) for found in doctor.broker.answers()]
        finally:
            one.close()
            gc.collect()  # a connection that was refused leaves pika's own sockets to it

    found = words(url)
    assert found[0][1].startswith("RabbitMQ 3.")
    assert [one for one in found if one[0] == "warning"] == [
        ("warning", f"Nobody listens to the queue {kind.queue}.") for kind in KINDS.values()
    ]
    other_kind = words(url, quorum=True)[1]
    assert other_kind[0] == "error"
    assert other_kind[1].startswith("The queue check.v1 is there as one of another kind: PRECONDITION_FAILED")

    secret = url.split(":")[2].split("@")[0]
    (refused,) = words(url.replace(secret, "wrong"))
    assert refused == ("error", f"The broker at 127.0.0.1:{rabbitmq.port} refuses the user.")
    (refused,) = words(url.rsplit("/", 1)[0] + "/no-such-vhost")
    assert refused == ("error", f"The broker at 127.0.0.1:{rabbitmq.port} refuses the virtual host.")
