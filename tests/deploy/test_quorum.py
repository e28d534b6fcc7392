"""Three RabbitMQ nodes on one machine, with QUORUM_QUEUES=true: nodes are killed under load, nothing is lost."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import QUEUE, Scenario, Site
from tests.faults.test_broker import wait_for_the_bell
from tests.processes import wait_until
from tests.services import PostgreSQL, RabbitMQ
from tests.session import GROUND

NODES = 3


class Cluster(RabbitMQ):
    """The first node, which knows the others. Its `url()` names them all."""

    def __init__(self) -> None:
        super().__init__(GROUND)
        self.nodes: list[RabbitMQ] = [self, *(RabbitMQ(GROUND, beside=self) for _ in range(NODES - 1))]

    def url(self, vhost: str = "/") -> str:
        return ",".join(RabbitMQ.url(node, vhost) for node in self.nodes)

    def queues(self, vhost: str) -> dict[str, tuple[str, str]]:
        """Of each queue: its type and the node that leads it, as a node that lives says."""
        listed = self._alive().ctl("list_queues", "-p", vhost, "--no-table-headers", "name", "type", "leader")
        return {name: (kind, leader) for name, kind, leader in (line.split("\t") for line in listed.splitlines())}

    def leader(self, queue: str, vhost: str) -> RabbitMQ:
        """The node that leads a queue."""
        _, name = self.queues(vhost)[queue]
        return next(node for node in self.nodes if node.node == name)

    def hand_lead(self, queue: str, vhost: str, node: RabbitMQ) -> None:
        """Make a node lead a queue."""
        find = f'{{ok, Queue}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"{vhost}">>, queue, <<"{queue}">>))'
        self.ctl("eval", f"{find}, rabbit_quorum_queue:transfer_leadership(Queue, '{node.node}').")
        wait_until(lambda: self.leader(queue, vhost) is node, 10, f"{node.node} leads {queue}")

    def kill_one(self, node: RabbitMQ) -> None:
        node.kill()
        node.pid = 0

    def whole_again(self) -> None:
        """Start what was killed, and wait until every node has joined."""
        for node in self.nodes:
            if node.pid == 0:
                node.start()
        names = [node.node for node in self.nodes]
        wait_until(lambda: all(name in self.ctl("cluster_status") for name in names), 30, "all nodes run")

    def _alive(self) -> RabbitMQ:
        return next(node for node in self.nodes if node.pid)


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture(scope="module")
def site(cluster: Cluster, postgres: PostgreSQL) -> Iterator[Site]:
    site = Site(cluster, postgres, QUORUM_QUEUES="true")
    yield site
    site.close()


@pytest.fixture
def scenario(site: Site, cluster: Cluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scenario]:
    scenario = Scenario(site, tmp_path / "history.jsonl", f"{os.environ['FAULT_SEED']} {request.node.name}")
    try:
        yield scenario
    finally:
        scenario.close()
        cluster.whole_again()


def answers_at_once(scenario: Scenario) -> bool:
    """Whether an idle site answers sooner than the sweeper would notice; most times, for machines are busy."""

    def answer_s() -> float:
        started = time.monotonic()
        scenario.submit("zoo-ok", 1.0)
        scenario.settle(20)
        return time.monotonic() - started

    return sum(answer_s() < 1.5 for _ in range(10)) >= 8


def test_every_queue_is_a_quorum_queue(scenario: Scenario, cluster: Cluster) -> None:
    """Also those for messages that failed: a classic one cannot be declared while its node is down."""
    scenario.warm_worker()
    scenario.submit("zoo-ok", 1.0)
    scenario.settle()
    queues = cluster.queues(scenario.site.vhost)
    assert {f"{QUEUE}", f"{QUEUE}.DQ", f"{QUEUE}.XQ"} <= set(queues)
    assert {kind for kind, _ in queues.values()} == {"quorum"}


def test_predictions_submitted_while_nodes_are_killed_end_once_each(scenario: Scenario, cluster: Cluster) -> None:
    """First the one that leads while everybody is connected to another, then the one that everybody is connected to."""
    scenario.warm_worker()
    scenario.warm_worker()
    for node in (cluster.nodes[-1], cluster.nodes[0]):
        cluster.hand_lead(QUEUE, scenario.site.vhost, node)
        with scenario.load(rate=30, at_most=1000):
            scenario.pause(1, 2)
            cluster.kill_one(node)
            time.sleep(8)
        scenario.settle(30)
        assert answers_at_once(scenario)
        cluster.whole_again()
    assert len(scenario.check()) > 300


def test_a_worker_that_starts_while_the_first_node_is_down_hears_the_bell(scenario: Scenario, cluster: Cluster) -> None:
    """The node that the web process had declared the queues on."""
    cluster.kill_one(cluster)
    scenario.warm_worker()
    wait_for_the_bell(scenario)
    scenario.check()


def test_the_site_works_on_while_most_nodes_are_down(scenario: Scenario, cluster: Cluster) -> None:
    """No queue has a leader then: workers look for themselves, and hear the bell again when the nodes are back."""
    scenario.warm_worker()
    for node in cluster.nodes[1:]:
        cluster.kill_one(node)
    scenario.submit("zoo-ok", *(number / 10 for number in range(10)))
    scenario.settle(30)
    cluster.whole_again()
    wait_for_the_bell(scenario)
    scenario.check()
