"""The job protocol, on both engines: who gets which row, who may write its outcome, and what is repaired."""

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dramatiq
import pytest
from django.db import DatabaseError, connection, transaction

from mlmodels.models import ModelVersion, Release
from predictions.models import Prediction
from serving_site.accounts.models import User
from serving_site.jobs import claim as claiming
from serving_site.jobs import finish, lease, sql, sweep, wait
from serving_site.jobs.batch import Batch
from serving_site.jobs.finish import Outcome
from serving_site.jobs.kinds import KINDS, Kind
from serving_site.jobs.models import Counter, Status, Worker
from tests.jobs.conftest import Submit


@pytest.fixture
def kind(live: Release, monkeypatch: pytest.MonkeyPatch) -> Kind:
    monkeypatch.setattr(claiming, "_claims", iter(range(1, 8)))  # no eighth claim unless a test wants one
    return KINDS[Prediction]


def claim(kind: Kind) -> Batch:
    batch = claiming.claim(kind)
    assert batch is not None
    return batch


def expire(kind: Kind) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {kind.table} SET lease_until = {sql.clock(-1)} WHERE status = 'running'")


def succeeded(prediction: Prediction) -> Outcome:
    return Outcome(prediction.id, Status.SUCCEEDED, fields={"outputs": [{"label": "high"}], "label": "high"})


def ids(batch: Batch | None) -> list[uuid.UUID]:
    return [job.id for job in batch.jobs] if batch else []


def test_a_claim_takes_the_head_and_fills_the_batch_in_stored_order(send: Submit, kind: Kind) -> None:
    sent = [send() for _ in range(6)]
    first, second = claim(kind), claim(kind)
    assert ids(first) == [one.id for one in sent[:4]]
    assert ids(second) == [one.id for one in sent[4:]]
    assert claiming.claim(kind) is None
    row = Prediction.objects.get(pk=sent[0].pk)
    assert (row.status, row.attempts, row.lease_token) == (Status.RUNNING, 1, first.token)
    assert row.lease_until is not None
    assert row.started_at is not None
    assert 25 < (row.lease_until - row.started_at).total_seconds() < 31


def test_a_batch_holds_one_version_and_no_more_rows_than_its_manifest_allows(
    send: Submit, kind: Kind, live: Release
) -> None:
    other = ModelVersion.objects.get(pk=live.version_id)
    other.pk, other.number, other.manifest_sha256 = uuid.uuid4(), 2, "c" * 64
    other.save(force_insert=True)
    first, elsewhere, large, small = send(rows=2), send(version=other), send(rows=3), send()
    assert ids(claim(kind)) == [first.id]  # 2 + 3 rows would be more than 4, and order is kept
    assert ids(claim(kind)) == [elsewhere.id]
    assert ids(claim(kind)) == [large.id, small.id]


def test_owners_take_turns_and_clicks_go_before_programs_and_batches(
    send: Submit, kind: Kind, people: list[User]
) -> None:
    batch_rows = [send(people[2], lane=2, suspect=True) for _ in range(2)]
    alices = [send(people[0], suspect=True) for _ in range(3)]
    bobs = [send(people[1], suspect=True) for _ in range(2)]
    order = [ids(claim(kind))[0] for _ in range(7)]
    assert order == [one.id for one in (alices[0], alices[1], bobs[0], alices[2], bobs[1], *batch_rows)]


