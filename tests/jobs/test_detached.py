"""Detached runs, on both engines: a worker keeps so many on threads of their own, and its actors go on."""

import dataclasses
import threading
import time
from collections.abc import Iterator

import dramatiq
import pytest
from django.db import connection

from mlmodels.models import Release
from predictions.models import Prediction
from serving_site.jobs import claim as claiming
from serving_site.jobs import drain, lease, sql, sweep
from serving_site.jobs.batch import Batch
from serving_site.jobs.finish import Outcome
from serving_site.jobs.kinds import KINDS, Kind
from serving_site.jobs.models import Status, Worker
from serving_site.jobs.worker import WorkerProcess
from tests.jobs.conftest import Submit
from tests.processes import wait_until


class Runs:
    """Detached runs that last until they are let go, and give back when the process stops."""

    def __init__(self) -> None:
        self.started: list[Batch] = []
        self.let_go = threading.Event()
        self.heeds_stop = True

    def run(self, batch: Batch) -> None:
        self.started.append(batch)
        while not self.let_go.wait(0.02):
            if drain.stopping.is_set() and self.heeds_stop:
                batch.give_back()
                return
        batch.finish([Outcome(batch.jobs[0].id, Status.SUCCEEDED)])


@pytest.fixture
def runs() -> Iterator[Runs]:
    runs = Runs()
    yield runs
    runs.let_go.set()
    wait_until(lambda: not kept(), 10, "every run has ended")


@pytest.fixture
def kind(live: Release, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> Kind:
    """Predictions, as if each outlasted any message; one at once in a process."""
    monkeypatch.setattr(drain, "stopping", threading.Event())
    monkeypatch.setattr("serving_site.jobs.worker.stopping", drain.stopping)
    monkeypatch.setattr("serving_site.jobs.worker._ticks", [])  # nothing warms the version, whose files do not exist
    kind = dataclasses.replace(KINDS[Prediction], run=runs.run, detached=1, fill_by="")
    monkeypatch.setitem(KINDS, Prediction, kind)  # type: ignore[misc]
    return kind


def kept() -> list[str]:
    """The threads of detached runs."""
    return [thread.name for thread in threading.enumerate() if thread.name == "infer.v1 run"]


def statuses() -> list[str]:
    return list(Prediction.objects.order_by("id").values_list("status", flat=True))


def test_the_actor_returns_at_once_while_the_lease_is_held(send: Submit, kind: Kind, runs: Runs) -> None:
    send()
    started = time.monotonic()
    drain.drain(kind)
    assert time.monotonic() - started < 1
    wait_until(lambda: len(lease.held()) == 1, 5)
    assert statuses() == ["running"]
    runs.let_go.set()
    wait_until(lambda: statuses() == ["succeeded"], 5)
    assert lease.held() == []


def test_a_process_keeps_no_more_than_it_may_and_looks_again_when_one_ends(
    send: Submit, kind: Kind, runs: Runs
) -> None:
    for _ in range(3):
        send()
    for _ in range(3):
        drain.drain(kind)
    assert statuses() == ["running", "queued", "queued"]
    runs.let_go.set()
    wait_until(lambda: statuses() == ["succeeded"] * 3, 10)


def test_many_rings_at_once_start_no_more_than_one(send: Submit, kind: Kind, runs: Runs) -> None:
    for _ in range(4):
        send()

    def hear() -> None:
        drain.drain(kind)
        connection.close()

    rings = [threading.Thread(target=hear) for _ in range(6)]
    for ring in rings:
        ring.start()
    for ring in rings:
        ring.join()
    assert statuses().count("running") == 1


def test_a_worker_that_stops_gives_its_runs_back_without_an_attempt(send: Submit, kind: Kind, runs: Runs) -> None:
    send()
    worker = WorkerProcess(1, [kind])
    worker.start()
    wait_until(lambda: len(runs.started) == 1, 5)
    started = time.monotonic()
    worker.stop(timeout_s=30)
    assert time.monotonic() - started < 5
    row = Prediction.objects.get()
    assert (row.status, row.attempts, row.lost, row.lease_token) == ("queued", 0, 0, None)


def test_a_run_that_does_not_heed_the_stop_is_given_back_for_it_and_fenced(
    send: Submit, kind: Kind, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving_site.jobs.worker.GIVE_BACK_S", 0.5)
    runs.heeds_stop = False
    send()
    worker = WorkerProcess(1, [kind])
    worker.start()
    wait_until(lambda: len(runs.started) == 1, 5)
    worker.stop(timeout_s=30)
    assert statuses() == ["queued"]
    runs.let_go.set()
    wait_until(lambda: not kept(), 5)
    assert statuses() == ["queued"]


def test_a_run_that_fails_by_a_defect_leaves_its_row_to_the_sweeper_and_its_place_to_others(
    send: Submit, kind: Kind, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(batch: Batch) -> None:
        raise RuntimeError("a defect of ours")

    broken = dataclasses.replace(kind, run=defect)
    send()
    drain.drain(broken)
    wait_until(lambda: not kept(), 5)
    assert statuses() == ["running"]
    assert lease.held() == []


def test_a_row_can_be_written_and_claimed_at_once_so_that_nobody_else_takes_it(
    live: Release, people: list[object], kind: Kind
) -> None:
    time.sleep(0.3)  # rings of earlier tests are under way
    dramatiq.get_broker().flush_all()
    new = Prediction(owner=people[0], model_id=live.model_id, version=live.version, inputs=[{}])  # type: ignore[misc]
    batch = claiming.claim_new(new)
    assert [job.id for job in batch.jobs] == [new.id]
    assert claiming.claim(kind) is None
    row = Prediction.objects.get()
    assert (row.status, row.attempts, row.lease_token) == ("running", 1, batch.token)
    time.sleep(0.3)
    assert dramatiq.get_broker().queues[kind.queue].qsize() == 0


def test_leases_of_a_process_that_is_no_worker_are_kept_while_it_asks_for_that(send: Submit, kind: Kind) -> None:
    send()
    batch = claiming.claim(kind)
    assert batch is not None
    with lease.keeping(), lease.hold(batch) as held:
        held.renewed_at -= lease.RENEW_S
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE {kind.table} SET lease_until = {sql.clock(1)}")
        wait_until(lambda: (Prediction.objects.get().lease_until - sql.now()).total_seconds() > 25, 5)  # type: ignore[operator]
    assert "keep" not in [thread.name for thread in threading.enumerate()]


def test_a_worker_counts_as_many_slots_as_it_keeps_detached_runs(kind: Kind) -> None:
    now = sql.now()
    for _ in range(2):
        Worker.objects.create(host="here", pid=1, queues=[kind.queue], slots=8, started_at=now, seen_at=now)
    assert sweep.live_slots(kind) == 2
