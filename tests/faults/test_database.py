"""PostgreSQL is restarted under load."""

import pytest

from tests.faults import history
from tests.faults.conftest import Scenario


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
