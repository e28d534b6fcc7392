"""A backup of production, made by its own nightly unit, restored on another machine with a server of its own."""

import json
import secrets
from collections.abc import Iterator

import pytest

from tests.deploy.lab.cluster import Cluster
from tests.deploy.lab.hosts import Host

PORT = 8123
FOLDER = "/var/lib/restored"
MODELS = ("breast-cancer", "diabetes-progression")
QUESTIONS = (
    "SELECT id, status, label, md5(inputs::text), md5(outputs::text) FROM predictions_prediction ORDER BY id",
    "SELECT id, username, password FROM accounts_user ORDER BY id",
    "SELECT id, number, version_id, reason FROM mlmodels_release ORDER BY id",
    "SELECT id, weights_sha256, state FROM mlmodels_modelversion ORDER BY id",
)
ENVIRONMENT = """
SECRET_KEY={secret}
DATABASE_URL=postgresql://restored:{password}@127.0.0.1:5432/restored
DATA_DIR={folder}
BACKUP_DIR={folder}/backups
SITE_URL=http://127.0.0.1:{port}
PORT={port}
"""


class Elsewhere:
    """The development host as a site of its own: another server, another secret, another folder, one process."""

    def __init__(self, host: Host) -> None:
        self.host = host
        host.run("DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql")
        password = secrets.token_hex(16)
        self.ask(
            f"CREATE ROLE restored LOGIN PASSWORD '{password}'; CREATE DATABASE restored OWNER restored;", "postgres"
        )
        host.run(f"install -d -o serving-site -g serving-site -m 750 {FOLDER}")
        told = ENVIRONMENT.format(secret=secrets.token_hex(32), password=password, folder=FOLDER, port=PORT)
        host.put(told, "/root/restored.env", mode="0600")

    def ask(self, statement: str, database: str = "restored") -> list[list[str]]:
        ask = f"su postgres -s /bin/sh -c 'psql --no-psqlrc -At -F \"\t\" -v ON_ERROR_STOP=1 {database}'"
        return [line.split("\t") for line in self.host.run(ask, stdin=statement).splitlines()]

    def manage(self, arguments: str) -> str:
        return self.host.run(f"{self._unit('--pipe --wait --quiet --collect')} manage.py {arguments}", timeout_s=600)

    def serve(self) -> None:
        gunicorn = "-m gunicorn --config deploy/local/gunicorn.conf.py"
        self.host.run(f"{self._unit('--quiet --collect --unit restored-web')} {gunicorn}")
        look = f"import urllib.request as u; u.urlopen('http://127.0.0.1:{PORT}/readyz?full', timeout=5)"
        log = "journalctl --unit restored-web --lines 40; exit 1"
        self.host.put(
            f'for n in $(seq 120); do python3 -c "{look}" 2>/dev/null && exit; sleep 1; done; {log}', "/root/w"
        )
        self.host.run("sh /root/w", timeout_s=900)

    def close(self) -> None:
        self.host.run(
            "systemctl stop restored-web; systemctl disable --now postgresql 2>/dev/null; "
            f"rm -rf {FOLDER} /root/restored.env /root/w /var/tmp/backup.tar; true"
        )

    def _unit(self, options: str) -> str:
        return (
            f"systemd-run {options} --property=User=serving-site --property=EnvironmentFile=/root/restored.env "
            "--property=WorkingDirectory=/srv/serving-site/current /srv/serving-site/current/.venv/bin/python"
        )


@pytest.fixture
def elsewhere(cluster: Cluster) -> Iterator[Elsewhere]:
    site = Elsewhere(cluster.development)
    yield site
    site.close()


def test_a_backup_is_restored_on_another_machine_and_every_answer_agrees(
    cluster: Cluster, elsewhere: Elsewhere
) -> None:
    person = cluster.person()
    for slug in (*MODELS, *MODELS):
        cluster.site.predict(person, slug)
    cluster.production.run("systemctl start serving-site-backup.service", timeout_s=600)
    path, mode, owner = cluster.production.run(
        "stat -c '%n %a %U' /var/backups/serving-site/serving-site-*.tar | tail -1"
    ).split()
    assert (mode, owner) == ("600", "serving-site")
    before = [cluster.rows(question) for question in QUESTIONS]

    elsewhere.host.put(
        cluster.production.get(path), "/var/tmp/backup.tar", mode="0600", owner="serving-site:serving-site"
    )
    elsewhere.manage("restore /var/tmp/backup.tar")
    assert [elsewhere.ask(question) for question in QUESTIONS] == before
    assert len(before[0]) >= 4

    elsewhere.serve()
    for slug in MODELS:
        report = json.loads(elsewhere.manage(f"replay {slug} --last 1000 --alone --json").splitlines()[-1])
        assert report["rows"] >= 2
        assert (report["agree"], report["gone"], report["unanswered"]) == (report["rows"], 0, 0)
        assert report["alone_identical"] == report["alone_rows"]
    assert cluster.site.ready()[0] == 200


def test_the_doctor_finds_no_error_on_hosts_that_ansible_made(cluster: Cluster) -> None:
    for host in (cluster.production, cluster.worker):
        done = host.attempt("serving-site manage doctor --json")
        facts = json.loads(done.stdout.splitlines()[-1])
        assert [one for one in facts["findings"] if one["severity"] == "error"] == []
        assert (facts["ok"], done.returncode) == (True, 0)
