"""The storages: a folder or a bucket whose files appear whole or not at all, and the web host's files over HTTP."""

import os
import resource
import signal
import socket
import stat
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import ContentFile, File
from django.core.files.storage import storages
from django.test import Client, override_settings

from serving_site.storage import LocalStorage, SiteStorage, worker_key
from serving_site.storage_s3 import BucketStorage
from serving_site.storage_url import storages_of
from tests.services import Buckets

NAME = "a" * 64


@pytest.fixture
def local(tmp_path: Path) -> LocalStorage:
    return LocalStorage(str(tmp_path / "files"))


@pytest.fixture
def bucket(buckets: Buckets, monkeypatch: pytest.MonkeyPatch) -> BucketStorage:
    for name, value in buckets.environment.items():
        monkeypatch.setenv(name, value)
    return make_bucket(buckets.new())


def make_bucket(url: str) -> BucketStorage:
    return BucketStorage(**storages_of(url, has_secret=True)["artifacts"]["OPTIONS"])


@pytest.fixture(params=["local", "bucket"])
def storage(request: pytest.FixtureRequest) -> LocalStorage | BucketStorage:
    """Each kind that keeps files itself."""
    kept: LocalStorage | BucketStorage = request.getfixturevalue(request.param)
    return kept


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def names(storage: LocalStorage | BucketStorage) -> list[str]:
    return sorted(name for name, _ in storage.stored())


def test_a_file_comes_back_as_it_was_and_can_be_written_again(storage: LocalStorage | BucketStorage) -> None:
    started = datetime.now(UTC) - timedelta(seconds=2)
    for content in (b"one", b"another", b""):
        assert storage.save(NAME, ContentFile(content)) == NAME
        with storage.open(NAME) as file:
            assert file.read() == content
    assert names(storage) == [NAME]
    ((_, at),) = storage.stored()
    assert started < at < datetime.now(UTC) + timedelta(seconds=2)
    storage.delete(NAME)
    storage.delete(NAME)
    assert not storage.exists(NAME)
    with pytest.raises(FileNotFoundError):
        storage.open(NAME)


def test_a_large_file_goes_into_a_bucket_in_parts_and_comes_back_whole(bucket: BucketStorage) -> None:
    content = os.urandom(9_000_000)
    with tempfile.TemporaryFile() as file:
        file.write(content)
        bucket.save(NAME, File(file, name=NAME))
        assert not file.closed
    with bucket.open(NAME) as stored:
        assert b"".join(stored.chunks()) == content


def test_artifacts_and_uploads_do_not_meet_in_a_bucket(buckets: Buckets, bucket: BucketStorage) -> None:
    url = buckets.new()
    one, other = (BucketStorage(**each["OPTIONS"]) for each in storages_of(url, has_secret=True).values())
    one.save(NAME, ContentFile(b"x"))
    other.save("b" * 64, ContentFile(b"x"))
    assert buckets.keys(url) == [f"of/a/site/artifacts/{NAME}", f"of/a/site/uploads/{'b' * 64}"]
    assert (names(one), names(other)) == ([NAME], ["b" * 64])
    assert not one.exists("b" * 64)