def test_every_eighth_claim_takes_the_oldest_row_of_any_lane(
    send: Submit, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = send(lane=3, suspect=True)
    clicks = [send(suspect=True) for _ in range(2)]
    monkeypatch.setattr(claiming, "_claims", iter([7, 8, 9]))
    assert [ids(claim(kind)) for _ in range(3)] == [[clicks[0].id], [old.id], [clicks[1].id]]


def test_racing_claims_give_every_row_to_exactly_one(send: Submit, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = [send() for _ in range(60)]
    monkeypatch.setattr(claiming, "_claims", iter(range(1, 10_000)))

    def take_all() -> list[uuid.UUID]:
        mine: list[uuid.UUID] = []
        while batch := claiming.claim(kind):
            mine += ids(batch)
        connection.close()
        return mine

    with ThreadPoolExecutor(6) as pool:
        taken = [key for mine in pool.map(lambda _: take_all(), range(6)) for key in mine]
    assert sorted(taken) == sorted(one.id for one in sent)


def test_the_lease_fences_a_zombie(send: Submit, kind: Kind) -> None:
    send()
    zombie = claim(kind)
    expire(kind)
    assert sweep.sweep()["recovered"] == 1
    heir = claim(kind)
    assert zombie.finish([succeeded(zombie.jobs[0])]) == []
    assert heir.finish([succeeded(heir.jobs[0])]) == [heir.jobs[0].id]
    row = Prediction.objects.get()
    assert (row.status, row.lost, row.attempts, row.label) == (Status.SUCCEEDED, 1, 2, "high")
    assert row.completed_at is not None
    assert row.lease_token is None
    assert Counter.objects.get(name="fenced_writes").value == 1


def test_a_terminal_status_is_final_even_for_raw_sql(send: Submit, kind: Kind) -> None:
    send()
    batch = claim(kind)
    batch.finish([succeeded(batch.jobs[0])])
    for statement in ("SET status = 'queued', completed_at = NULL", "SET status = 'failed'"):
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"UPDATE {kind.table} {statement}")
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE {kind.table} SET completed_at = NULL")
    assert Prediction.objects.get().status == Status.SUCCEEDED


def test_cancel_wins_over_a_run_in_progress_and_happens_once(send: Submit, kind: Kind) -> None:
    queued, running = send(suspect=True), send(suspect=True)
    batch = claim(kind)
    assert ids(batch) == [queued.id]
    assert finish.cancel(queued) is True
    assert finish.cancel(queued) is False
    assert finish.cancel(running) is True
    assert batch.finish([succeeded(batch.jobs[0])]) == []
    assert set(Prediction.objects.values_list("status", flat=True)) == {Status.CANCELED}
    assert claiming.claim(kind) is None


def test_several_together_are_suspects_and_each_runs_alone(send: Submit, kind: Kind) -> None:
    sent = [send() for _ in range(3)]
    claim(kind).isolate()
    assert [len(claim(kind).jobs) for _ in range(3)] == [1, 1, 1]
    assert set(Prediction.objects.values_list("suspect", "crashes")) == {(True, 0)}
    assert len(sent) == 3


def test_the_third_lone_death_closes_a_row(send: Submit, kind: Kind) -> None:
    send()
    for crashes in (1, 2):
        claim(kind).crashed(error="crashed")
        row = Prediction.objects.get()
        assert (row.status, row.crashes) == (Status.QUEUED, crashes)
    claim(kind).crashed(error="crashed")
    row = Prediction.objects.get()
    assert (row.status, row.reason_code, row.error, row.attempts) == (Status.FAILED, "worker_crashed", "crashed", 3)


def test_what_is_given_back_counts_no_attempt(send: Submit, kind: Kind) -> None:
    send()
    claim(kind).give_back()
    row = Prediction.objects.get()
    assert (row.status, row.attempts, row.suspect, row.lease_token) == (Status.QUEUED, 0, False, None)


def test_rows_of_vanished_hosts_run_alone_after_three_and_end_at_twenty(send: Submit, kind: Kind) -> None:
    sent = [send(), send()]
    for _ in range(3):
        while claiming.claim(kind):
            pass
        expire(kind)
        sweep.sweep()
    assert len(claim(kind).jobs) == 1
    Prediction.objects.update(lost=19)
    expire(kind)
    assert sweep.sweep()["gave_up"] == 1
    row = Prediction.objects.get(pk=sent[0].pk)
    assert (row.status, row.reason_code) == (Status.FAILED, "infrastructure")
    assert "Nothing is wrong with the input" in row.error


def test_a_lease_is_renewed_while_held_and_not_past_the_deadline(send: Submit, kind: Kind) -> None:
    send()
    batch = claim(kind)
    with lease.hold(batch) as held:
        held.renewed_at -= lease.RENEW_S
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE {kind.table} SET lease_until = {sql.clock(1)}")
        lease.keep()
        renewed = Prediction.objects.get().lease_until
        assert renewed is not None
        assert (renewed - sql.now()).total_seconds() > 25
        held.until = time.monotonic() - 1
        held.renewed_at -= lease.RENEW_S
        lease.keep()
        assert Prediction.objects.get().lease_until == renewed


def test_a_batch_is_told_when_nobody_wants_it_any_more(send: Submit, kind: Kind) -> None:
    sent = [send(), send()]
    batch = claim(kind)
    told: list[bool] = []
    with lease.hold(batch) as held:
        held.on_unwanted = lambda: told.append(True)
        finish.cancel(sent[0])
        lease.keep()
        assert told == []  # one row is still wanted
        finish.cancel(sent[1])
        lease.keep()
        lease.keep()
    assert told == [True]


def test_after_a_database_error_no_lease_is_freed_for_a_while(
    send: Submit, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "_calm_until", 0.0)
    send()
    claim(kind)
    expire(kind)
    sweep.be_calm()
    assert sweep.sweep()["recovered"] == 0
    monkeypatch.setattr(sweep, "_calm_until", 0.0)
    assert sweep.sweep()["recovered"] == 1


def test_the_sweeper_rings_once_per_waiting_row_and_never_more_than_live_slots(send: Submit, kind: Kind) -> None:
    for _ in range(5):
        send(suspect=True)
    assert sweep.live_slots(kind) == 0
    now = sql.now()
    worker: dict[str, Any] = {"started_at": now, "host": "here", "pid": 1, "queues": ["infer.v1"]}
    Worker.objects.create(slots=3, seen_at=now, **worker)
    Worker.objects.create(slots=8, seen_at=now.replace(year=2020), **worker)
    assert sweep.live_slots(kind) == 3
    time.sleep(0.3)  # the submits' own rings are under way
    dramatiq.get_broker().flush_all()
    assert sweep.sweep()["rings"] == 3
    assert sweep.sweep()["rings"] == 0  # three rings wait in the queue and nobody has heard them
    rung = Prediction.objects.filter(rung_at__isnull=False).order_by("turn")
    assert list(rung) == list(Prediction.objects.order_by("turn")[:3])


def test_a_waiter_is_woken_by_the_finish(send: Submit, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wait, "POLL_S", 30.0)
    prediction = send()
    batch = claim(kind)
    answers: list[tuple[bool, float]] = []

    def wait_for_it() -> None:
        started = time.monotonic()
        answers.append((wait.wait_for(Prediction, prediction.id, 20), time.monotonic() - started))
        connection.close()

    waiter = threading.Thread(target=wait_for_it)
    waiter.start()
    time.sleep(0.7)
    batch.finish([succeeded(prediction)])
    waiter.join(10)
    ((was_woken, after_s),) = answers
    assert was_woken
    assert after_s < 5
    assert wait._waiting == {}


def test_a_wait_that_ends_without_an_outcome_says_so(send: Submit) -> None:
    assert wait.wait_for(Prediction, send().id, 0.2) is False


def test_a_finish_of_more_rows_than_a_notification_holds_still_commits(
    send: Submit, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = [send() for _ in range(130)]
    canceled = [Outcome(one.id, Status.CANCELED, "canceled") for one in sent]
    assert len(finish.finish(kind, canceled, token=None)) == 130


def test_on_finished_shares_the_transaction_of_the_outcome(
    send: Submit, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    send()
    batch = claim(kind)

    def refuse(rows: object) -> None:
        raise RuntimeError("on_finished failed")

    broken = Kind(**{**vars(kind), "on_finished": refuse})
    with pytest.raises(RuntimeError):
        finish.finish(broken, [succeeded(batch.jobs[0])], token=batch.token)
    assert Prediction.objects.get().status == Status.RUNNING


def test_keys_are_version_7_and_sort_by_time(send: Submit) -> None:
    keys = [send().id for _ in range(3)]
    assert [key.version for key in keys] == [7, 7, 7]
    assert keys == sorted(keys)


def test_the_debug_log_of_statements_can_read_every_one(send: Submit, kind: Kind) -> None:
    connection.force_debug_cursor = True
    try:
        sent = send()
        batch = claim(kind)
        lease.keep()
        sweep.sweep()
        assert batch.finish([succeeded(sent)]) == [sent.id]
    finally:
        connection.force_debug_cursor = False
