"""PostgreSQL is restarted under load, and a worker freezes in the middle of a transaction."""

import signal
import uuid

import psycopg
import pytest

from tests.faults import history
from tests.faults.conftest import TABLE, Scenario
from tests.processes import wait_until
from tests.rows import query


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restarted_database_costs_patience_and_nothing_else(scenario: Scenario, mode: str) -> None:
    postgres = scenario.site.postgres
    workers = [scenario.worker(), scenario.worker()]
    with scenario.load():
        scenario.pause(2, 4)
        scenario.until("status = 'running'")
        scenario.recorder.event("database_down")
        postgres.stop(mode)
        scenario.pause(0.5, 1.5)
        postgres.start()
        scenario.recorder.event("database_up")
        scenario.pause(2, 4)
    scenario.settle(75, hasten=True)
    entries = scenario.check()
    assert any(one.code == history.UNAVAILABLE for one in history.submits(entries))
    assert all(worker.is_running for worker in workers)


def test_a_worker_frozen_in_a_transaction_holds_nobody_up(scenario: Scenario) -> None:
    """In mid-sweep it holds the sweepers' lock and a row, until the server ends its session (after 3 s here)."""
    url = scenario.install.environment["DATABASE_URL"]
    (key,) = scenario.submit("zoo-ok", 1.5)
    scenario.site.execute(
        f"UPDATE {TABLE} SET status = 'running', attempts = 1, lease_token = %s, "
        f"started_at = clock_timestamp(), lease_until = clock_timestamp() WHERE id = %s",
        uuid.uuid4(),
        key,
    )
    with psycopg.connect(url) as holder:
        holder.execute(f"SELECT 1 FROM {TABLE} WHERE id = %s FOR UPDATE", [key])
        frozen = scenario.worker(DATABASE_URL=f"{url}?options=-c%20idle_in_transaction_session_timeout%3D3s")
        waits = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        wait_until(lambda: bool(query(scenario.install, waits)), 15, "its sweep reaches the row")
        frozen.signal(signal.SIGSTOP)
    try:
        scenario.worker()
        scenario.settle(20)
    finally:
        frozen.signal(signal.SIGCONT)
    scenario.check()
    wait_until(lambda: "database_away" in frozen.log_text(), 10, frozen.log_text)
    assert frozen.is_running


def test_the_server_ends_the_transactions_of_the_frozen_after_a_lease(scenario: Scenario) -> None:
    code = "from django.db import connection as c; k = c.cursor(); "
    code += "k.execute('SHOW idle_in_transaction_session_timeout'); print(k.fetchone()[0])"
    assert scenario.install.shell(code).strip() == "30s"
