"""A worker host loses its network in mid-batch: its rows finish elsewhere, once each, and it comes back by itself."""

from collections.abc import Iterator

import pytest

from tests.deploy.lab.cluster import Cluster
from tests.deploy.lab.hosts import Host
from tests.deploy.lab.site import example
from tests.processes import wait_until

MODEL = "diabetes-progression"
ROWS = 20
RECORD_OUTCOMES = """
CREATE TABLE tests_outcome (id uuid, status text);
CREATE FUNCTION tests_record_outcome() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  INSERT INTO public.tests_outcome VALUES (NEW.id, NEW.status);
  RETURN NULL;
END $$;
CREATE TRIGGER tests_record_outcome AFTER UPDATE ON predictions_prediction FOR EACH ROW
  WHEN (NEW.completed_at IS DISTINCT FROM OLD.completed_at) EXECUTE FUNCTION tests_record_outcome();
"""
FORGET_OUTCOMES = """
DROP TRIGGER tests_record_outcome ON predictions_prediction;
DROP FUNCTION tests_record_outcome;
DROP TABLE tests_outcome;
"""


@pytest.fixture
def recorded(cluster: Cluster) -> Iterator[None]:
    """Every outcome that the database is told, also a second one of the same row."""
    cluster.rows(RECORD_OUTCOMES)
    yield
    cluster.rows(FORGET_OUTCOMES)


@pytest.fixture
def other(cluster: Cluster) -> Iterator[Host]:
    """The development host, which trains, has what a worker needs too; it works for as long as this test asks."""
    host = cluster.development
    unit = f"serving-site-worker@{host.run('basename $(readlink /srv/serving-site/current)').strip()}"
    yield host
    host.run(f"systemctl stop '{unit}'")


def works(host: Host) -> None:
    release = host.run("basename $(readlink /srv/serving-site/current)").strip()
    host.run(f"systemctl start 'serving-site-worker@{release}'")


def is_alive(cluster: Cluster, host: Host) -> bool:
    """Whether a worker of this host answers, beside the one that trains."""
    alive = "seen_at > now() - interval '10 s' AND queues::text LIKE '%infer%'"
    return bool(cluster.rows(f"SELECT 1 FROM jobs_worker WHERE host = '{host.name}' AND {alive}"))


def test_rows_of_a_host_without_network_finish_elsewhere_and_once(
    cluster: Cluster, recorded: None, other: Host
) -> None:
    cut_off, ada = cluster.worker, cluster.admin
    fields = example(ada, MODEL)
    cluster.site.predict(ada, MODEL)
    cluster.rows("DELETE FROM tests_outcome")
    cut_off.run("pkill -STOP -f mlmodels.executor")  # so that the batch is in its hands when the cable goes
    keys = [str(ada.submit(MODEL, **fields)) for _ in range(ROWS)]
    wait_until(lambda: bool(cluster.rows("SELECT 1 FROM predictions_prediction WHERE status = 'running'")), 10)
    cut_off.unplug()
    try:
        cut_off.inside("pkill -CONT -f mlmodels.executor")  # it finishes, and can tell nobody
        works(other)
        ours = ", ".join(f"'{key}'" for key in keys)
        question = f"SELECT count(*) FROM predictions_prediction WHERE status = 'succeeded' AND id IN ({ours})"
        wait_until(lambda: cluster.rows(question) == [[str(ROWS)]], 75, "leases end and others take the rows")
        lost = cluster.rows(f"SELECT count(*) FROM predictions_prediction WHERE lost > 0 AND id IN ({ours})")
        assert int(lost[0][0]) > 0, "the host that was cut off held none of the rows"
        assert not is_alive(cluster, cut_off)
    finally:
        cut_off.plug()
    wait_until(lambda: is_alive(cluster, cut_off), 90, "the host works again")
    other.run("systemctl stop 'serving-site-worker@*'")
    cluster.site.predict(ada, MODEL)
    told = cluster.rows(f"SELECT id, count(*), min(status) FROM tests_outcome WHERE id IN ({ours}) GROUP BY id")
    assert sorted(told) == sorted([key, "1", "succeeded"] for key in keys)
