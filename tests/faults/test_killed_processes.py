"""Workers and executors are killed, stopped and frozen at random moments."""

import os
import signal
import time

from deploy.local.keeper import is_alive
from tests import zoo
from tests.faults.conftest import Scenario, executors
from tests.processes import wait_until
from tests.rows import counter


def wait_all_gone(pids: list[int]) -> None:
    wait_until(lambda: not any(is_alive(pid) for pid in pids), 20, "its executors are gone")


def test_a_killed_worker_loses_nothing_and_another_finishes_its_batch(scenario: Scenario) -> None:
    """With the real leases: the dead worker's rows come back after 30 s."""
    victim, _ = scenario.worker(), scenario.worker()
    with scenario.load():
        for _ in range(2):
            scenario.pause(2, 4)
            scenario.until("status = 'running'")
            below = victim.children()
            victim.kill()
            wait_all_gone(below)
            victim = scenario.worker()
        scenario.pause(1, 2)
    scenario.settle(50)
    scenario.check()
    assert scenario.count("lost > 0") > 0  # a batch was really running


def test_a_killed_executor_costs_no_innocent_its_result(scenario: Scenario) -> None:
    worker = scenario.warm_worker()
    with scenario.load():
        for _ in range(4):
            scenario.pause(1, 2)
            scenario.until("status = 'running'")
            for pid in executors(worker):
                os.kill(pid, signal.SIGKILL)
    scenario.settle()
    scenario.check()
    assert scenario.count("crashes > 0 OR suspect") > 0  # a forward was really running


def test_a_terminated_worker_finishes_what_it_holds_and_exits_cleanly(scenario: Scenario) -> None:
    worker, _ = scenario.worker(), scenario.worker()
    recovered = counter(scenario.install, "leases_recovered")
    with scenario.load():
        scenario.pause(3, 5)
        scenario.until("status = 'running'")
        below, started = worker.children(), time.monotonic()
        assert worker.stop(60) == 0, worker.log_text()
        assert time.monotonic() - started < 60
        assert not any(is_alive(pid) for pid in below)
        scenario.pause(1, 2)
    scenario.settle(15)  # less than a lease: nothing was left behind
    scenario.check()
    assert scenario.count("crashes > 0 OR lost > 0 OR suspect OR attempts > 1") == 0
    assert counter(scenario.install, "leases_recovered") == recovered


def test_a_poison_fails_alone_beside_fifteen_good_inputs(scenario: Scenario) -> None:
    good = [number / 10 for number in range(1, 16)]
    scenario.submit("zoo-poison", *good[:8], zoo.POISON_SEGV, *good[8:])
    scenario.worker(WORKER_SLOTS="1")
    scenario.settle()
    scenario.check()
    assert scenario.count("status = 'succeeded' AND crashes = 0") == 15
    # They met in one batch, but for one that a second thread (one drains at the start, one hears the bell) may take.
    assert scenario.count("suspect AND attempts = 2 AND status = 'succeeded'") >= 14
    assert scenario.count("attempts = 4 AND status = 'failed'") == 1  # and it crashed three times alone
