"""What `backup` writes and says, and what `restore` refuses: the site is then as it was."""

import fcntl
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.core.management import CommandError, call_command
from django.db import models
from django.utils import timezone

from mlmodels.models import MLModel, ModelVersion, State
from predictions import dispatch, uploads
from predictions.models import Prediction, Upload
from serving_site.accounts.models import AuditEvent, User
from serving_site.jobs.models import Worker
from serving_site.keeping import backup, named
from serving_site.keeping.archive import Archive
from serving_site.storage_url import storages_of
from tests import registry
from tests.keeping.conftest import Rewrite, answered, keep, rewritten
from tests.services import Buckets


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def made(folder: Path) -> Path:
    """A backup of the site."""
    return Path(json.loads(run("backup", "--json"))["path"])


def members(path: Path) -> set[str]:
    with Archive(path) as archive:
        archive.check()
        return {member.name for member in archive.members()}


def stored() -> dict[str, set[str]]:
    return {area: {name for name, _ in storages[area].stored()} for area in ("artifacts", "uploads")}  # type: ignore[attr-defined]


def test_a_backup_holds_the_database_and_the_files_that_its_rows_name(folder: Path, prediction: Prediction) -> None:
    nobody = keep(b"named by no row")
    path = made(folder)
    known = {f"{area}/{name}" for area, names in stored().items() for name in names}
    assert members(path) == {"database.sqlite3"} | known - {f"artifacts/{nobody}"}
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in folder.joinpath("backups").iterdir()] == [path.name]


def test_it_says_that_the_settings_are_not_inside(folder: Path, prediction: Prediction) -> None:
    (folder / "secret_key").write_text("the secret of this site")
    told = run("backup")
    assert "1 artifact" not in told
    assert "2 artifact files, 2 uploads.\nNot in it: SECRET_KEY and the other settings" in told
    (path,) = (folder / "backups").iterdir()
    assert b"the secret of this site" not in path.read_bytes()


def test_every_column_that_names_a_file_is_known_to_the_backup() -> None:
    """A new column of that kind belongs into `named`, or here with what it is."""
    others = {
        ("DatasetSnapshot", "sha256"): "of all rows, whatever their order",
        ("Prediction", "request_sha256"): "of a request",
        ("TrainingRun", "weights_sha256"): "of a version that may have been refused",
        ("Upload", "sha256"): "the file is called by the row's id",
    }
    from django.apps import apps

    columns = {
        (model.__name__, field.name)
        for model in apps.get_models()
        for field in model._meta.get_fields()
        if isinstance(field, models.FileField) or "sha256" in field.name
    }
    in_sql = {(table, name) for table, name in columns if f"{name}" in named.ARTIFACTS and (table, name) not in others}
    assert columns - in_sql == set(others)


def test_a_file_that_is_deleted_meanwhile_is_left_out_and_counted(
    folder: Path, alice: User, prediction: Prediction, model: MLModel
) -> None:
    """Between the database's moment and the copying of its files."""
    second = answered(alice, model)

    def meanwhile(text: str) -> None:
        if "files" in text:
            dispatch.delete(prediction)

    done = backup.make(folder / "backups", meanwhile)
    assert (done.problems, done.manifest["deleted_meanwhile"], done.manifest["uploads"]) == ([], 2, 2)
    run("restore", str(done.path), "--replace")
    assert set(Prediction.objects.values_list("pk", flat=True)) == {prediction.pk, second.pk}
    kept = {str(key) for key in Upload.objects.values_list("pk", flat=True)}
    assert len(kept) == 4
    assert len(kept & stored()["uploads"]) == 2


@pytest.mark.parametrize("how", ["missing", "damaged"])
def test_a_file_that_the_site_has_lost_is_told_and_keeps_older_backups(
    folder: Path, prediction: Prediction, model: MLModel, how: str
) -> None:
    old = made(folder)
    weights = model.versions.get().weights_sha256
    storages["artifacts"].delete(weights)
    if how == "damaged":
        storages["artifacts"].save(weights, ContentFile(b"flipped"))
    with pytest.raises(CommandError) as error:
        run("backup", "--keep", "1")
    assert str(error.value) == (
        f"The backup is written, but the site has lost files, and older backups stay: artifacts/{weights} is {how}."
    )
    assert old.exists()
    (new,) = set((folder / "backups").iterdir()) - {old}
    assert f"artifacts/{weights}" not in members(new)
    ModelVersion.objects.update(state=State.QUARANTINED)
    assert json.loads(run("backup", "--json"))["manifest"]["of_quarantined"] == 1


def test_only_the_newest_are_kept(folder: Path, prediction: Prediction) -> None:
    first, second, third = made(folder), made(folder), made(folder)
    (folder / "backups" / "mine.tar").touch()
    removed = json.loads(run("backup", "--keep", "2", "--json"))["removed"]
    assert removed == [str(first), str(second)]
    assert {one.name for one in (folder / "backups").iterdir()} > {third.name, "mine.tar"}
    with pytest.raises(CommandError, match=r"^--keep is 0: expected 1 or more\.$"):
        run("backup", "--keep", "0")


