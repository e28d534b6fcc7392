"""RabbitMQ is stopped, frozen and wiped, repeats itself and closes connections: it is the doorbell, not the work."""

import os
import signal
import statistics
import time
from collections.abc import Sequence

from serving_site.broker import Broker
from tests.faults import history
from tests.faults.acknowledgements import lost_messages
from tests.faults.conftest import QUEUE, Scenario
from tests.faults.history import Entry, Poll, Submit
from tests.processes import wait_until
from tests.services import RabbitMQ

QUICK_S = 0.5


def durations_s(entries: Sequence[Entry], kind: type[Submit] | type[Poll]) -> list[float]:
    """How long each took that began while the broker was away."""
    ((start, end),) = history.times(entries, "broker_down", "broker_up")
    return [one.s for one in entries if isinstance(one, kind) and start < one.at - one.s < end]


def slow_s(durations: list[float]) -> float:
    """The 95th percentile."""
    assert len(durations) > 50
    return statistics.quantiles(durations, n=20)[-1]


def wait_for_the_bell(scenario: Scenario) -> None:
    """Until an input is answered sooner than the sweeper would find it."""

    def is_heard() -> bool:
        started = time.monotonic()
        scenario.submit("zoo-ok", 1.0)
        scenario.settle(10)
        return time.monotonic() - started < 1

    wait_until(is_heard, 20, "the bell is heard again")


def test_submits_are_answered_while_the_broker_is_stopped_and_finish_after_it(scenario: Scenario) -> None:
    rabbitmq = scenario.site.rabbitmq
    scenario.worker()
    scenario.worker()
    with scenario.load():
        scenario.pause(1, 3)
        scenario.recorder.event("broker_down")
        rabbitmq.stop_app()
        time.sleep(15)
        scenario.recorder.event("broker_up")
        rabbitmq.start_app()
    scenario.settle(20)
    wait_for_the_bell(scenario)
    assert slow_s(durations_s(scenario.check(), Submit)) < QUICK_S


def test_submits_are_answered_while_the_broker_hangs(scenario: Scenario) -> None:
    """Its port is open and takes connections, and nobody answers; no page waits for it either."""
    rabbitmq = scenario.site.rabbitmq
    scenario.worker()
    with scenario.load():
        scenario.pause(1, 2)
        scenario.recorder.event("broker_down")
        os.kill(rabbitmq.pid, signal.SIGSTOP)
        try:
            time.sleep(6)
        finally:
            os.kill(rabbitmq.pid, signal.SIGCONT)
        scenario.recorder.event("broker_up")
    scenario.settle(20)
    wait_for_the_bell(scenario)
    entries = scenario.check()
    assert slow_s(durations_s(entries, Submit)) < QUICK_S
    assert max(durations_s(entries, Poll)) < 2  # a hanging broker is noticed after two seconds at the earliest


def test_a_wiped_broker_costs_no_queued_prediction(scenario: Scenario) -> None:
    """All 200 are queued, and none of their rings is left; the queue itself is gone."""
    with scenario.deaf():
        scenario.submit("zoo-ok", *(number / 100 for number in range(-100, 100)))
        scenario.wait_for_ring()
        scenario.site.rabbitmq.wipe()
        assert scenario.count("status = 'queued'") == 200
        assert scenario.site.rabbitmq.depth(QUEUE, scenario.site.vhost) == 0
    scenario.settle(20)
    wait_for_the_bell(scenario)
    scenario.check()


def test_a_message_delivered_three_times_gives_one_outcome(scenario: Scenario) -> None:
    """Before anybody hears it, and again while the work is done; the messages are the site's own."""
    rabbitmq, vhost = scenario.site.rabbitmq, scenario.site.vhost
    keys = scenario.submit("zoo-slow", 0.5, 1.5, 2.5)
    scenario.wait_for_ring()
    rings = [ring] if (ring := rabbitmq.get(QUEUE, vhost)) else []
    for ring in rings:
        rabbitmq.publish(QUEUE, ring, vhost, times=3)
    scenario.worker()
    scenario.worker()
    scenario.until("status = 'running'")
    for ring in rings:
        rabbitmq.publish(QUEUE, ring, vhost, times=3)
    scenario.settle(15)
    wait_until(lambda: rabbitmq.depth(QUEUE, vhost) == 0, 10, "every ring is heard")
    scenario.check()
    assert scenario.count("attempts = 1") == len(keys)


def test_closed_connections_lose_no_work(scenario: Scenario) -> None:
    rabbitmq = scenario.site.rabbitmq
    workers = [scenario.worker(), scenario.worker()]
    with scenario.load():
        for _ in range(4):
            scenario.pause(0.5, 1.5)
            scenario.until("status = 'running'")
            rabbitmq.close_all_connections()
    scenario.settle(20)
    scenario.check()
    assert scenario.count("lost > 0 OR attempts > 1") == 0
    assert all("CONNECTION_FORCED" in worker.log_text() for worker in workers)


def test_the_broker_is_asked_again_where_it_closed_a_connection_that_was_idle(rabbitmq: RabbitMQ) -> None:
    broker = Broker(amqp_url=rabbitmq.url(rabbitmq.new_vhost()), confirm_delivery=True, middleware=[])
    try:
        assert broker.depth("idle.v1") == 0
        rabbitmq.close_all_connections()
        assert broker.depth("idle.v1") == 0
    finally:
        broker.close()


def test_our_consumer_acknowledges_no_other_message_after_a_reconnect(rabbitmq: RabbitMQ) -> None:
    assert lost_messages(rabbitmq, "ours") == set()


def test_the_plain_consumer_does_so_its_message_is_lost(rabbitmq: RabbitMQ) -> None:
    """The day this fails, Dramatiq has been repaired and our consumer can go."""
    assert lost_messages(rabbitmq, "upstream") == {9}
