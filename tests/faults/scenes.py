"""Deterministic scenes, for the product and for copies of it that lack a protection. Each takes the install to run."""

import signal
import time

from tests import zoo
from tests.faults.conftest import QUEUE, Scenario
from tests.installs import Install

PATIENT = {"PREDICTION_DEADLINE_S": "60"}
"""So that a worker that was frozen still believes in the answer that it finds when it wakes."""


def a_worker_freezes_until_another_has_finished_its_work(scenario: Scenario, install: Install) -> None:
    """It stops in mid-forward; its lease ends; another worker runs the row; then it wakes with a result of its own."""
    frozen = scenario.warm_worker(install, **PATIENT)
    scenario.submit("zoo-poison", zoo.POISON_SLEEP)
    scenario.until("status = 'running'")
    time.sleep(1)  # of the three seconds that the forward takes
    frozen.signal(signal.SIGSTOP)
    try:
        assert scenario.expire_leases() == 1
        scenario.worker(install, **PATIENT)
        scenario.settle(30)
    finally:
        frozen.signal(signal.SIGCONT)
    time.sleep(2)  # in which it finishes what it believes to hold


def a_worker_dies_and_another_idles_beside_it(scenario: Scenario, install: Install, timeout_s: float) -> None:
    """Its lease is over; only a sweep can find its rows."""
    dying = scenario.worker(install)
    scenario.submit("zoo-poison", 0.5, 1.5, zoo.POISON_SLEEP)
    scenario.until("status = 'running'")
    scenario.worker(install)
    dying.kill()
    scenario.expire_leases()
    scenario.settle(timeout_s)


def every_ring_is_lost(scenario: Scenario, install: Install, timeout_s: float) -> None:
    """Rows are queued and their rings purged; only a sweep can find them."""
    rabbitmq, vhost = scenario.site.rabbitmq, scenario.site.vhost
    with scenario.deaf(install):
        scenario.submit("zoo-ok", 0.5, 1.5)
        scenario.wait_for_ring()
        rabbitmq.purge(QUEUE, vhost)
    scenario.settle(timeout_s)
