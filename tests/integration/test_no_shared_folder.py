"""Web and worker with no folder in common: artifacts, pictures and previews travel over HTTP, or by a bucket."""

import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.installs import Install
from tests.processes import Process, Web, wait_until
from tests.rows import ended, prediction, query
from tests.services import Buckets, PostgreSQL, RabbitMQ


@pytest.fixture
def install(rabbitmq: RabbitMQ, postgres: PostgreSQL) -> Iterator[Install]:
    install = Install.distributed_on(rabbitmq, postgres)
    yield install
    install.close()


def start(install: Install) -> tuple[Web, Process]:
    """A web process with its files, and a worker with a disk of its own that knows only the web process's address."""
    web = install.web()
    elsewhere = {"DATA_DIR": f"{install.folder}/worker", "STORAGE_URL": web.url.replace("http://", "site://")}
    return web, install.worker(wait_for="worker_started", **elsewhere)


def start_with_a_bucket(install: Install, buckets: Buckets) -> str:
    """The STORAGE_URL by which a web process and a worker with a disk of its own find what the other has written."""
    install.environment |= buckets.environment | {"STORAGE_URL": buckets.new()}
    install.web()
    install.worker(wait_for="worker_started", DATA_DIR=f"{install.folder}/worker")
    return install.environment["STORAGE_URL"]


def png(level: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (12, 9), level).save(file, "PNG")
    return file.getvalue()


def stored(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


def test_a_picture_is_answered_where_web_and_worker_share_no_folder(install: Install) -> None:
    web, _ = start(install)
    install.serve(["picture"])
    alice = install.log_in(web)
    key = alice.submit_file("zoo-picture", "x", "bright.png", png(200))
    row = ended(install, key)
    assert (row["status"], row["label"]) == ("succeeded", "high"), row
    page = alice.get(f"/predictions/{key}/").text
    (address,) = set(re.findall(r'src="(/files/[0-9a-f-]{36}/)"', page))
    preview = Image.open(io.BytesIO(alice.read(address)))
    assert (preview.size, preview.convert("L").getpixel((3, 3))) == ((12, 9), 200)

    own = install.folder / "worker"
    (version,) = query(install, "SELECT * FROM mlmodels_modelversion")
    uploads = [str(one["id"]) for one in query(install, "SELECT id FROM predictions_upload")]
    on_web, on_worker = stored(install.folder / "data"), stored(own)
    assert {version["weights_sha256"], version["manifest_sha256"], *uploads} <= set(on_web)
    assert len(uploads) == 2
    assert sorted(on_worker) == sorted([version["weights_sha256"], version["manifest_sha256"]])  # its cache alone


def test_a_picture_is_answered_where_a_bucket_keeps_the_files(install: Install, buckets: Buckets) -> None:
    url = start_with_a_bucket(install, buckets)
    install.serve(["picture"])
    web = next(one for one in install.processes if isinstance(one, Web))
    alice = install.log_in(web)
    key = alice.submit_file("zoo-picture", "x", "bright.png", png(200))
    row = ended(install, key)
    assert (row["status"], row["label"]) == ("succeeded", "high"), row
    (address,) = set(re.findall(r'src="(/files/[0-9a-f-]{36}/)"', alice.get(f"/predictions/{key}/").text))
    preview = Image.open(io.BytesIO(alice.read(address)))
    assert (preview.size, preview.convert("L").getpixel((3, 3))) == ((12, 9), 200)

    (version,) = query(install, "SELECT * FROM mlmodels_modelversion")
    artifacts = {version["weights_sha256"], version["manifest_sha256"]}
    uploads = {str(one["id"]) for one in query(install, "SELECT id FROM predictions_upload")}
    assert {name.rpartition("/")[2] for name in buckets.keys(url)} == artifacts | uploads
    assert set(stored(install.folder / "worker")) == artifacts  # its cache alone
    assert not (install.folder / "data" / "files").exists()


def test_a_worker_that_cannot_reach_the_files_takes_no_version_out_of_service(install: Install) -> None:
    web, worker = start(install)
    install.serve(["ok"])
    worker.stop()
    lost = {"DATA_DIR": f"{install.folder}/lost", "STORAGE_URL": "site://127.0.0.1:9"}  # nobody listens there
    stranger = {
        "DATA_DIR": f"{install.folder}/stranger",
        "STORAGE_URL": web.url.replace("http://", "site://"),
        "SECRET_KEY": "another-secret-of-the-tests-0123456789-abcdef",
    }
    for environment in (lost, stranger):
        key = install.log_in(web).submit("zoo-ok", x="1")
        useless = install.worker(**environment)
        wait_until(lambda: "host_cannot_run" in useless.log_text(), 20, useless.log_text)  # noqa: B023 - waits here
        useless.stop()
        (version,) = query(install, "SELECT state FROM mlmodels_modelversion")
        assert version["state"] == "healthy"
        assert prediction(install, key)["status"] == "queued"
    install.worker(DATA_DIR=f"{install.folder}/worker", STORAGE_URL=stranger["STORAGE_URL"])
    assert ended(install, key)["status"] == "succeeded"
