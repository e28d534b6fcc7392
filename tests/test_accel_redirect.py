"""With ACCEL_REDIRECT a real nginx sends what people download, as the site decides; workers never depend on it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.test import Client

from deploy.local.ground import PATH, free_ports, wait_until
from predictions import uploads
from serving_site.accounts.models import User
from serving_site.storage import worker_key
from tests import registry
from tests.session import GROUND

PICTURE = registry.png((40, 30))
CONF = """
user www-data root;
pid {folder}/nginx.pid;
error_log stderr info;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass {site}; proxy_set_header Host $http_host; }}
        location /protected/ {{ internal; alias {files}/; }}
    }}
}}
"""


@pytest.fixture
def files(tmp_path: Path, settings: Any) -> Path:
    """A folder as `STORAGE_URL=file://` has it; those above it let a proxy pass through, as /var/lib does."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and GROUND.directory in folder.parents:
            folder.chmod(0o711)
    base, kind = tmp_path / "files", "serving_site.storage.LocalStorage"
    own = {area: {"BACKEND": kind, "OPTIONS": {"base": str(base / area)}} for area in ("artifacts", "uploads")}
    settings.STORAGES = {**settings.STORAGES, **own}
    settings.ACCEL_REDIRECT = "/protected/"
    return base


@pytest.fixture
def nginx(files: Path, live_server: Any) -> Iterator[str]:
    """The address of a proxy that runs as another user than the site, in the site's group."""
    (port,) = free_ports(1)
    folder = GROUND.directory / f"nginx-{port}"
    folder.mkdir()
    conf, log = folder / "nginx.conf", folder / "log"
    conf.write_text(CONF.format(folder=folder, port=port, site=live_server.url, files=files))
    argv = ["/usr/sbin/nginx", "-c", str(conf), "-g", "daemon off;"]
    pid = GROUND.keeper.start(argv, env={"PATH": PATH}, log=log, end_signal=signal.SIGQUIT)
    wait_until(lambda: "start worker process" in log.read_text(), pid, log, "nginx")
    yield f"http://127.0.0.1:{port}"
    os.kill(pid, signal.SIGQUIT)


@pytest.fixture
def alice(transactional_db: None) -> User:
    return User.objects.create_user("alice", "alice@example.org", "correct horse battery")


def get(url: str, user: User | None = None) -> urllib3.BaseHTTPResponse:
    client = Client()
    if user:
        client.force_login(user)
    cookies = "; ".join(f"{name}={one.value}" for name, one in client.cookies.items())
    return urllib3.request("GET", url, headers={"Cookie": cookies}, redirect=False)


def test_the_proxy_sends_a_preview_to_whom_the_site_lets_have_it(nginx: str, alice: User, files: Path) -> None:
    key = uploads.store_preview(alice.pk, PICTURE)
    answer = get(f"{nginx}/files/{key}/", alice)
    assert (answer.status, answer.data, answer.headers["Content-Type"]) == (200, PICTURE, "image/png")
    assert answer.headers["Content-Disposition"] == f'inline; filename="preview-{key}.png"'
    assert answer.headers["Cache-Control"] == "private, max-age=3600, immutable"
    assert answer.headers["Accept-Ranges"] == "bytes"  # nginx's own: the site does not answer in parts
    assert "X-Accel-Redirect" not in answer.headers

    stranger = User.objects.create_user("bob", "bob@example.org", "correct horse battery")
    assert get(f"{nginx}/files/{key}/", stranger).status == 404
    assert get(f"{nginx}/files/{key}/").status == 302
    place = f"/protected/uploads/{key[:2]}/{key}"
    assert (files / "uploads" / key[:2] / key).read_bytes() == PICTURE
    assert get(f"{nginx}{place}", alice).status == 404


def test_the_site_hands_over_the_place_and_no_bytes(files: Path, alice: User) -> None:
    key = uploads.store_preview(alice.pk, PICTURE)
    client = Client()
    client.force_login(alice)
    answer = client.get(f"/files/{key}/")
    assert (answer.content, answer["X-Accel-Redirect"]) == (b"", f"/protected/uploads/{key[:2]}/{key}")
    storages["uploads"].delete(key)
    assert client.get(f"/files/{key}/").status_code == 404


def test_a_worker_gets_the_bytes_themselves(files: Path, alice: User) -> None:
    """It may reach the web process without the proxy: an empty answer would be a spoilt file."""
    storages["artifacts"].save("a" * 64, ContentFile(b"weights"))
    answer = Client(headers={"Authorization": f"Bearer {worker_key()}"}).get(f"/internal/files/artifacts/{'a' * 64}")
    assert (b"".join(answer), answer.headers.get("X-Accel-Redirect")) == (b"weights", None)
    answer.close()
