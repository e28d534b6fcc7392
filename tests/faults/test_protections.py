"""Each protection, and that a test of this folder turns red without it: in a copy of the tree, never by a switch."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults import scenes
from tests.faults.acknowledgements import lost_messages
from tests.faults.conftest import Scenario, Site
from tests.installs import Install
from tests.rows import counter
from tests.services import RabbitMQ
from tests.trees import copy_tree, patch

FOUND_S = 20.0
"""Within this a sweep has found what was lost, several times over."""
Patched = Callable[[str, str, str], Install]


@pytest.fixture
def patched(site: Site, tmp_path: Path) -> Iterator[Patched]:
    """`patched(file, old, new)`: an install that shares everything with the site but its code, a changed copy."""
    installs = []

    def change(name: str, old: str, new: str) -> Install:
        tree = copy_tree(tmp_path / "tree")
        patch(tree, name, old, new)
        installs.append(Install(tree, **site.install.environment))
        return installs[0]

    yield change
    for install in installs:
        install.close()


def test_a_frozen_worker_changes_nothing_when_it_wakes(scenario: Scenario) -> None:
    fenced = counter(scenario.install, "fenced_writes")
    scenes.a_worker_freezes_until_another_has_finished_its_work(scenario, scenario.install)
    scenario.check()
    assert counter(scenario.install, "fenced_writes") == fenced + 1


def test_without_the_fence_a_frozen_worker_finishes_again(scenario: Scenario, patched: Patched) -> None:
    fence = """fence = f"{table}.status = 'running' AND {table}.lease_token = %s\""""
    install = patched("serving_site/jobs/finish.py", fence, 'fence = f"({table}.lease_token = %s OR TRUE)"')
    scenes.a_worker_freezes_until_another_has_finished_its_work(scenario, install)
    assert any("has 2 recorded outcomes" in sentence for sentence in scenario.violations())


def test_what_a_dead_worker_held_is_found(scenario: Scenario) -> None:
    scenes.a_worker_dies_and_another_idles_beside_it(scenario, scenario.install, FOUND_S)
    scenario.check()


def test_what_nobody_rang_for_is_found(scenario: Scenario) -> None:
    scenes.every_ring_is_lost(scenario, scenario.install, FOUND_S)
    scenario.check()


def test_without_the_sweeper_neither_is_found(scenario: Scenario, patched: Patched) -> None:
    install = patched(
        "serving_site/jobs/sweep.py", "for kind in list(KINDS.values()):", "for kind in list(KINDS.values())[:0]:"
    )
    with pytest.raises(AssertionError, match="all terminal"):
        scenes.a_worker_dies_and_another_idles_beside_it(scenario, install, FOUND_S / 2)
    assert any("is running" in sentence for sentence in scenario.violations())
    scenario.kill_workers()
    with pytest.raises(AssertionError, match="all terminal"):
        scenes.every_ring_is_lost(scenario, install, FOUND_S / 2)
    assert any("is queued" in sentence for sentence in scenario.violations())


def test_without_our_consumer_a_message_is_lost(rabbitmq: RabbitMQ, patched: Patched) -> None:
    install = patched(
        "serving_site/broker.py", "        return Consumer\n", "        return upstream._RabbitmqConsumer\n"
    )
    assert lost_messages(rabbitmq, "ours", install.tree) == {9}
