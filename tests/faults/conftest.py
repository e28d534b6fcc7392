"""One install with its site for all fault tests; each test has workers, a log and a seed of its own."""

import contextlib
import os
import random
import signal
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.faults import history
from tests.faults.load import Load, Visitor
from tests.installs import Install
from tests.processes import Process, wait_until
from tests.rows import query
from tests.services import PostgreSQL, RabbitMQ

QUEUE = "infer.v1"
TABLE = "predictions_prediction"
MODELS = ("ok", "slow", "poison")
RECORD_OUTCOMES = f"""
CREATE TABLE tests_outcome (id uuid, status text, at timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION tests_record_outcome() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO tests_outcome (id, status) VALUES (NEW.id, NEW.status);
  RETURN NULL;
END $$;
CREATE TRIGGER tests_record_outcome AFTER UPDATE ON {TABLE} FOR EACH ROW
  WHEN (NEW.completed_at IS DISTINCT FROM OLD.completed_at) EXECUTE FUNCTION tests_record_outcome();
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.faults)


class Site:
    """The install whose parts are killed. Its web process and its people stay through all tests."""

    def __init__(self, rabbitmq: RabbitMQ, postgres: PostgreSQL, **environment: str) -> None:
        self.rabbitmq, self.postgres = rabbitmq, postgres
        self.install = Install.distributed_on(rabbitmq, postgres, None, **environment)
        try:
            web, workers = self.install.start(workers=1)
            self.install.serve(MODELS)
            self.visitors = [Visitor(self.install.log_in(web, name)) for name in ("alice", "bob", "carol")]
            for worker in workers:
                worker.stop()
            self.execute(RECORD_OUTCOMES)
        except BaseException:
            self.install.close()
            raise

    @property
    def vhost(self) -> str:
        return self.install.environment["RABBITMQ_URL"].rpartition("/")[2]

    def execute(self, text: str, *parameters: Any) -> int:
        """Raw SQL from outside; returns how many rows it touched."""
        with psycopg.connect(self.install.environment["DATABASE_URL"], autocommit=True) as connection:
            return connection.execute(text, parameters or None).rowcount

    def close(self) -> None:
        for visitor in self.visitors:
            visitor.close()
        self.install.close()


class Scenario:
    """One test's workers, log and checker. `chance` gives its random moments."""

    def __init__(self, site: Site, log: Path, seed: str) -> None:
        self.site, self.install, self.seed = site, site.install, seed
        self.chance = random.Random(seed)
        self.recorder = history.Recorder(log)
        self.workers: list[Process] = []
        (clock,) = query(self.install, "SELECT clock_timestamp() AS now")
        self.since = clock["now"]

    def worker(self, install: Install | None = None, **environment: str) -> Process:
        """Start a worker, of this install or of a patched copy of its tree."""
        worker = (install or self.install).worker(wait_for="worker_started", **environment)
        self.workers.append(worker)
        return worker

    def warm_worker(self, install: Install | None = None, **environment: str) -> Process:
        """Start a worker and wait until its executors have loaded every live version."""
        worker = self.worker(install, **environment)
        wait_until(lambda: worker.log_text().count("version_loaded") == len(MODELS), 30, worker.log_text)
        return worker

    def load(self, **options: Any) -> Load:
        return Load(self.site.visitors, self.recorder, self.seed, **options)

    def submit(self, slug: str, *inputs: float) -> list[uuid.UUID]:
        """Send inputs one after the other; all must be accepted."""
        sent = [self.site.visitors[0].submit(self.recorder, slug, x) for x in inputs]
        assert {one.code for one in sent} <= {history.ACCEPTED}, sent
        return [uuid.UUID(one.id) for one in sent]

    def pause(self, at_least: float, at_most: float) -> None:
        """Until a random moment."""
        time.sleep(self.chance.uniform(at_least, at_most))

    def rows(self) -> list[dict[str, Any]]:
        text = f"SELECT p.*, m.slug FROM {TABLE} p JOIN mlmodels_mlmodel m ON m.id = p.model_id WHERE p.created_at > %s"
        return query(self.install, text, self.since)

    def count(self, where: str, *parameters: Any) -> int:
        """How many rows of this scenario are so."""
        text = f"SELECT count(*) AS n FROM {TABLE} WHERE created_at > %s AND ({where})"
        return int(query(self.install, text, self.since, *parameters)[0]["n"])

    def until(self, where: str, at_least: int = 1, timeout_s: float = 15) -> None:
        """Wait until so many rows are so."""
        wait_until(lambda: self.count(where) >= at_least, timeout_s, lambda: f"{where}:\n{self.install.logs()}")

    def expire_leases(self, older_than_s: float = 0) -> int:
        """Make the leases of what has been running for so long end now, as if 30 s had passed."""
        return self.site.execute(
            f"UPDATE {TABLE} SET lease_until = clock_timestamp() - interval '1 s' WHERE status = 'running' "
            f"AND lease_until > clock_timestamp() AND started_at < clock_timestamp() - interval '{older_than_s} s'"
        )

    @contextlib.contextmanager
    def deaf(self, install: Install | None = None) -> Iterator[None]:
        """One worker, which was idle and is frozen with no message in hand: whatever is submitted stays queued."""
        worker = self.warm_worker(install)
        self.submit("zoo-ok", 0.0625)
        self.until("status = 'succeeded' AND inputs = '[{\"x\": 0.0625}]'")
        time.sleep(1)
        worker.signal(signal.SIGSTOP)
        try:
            self.site.rabbitmq.close_all_connections()
            self.site.rabbitmq.purge(QUEUE, self.site.vhost)
            yield
        finally:
            worker.signal(signal.SIGCONT)

    def wait_for_ring(self) -> None:
        """Until a ring stands in the queue that nobody hears, and no other is on its way."""
        wait_until(lambda: self.site.rabbitmq.depth(QUEUE, self.site.vhost) > 0, 10, "a ring")
        time.sleep(0.5)

    def kill_workers(self) -> None:
        for worker in self.workers:
            if worker.is_running:
                worker.kill()

    def settle(self, timeout_s: float = 30, *, hasten: bool = False) -> None:
        """Wait until every row is terminal; with `hasten`, leases of the dead end early."""

        def is_settled() -> bool:
            if hasten:
                self.expire_leases(older_than_s=4)
            return self.count("status IN ('queued', 'running')") == 0

        wait_until(is_settled, timeout_s, lambda: f"all terminal: {self._left()}\n{self.install.logs()}")

    def violations(self) -> list[str]:
        """What the checker finds, after it has looked at up to 60 accepted predictions through the site once more."""
        taken = list(history.accepted(history.read(self.recorder.path)))
        for key in self.chance.sample(taken, min(60, len(taken))):
            self._owner_looks(key)
        outcomes = query(self.install, "SELECT * FROM tests_outcome WHERE at > %s", self.since)
        return history.violations(history.read(self.recorder.path), self.rows(), outcomes)

    def check(self) -> list[history.Entry]:
        """The promise was kept; returns the log."""
        assert self.violations() == []
        return history.read(self.recorder.path)

    def close(self) -> None:
        """Leave nothing for the next test."""
        self.kill_workers()
        self.site.execute(f"DELETE FROM {TABLE} WHERE status IN ('queued', 'running')")
        self.recorder.close()

    def _owner_looks(self, key: str) -> None:
        (row,) = query(
            self.install,
            f"SELECT u.username FROM {TABLE} p JOIN accounts_user u ON u.id = p.owner_id WHERE p.id = %s",
            uuid.UUID(key),
        ) or [{"username": "alice"}]
        owner = next(one for one in self.site.visitors if one.name == row["username"])
        owner.look(self.recorder, key)

    def _left(self) -> Sequence[Any]:
        names = ("id", "status", "attempts", "crashes", "lost", "suspect", "lease_until")
        return [[str(row[name]) for name in names] for row in self.rows() if row["completed_at"] is None][:20]


@pytest.fixture(scope="session")
def site(rabbitmq: RabbitMQ, postgres: PostgreSQL) -> Iterator[Site]:
    site = Site(rabbitmq, postgres)
    yield site
    site.close()


@pytest.fixture
def scenario(site: Site, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scenario]:
    seed = os.environ["FAULT_SEED"]
    print(f"FAULT_SEED={seed}")  # noqa: T201 - pytest shows it under a failed test
    scenario = Scenario(site, tmp_path / "history.jsonl", f"{seed} {request.node.name}")
    try:
        yield scenario
    finally:
        scenario.close()


def executors(worker: Process) -> list[int]:
    """The pids of a worker's executors: the processes below its executor server."""
    servers = _children(worker.pid)
    return [pid for server in servers for pid in _children(server)]


def _children(pid: int) -> list[int]:
    return [int(one) for task in Path(f"/proc/{pid}/task").glob("*/children") for one in task.read_text().split()]