def test_one_backup_at_a_time_and_what_a_killed_one_left_goes(folder: Path, prediction: Prediction) -> None:
    left = folder / "backups" / f"{backup.DRAFT}killed"
    left.mkdir(parents=True)
    (left / "archive").write_bytes(b"half")
    handle = os.open(folder / "backups", os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(CommandError, match=r"^Another backup is being written into "):
            run("backup")
    finally:
        os.close(handle)
    path = made(folder)
    assert [one.name for one in (folder / "backups").iterdir()] == [path.name]


def test_a_disk_that_is_full_leaves_nothing(folder: Path, prediction: Prediction, tmp_path: Path) -> None:
    """A folder of proc, in which nothing can be made, stands in for it."""
    with pytest.raises(CommandError, match=r"^The backup cannot be written: "):
        run("backup", "--to", "/proc/self/fdinfo")
    assert not (folder / "backups").exists()


def test_it_works_with_a_bucket(
    folder: Path, alice: User, model: MLModel, buckets: Buckets, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in buckets.environment.items():
        monkeypatch.setenv(name, value)
    settings.STORAGES = {**settings.STORAGES, **storages_of(buckets.new(), has_secret=True)}
    for content in (b"manifest of pictures", b"of pictures"):
        keep(content)
    answered(alice, model)
    before = stored()
    path = made(folder)
    settings.STORAGES = {**settings.STORAGES, **storages_of(buckets.new(), has_secret=True)}
    assert stored() == {"artifacts": set(), "uploads": set()}
    run("restore", str(path), "--replace")
    assert stored() == before


def test_restoring_takes_back_what_came_later(
    folder: Path, prediction: Prediction, alice: User, model: MLModel
) -> None:
    path = made(folder)
    later = answered(alice, model)
    Worker.objects.create(
        host="old", pid=1, slots=1, started_at=timezone.now(), seen_at=timezone.now().replace(year=2020)
    )
    storages["artifacts"].save(model.versions.get().weights_sha256, ContentFile(b"spoilt since"))
    assert "is whole: the database, 2 artifact files, 2 uploads." in run("restore", str(path), "--check")
    assert Prediction.objects.filter(pk=later.pk).exists()
    assert "is restored; start web and workers" in run("restore", str(path), "--replace")
    assert [one.pk for one in Prediction.objects.all()] == [prediction.pk]
    assert not Worker.objects.exists()
    with storages["artifacts"].open(model.versions.get().weights_sha256) as file:
        assert file.read() == b"of pictures"
    assert AuditEvent.objects.get(action="site.restore").after["site"] == "http://127.0.0.1:8000"


def newer(manifest: dict[str, Any]) -> None:
    manifest["migrations"]["predictions"].append("0099_something_new")
    manifest["commit"] = "c0ffee"


def of_postgres(manifest: dict[str, Any]) -> None:
    manifest["engine"] = "postgresql"


def of_another_format(manifest: dict[str, Any]) -> None:
    manifest["format"] = 2


def everything() -> list[Any]:
    """What the site holds."""
    return [
        stored(),
        list(Prediction.objects.values()),
        list(User.objects.values()),
        list(ModelVersion.objects.values()),
    ]


def untouched(path: Path, *, sentence: str, options: tuple[str, ...] = ("--replace",)) -> None:
    """`restore` refuses `path` with `sentence` and changes nothing."""
    before = everything()
    with pytest.raises(CommandError, match=f"^{sentence}"):
        run("restore", str(path), *options)
    assert everything() == before


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (newer, "The backup is of newer code: it has the migration 0099_something_new of predictions, which this code"),
        (newer, ".* does not know. Install commit c0ffee or a later one first."),
        (
            of_postgres,
            "The backup holds a database of PostgreSQL; this site runs on SQLite. Set DATABASE_URL to one of",
        ),
        (of_another_format, "The backup is of format 2; this code reads format 1."),
    ],
)
def test_what_cannot_be_restored_here_is_refused(
    folder: Path, prediction: Prediction, change: Rewrite, sentence: str
) -> None:
    untouched(rewritten(made(folder), change), sentence=sentence)


def test_a_site_that_is_not_empty_is_refused_unless_told(folder: Path, prediction: Prediction) -> None:
    told = r"This site is not empty: 1 models, 1 predictions, 1 people\. With --replace the backup takes their place\."
    untouched(made(folder), sentence=told, options=())


def test_a_site_that_runs_is_refused(folder: Path, prediction: Prediction) -> None:
    Worker.objects.create(host="here", pid=7, slots=1, started_at=timezone.now(), seen_at=timezone.now())
    told = r"The site runs: the worker here \(process 7\) answers\. Stop web and workers first\."
    untouched(made(folder), sentence=told)


def test_a_damaged_file_is_refused_with_the_place(folder: Path, prediction: Prediction) -> None:
    path = made(folder)
    whole = path.read_bytes()
    path.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    untouched(path, sentence=f"{path.name} is damaged in database.sqlite3, which begins at byte 512\\.")
    path.write_bytes(whole[:-9000])
    untouched(path, sentence=f"{path.name} ends at byte ")
    path.unlink()
    untouched(path, sentence=r"The backup cannot be restored: \[Errno 2\] No such file or directory")


def test_a_database_that_cannot_be_loaded_leaves_no_file_behind(folder: Path, prediction: Prediction) -> None:
    """The hashes are right and the database in it is none: it is found when the files are there already."""
    path = rewritten(made(folder), database=b"SQLite format 3\0" + b"no database" * 500)
    dispatch.delete(prediction)
    ModelVersion.objects.update(state=State.REFUSED)
    for area, names in stored().items():
        for name in names:
            storages[area].delete(name)
    untouched(path, sentence="SQLite cannot load the backup: |The database in the backup is damaged: ")
    assert stored() == {"artifacts": set(), "uploads": set()}


def test_previews_and_pictures_come_back_with_their_bytes(folder: Path, prediction: Prediction) -> None:
    path = made(folder)
    dispatch.delete(prediction)
    assert stored()["uploads"] == set()
    run("restore", str(path), "--replace")
    given = prediction.inputs[0]["picture"]
    assert uploads.value(given) == registry.png()