@pytest.mark.parametrize("wrong", ["no-such-bucket", "nobody-listens"])
def test_a_bucket_that_is_not_there_is_an_error_and_no_missing_file(
    buckets: Buckets, bucket: BucketStorage, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    """A worker would take a version out of service for a file that is gone."""
    monkeypatch.setattr("serving_site.storage_s3.ATTEMPTS", 1)
    endpoint = buckets.endpoint if wrong == "no-such-bucket" else "http://127.0.0.1:9"
    away = make_bucket(f"s3://{wrong}?endpoint_url={endpoint}")
    for act in (away.open, away.exists, lambda name: away.save(name, ContentFile(b"x")), lambda _: names(away)):
        with pytest.raises(OSError, match=r"bucket|Bucket") as error:
            act(NAME)
        assert not isinstance(error.value, FileNotFoundError)


def test_the_endpoint_may_come_from_the_environment(
    buckets: Buckets, bucket: BucketStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", buckets.endpoint)
    storage = make_bucket(buckets.new().partition("?")[0])
    storage.save(NAME, ContentFile(b"x"))
    assert names(storage) == [NAME]


def test_files_of_a_folder_are_for_the_site_and_its_group(local: LocalStorage, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        local.save(NAME, ContentFile(b"x"))
    finally:
        os.umask(before)
    place = Path(local.path(NAME))
    assert [stat.S_IMODE(path.stat().st_mode) for path in (place, place.parent, tmp_path / "files")] == [
        0o640, 0o750, 0o750
    ]  # fmt: skip


def test_a_draft_that_a_killed_process_left_is_known_later(local: LocalStorage) -> None:
    local.save(NAME, ContentFile(b"x"))
    draft = Path(local.path(NAME)).parent / ".draft-1"
    draft.write_bytes(b"half")
    assert names(local) == [NAME]
    assert local.drafts(datetime.now(UTC) - timedelta(hours=1)) == []
    assert local.drafts(datetime.now(UTC) + timedelta(hours=1)) == [draft]


class BreaksOff(File[bytes]):
    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        yield b"x" * 100_000
        raise OSError("the sender is gone")


def test_what_breaks_off_leaves_nothing_and_what_was_there(
    storage: LocalStorage | BucketStorage, tmp_path: Path
) -> None:
    with pytest.raises(OSError, match="the sender is gone"):
        storage.save(NAME, BreaksOff(None))
    assert (names(storage), files(tmp_path)) == ([], [])
    storage.save(NAME, ContentFile(b"whole"))
    with pytest.raises(OSError, match="the sender is gone"):
        storage.save(NAME, BreaksOff(None))
    assert names(storage) == [NAME]
    assert len(files(tmp_path)) <= 1
    with storage.open(NAME) as file:
        assert file.read() == b"whole"


def test_a_full_disk_leaves_no_draft(local: LocalStorage, tmp_path: Path) -> None:
    """The limit on a file's size stands in for a disk that is full: the write fails in the middle."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            local.save(NAME, ContentFile(b"x" * 200_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert files(tmp_path) == []


BAD_NAMES = [
    "../../etc/passwd",
    "/etc/passwd",
    "a" * 64 + "/x",
    "",
    "short",
    "A" * 64,
    "a" * 200,
    "-" * 36,
    "a" * 63 + "\0",
]


def test_no_name_but_a_hash_or_a_uuid_reaches_a_storage(storage: LocalStorage | BucketStorage, tmp_path: Path) -> None:
    for name in BAD_NAMES:
        for act in (storage.open, storage.delete, storage.exists, lambda name: storage.save(name, ContentFile(b"x"))):
            with pytest.raises((ValueError, SuspiciousFileOperation)):
                act(name)
        with pytest.raises(ValueError, match="not a stored file's name"):
            SiteStorage("127.0.0.1:1/uploads").open(name)
    assert (names(storage), files(tmp_path)) == ([], [])


@pytest.mark.parametrize("name", [NAME, "2e8e3027-9ff6-4743-a522-acce655b6f90"])
def test_hashes_and_uuids_are_names(local: LocalStorage, name: str) -> None:
    assert local.save(name, ContentFile(b"x")) == name


@pytest.fixture
def areas(settings: Any, tmp_path: Path) -> Path:
    base = tmp_path / "web"
    kind = "serving_site.storage.LocalStorage"
    own = {area: {"BACKEND": kind, "OPTIONS": {"base": str(base / area)}} for area in ("artifacts", "uploads")}
    settings.STORAGES = {**settings.STORAGES, **own}
    return base


@pytest.fixture
def remote(areas: Path, live_server: Any) -> SiteStorage:
    """The storage of a worker that reaches the web host over HTTP alone."""
    return SiteStorage(f"{live_server.url.removeprefix('http://')}/artifacts")


def test_a_worker_reads_and_writes_the_web_hosts_files(remote: SiteStorage, areas: Path) -> None:
    content = os.urandom(3_000_000)
    remote.save(NAME, ContentFile(content))
    assert remote.exists(NAME)
    with remote.open(NAME) as file:
        assert b"".join(file.chunks()) == content
    with storages["artifacts"].open(NAME) as file:
        assert file.read() == content
    remote.delete(NAME)
    remote.delete(NAME)
    assert not remote.exists(NAME)
    with pytest.raises(FileNotFoundError):
        remote.open(NAME)
    assert files(areas) == []


def test_a_wrong_key_is_not_a_missing_file(remote: SiteStorage, areas: Path) -> None:
    """A worker would take a version out of service for a file that is gone."""
    remote.save(NAME, ContentFile(b"x"))
    with override_settings(SECRET_KEY="another-secret-that-is-long-enough-to-be-one"):
        wrong = worker_key()
    answers = []
    for path in (f"/internal/files/artifacts/{NAME}", f"/internal/files/artifacts/{'b' * 64}"):
        for header in ({}, {"Authorization": f"Bearer {wrong}"}, {"Authorization": "Bearer ü"}):
            answer = Client(headers=header).get(path)
            answers.append((answer.status_code, dict(answer.headers).get("X-Stored-File"), answer.content))
    assert set(answers) == {(404, None, b"")}


def test_with_the_key_only_files_of_the_two_areas_can_be_named(areas: Path, db: None) -> None:
    client = Client(headers={"Authorization": f"Bearer {worker_key()}"})
    assert client.get(f"/internal/files/artifacts/{NAME}").headers["X-Stored-File"] == "missing"
    for path in (f"default/{NAME}", f"staticfiles/{NAME}", "artifacts/secret_key", f"uploads/{'A' * 64}"):
        assert client.put(f"/internal/files/{path}", b"x").status_code == 404
    for path in ("artifacts/../secret_key", "artifacts/..%2fsecret_key", "artifacts/%00"):
        assert client.get(f"/internal/files/{path}").status_code == 404
    assert files(areas) == []


def test_a_body_that_ends_early_is_not_stored(remote: SiteStorage, areas: Path) -> None:
    url = urlsplit(remote.url_base)
    head = f"PUT {url.path}/{NAME} HTTP/1.1\r\nHost: {url.netloc}\r\nAuthorization: Bearer {worker_key()}\r\n"
    with socket.create_connection((url.hostname, url.port), timeout=5) as connection:
        connection.sendall(f"{head}Content-Length: 8\r\n\r\nhalf".encode())
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")
    assert files(areas) == []


def test_a_web_host_that_does_not_answer_is_an_error_and_no_missing_file() -> None:
    storage = SiteStorage("127.0.0.1:9/artifacts")
    for act in (storage.open, storage.exists, storage.delete):
        with pytest.raises(OSError, match="refused") as error:
            act(NAME)
        assert not isinstance(error.value, FileNotFoundError)


def test_the_key_goes_through_no_proxy_of_the_environment(remote: SiteStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert not SiteStorage(remote.url_base.removeprefix("http://").replace("/internal/files", "")).exists(NAME)
