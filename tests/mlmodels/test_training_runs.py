"""Training runs with real children, on both engines: from a snapshot to a version that is checked and decided on."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from deploy.local.keeper import is_alive
from mlmodels import snapshots, training_runs
from mlmodels.models import DatasetSnapshot, MLModel, ModelVersion, TrainingRun, VersionCheck
from mlmodels.training_runs import decision
from serving_site.accounts.models import AuditEvent, User
from serving_site.jobs import claim as claiming
from serving_site.jobs import drain, lease, sql, sweep
from serving_site.jobs.kinds import KINDS
from tests import sleepy
from tests.mlmodels.conftest import Stored
from tests.processes import wait_until
from tests.working import Working

sqlite = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


@pytest.fixture
def site(working: Working, settings: Any, tmp_path: Path) -> Iterator[None]:
    """A database and a disk of the test's own, and a worker that does what trained versions wait for."""
    settings.MODEL_RECIPES = [sleepy.NAME]
    settings.DATA_DIR = tmp_path / "data"
    yield
    wait_until(lambda: not drain._detached, 20, "every detached run has ended")


@pytest.fixture
def model(site: None) -> MLModel:
    return MLModel.objects.create(slug="sleepy", title="Sleepy", task="classification", recipe=sleepy.NAME)


def take(model: MLModel, **behaviour: Any) -> DatasetSnapshot:
    return snapshots.take(model, sleepy.data(**behaviour), by=None)


class Heard:
    """What a foreground run says; `then` is called with each message."""

    def __init__(self, then: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
        self.messages: list[dict[str, Any]] = []
        self.then = then

    def __call__(self, message: dict[str, Any]) -> None:
        self.messages.append(message)
        self.then(message)


def train(model: MLModel, snapshot: DatasetSnapshot, **options: Any) -> TrainingRun:
    options = {"by": None, "epochs": 3, "progress": Heard(), **options}
    return training_runs.run_here(model, snapshot, **options)


def children() -> list[int]:
    """Living children of this process that train."""
    mine = [int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()]
    return [pid for pid in mine if is_alive(pid) and b"mlmodels.training" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def left_in(folder: Path) -> list[Path]:
    return list((folder / "training").iterdir())


def test_a_run_goes_from_a_snapshot_to_a_checked_candidate(model: MLModel, settings: Any) -> None:
    heard, alice = Heard(), User.objects.create_user("alice")
    snapshot = take(model)
    run = train(model, snapshot, by=alice, progress=heard)
    assert (run.status, run.reason_code, run.error) == ("succeeded", "", ""), run.log
    version = ModelVersion.objects.get()
    assert (run.version, version.state, version.snapshot, version.created_by) == (version, "healthy", snapshot, alice)
    assert run.outcome == "sleepy@1 is a candidate: accuracy 1.000 on 36 rows held out."
    assert run.weights_sha256 == version.weights_sha256
    assert run.parameters["epochs"] == 3
    assert [point[0] for point in run.curves] == [1, 2, 3]
    assert len(run.code_commit) >= 40
    assert run.completed_at > run.started_at  # type: ignore[operator]
    stages = list(dict.fromkeys(message["stage"] for message in heard.messages))
    assert stages == ["start", "read", "fit", "write", "register", "check", "evaluate", "release"]
    assert left_in(settings.DATA_DIR) == []
    assert lease.held() == []
    assert model.live_version is None
    assert list(AuditEvent.objects.filter(action="model.train").values_list("actor__username", "target")) == [
        ("alice", "sleepy")
    ]


@sqlite
def test_the_same_seed_and_data_give_the_same_weights_and_another_seed_gives_others(model: MLModel) -> None:
    snapshot = take(model)
    first, again, other = (train(model, snapshot, seed=seed).weights_sha256 for seed in (5, 5, 6))
    assert first == again != other


@sqlite
@pytest.mark.parametrize(
    ("then", "reason", "sentence"),
    [
        ("raise", "training_failed", "The training stopped with an error: ValueError: the rows do not please it."),
        ("memory", "out_of_memory", "The training needed more memory than this machine has left."),
        ("killed", "worker_crashed", "The training process was killed by signal 9, probably because memory ran out."),
        ("crash", "worker_crashed", "The training process was killed by signal 11."),
    ],
)
def test_a_child_that_fails_fails_the_run_with_one_sentence(
    model: MLModel, settings: Any, then: str, reason: str, sentence: str
) -> None:
    run = train(model, take(model, then=then))
    assert (run.status, run.reason_code, run.error) == ("failed", reason, sentence)
    assert ModelVersion.objects.count() == 0
    assert left_in(settings.DATA_DIR) == []
    assert train(model, take(model, rows=220)).status == "succeeded"  # nothing stands in the next one's way


@sqlite
def test_a_child_that_writes_rubbish_costs_nothing_but_its_log(model: MLModel) -> None:
    run = train(model, take(model, then="talk"))
    assert run.status == "succeeded"
    assert [point[0] for point in run.curves] == [1, 2, 3]
    assert len(run.log) == 20_000
    assert run.log.endswith("a warning of a library\n")


@sqlite
def test_a_process_that_the_child_leaves_behind_ends_with_it(model: MLModel) -> None:
    run = train(model, take(model, then="leave_a_child"))
    assert run.status == "succeeded"
    assert not [pid for pid in Path("/proc").glob("[0-9]*") if b"sleep\x00600" in _command(pid)]


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


@sqlite
def test_a_child_is_told_no_secret_and_ends_with_its_keeper(model: MLModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://somebody:secret@nowhere/site")
    monkeypatch.setenv("SECRET_KEY", "secret")
    seen: dict[str, str] = {}

    def look(message: dict[str, Any]) -> None:
        if message["stage"] == "fit":
            (pid,) = children()
            told = Path(f"/proc/{pid}/environ").read_bytes().decode()
            seen.update((entry.split("=", 1)[0], entry) for entry in told.split("\0") if entry)
            seen["group"] = str(os.getpgid(pid))
            seen["pid"] = str(pid)

    assert train(model, take(model, pause_s=0.1), progress=Heard(look)).status == "succeeded"
    assert seen.pop("group") == seen.pop("pid")
    passed = {"LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "TZ"}
    assert set(seen) - passed == {
        "PATH", "PYTHONPATH", "LC_ALL", "HOME", "TMPDIR", "OMP_NUM_THREADS", "MKL_NUM_THREADS"
    }  # fmt: skip


def test_ctrl_c_leaves_a_canceled_run_and_nothing_else(model: MLModel, settings: Any, stored: Stored) -> None:
    snapshot = take(model, pause_s=30)
    before = stored()

    pressed: list[float] = []

    def interrupt(message: dict[str, Any]) -> None:
        if message["stage"] == "fit":
            pressed.append(time.monotonic())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(model, snapshot, progress=Heard(interrupt))
    assert time.monotonic() - pressed[0] < 10
    run = TrainingRun.objects.get()
    assert (run.status, run.version, run.outcome) == ("canceled", None, "")
    assert ModelVersion.objects.count() == 0
    assert VersionCheck.objects.count() == 0
    assert stored() == before
    assert left_in(settings.DATA_DIR) == []
    assert children() == []
    assert lease.held() == []


def test_a_model_is_trained_once_at_a_time(model: MLModel) -> None:
    snapshot = take(model)
    alice = User.objects.create_user("alice")
    first = training_runs.submit(model, snapshot, by=alice)
    for again in (training_runs.submit, train):
        with pytest.raises(training_runs.Busy) as busy:
            again(model, snapshot, by=None)
        assert str(busy.value) == (
            "sleepy is being trained already: the run that alice asked for at "
            f"{first.created_at:%H:%M} UTC is queued. Wait for it, or stop it: manage.py retrain sleepy --cancel"
        )
    assert training_runs.cancel(first, by=alice)
    assert not training_runs.cancel(first, by=alice)
    assert training_runs.current(model) is None
    assert train(model, snapshot).status == "succeeded"


def test_of_two_who_ask_at_once_one_is_refused(model: MLModel) -> None:
    snapshot = take(model)
    answers: list[str] = []

    def ask() -> None:
        try:
            training_runs.submit(model, snapshot, by=None)
            answers.append("queued")
        except training_runs.Busy:
            answers.append("busy")
        connection.close()

    askers = [threading.Thread(target=ask) for _ in range(6)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert sorted(answers) == ["busy"] * 5 + ["queued"]


def queued(model: MLModel, snapshot: DatasetSnapshot, **options: Any) -> TrainingRun:
    """A queued run that this process has begun to keep, and whose child has said something."""
    run = training_runs.submit(model, snapshot, by=None, epochs=3, **options)
    drain.drain(KINDS[TrainingRun])
    wait_until(lambda: now(run).progress.get("stage") == "fit", 30, lambda: str(now(run).__dict__))
    return run


def now(run: TrainingRun) -> TrainingRun:
    return TrainingRun.objects.get(pk=run.pk)


@sqlite
def test_a_queued_run_is_kept_while_the_actor_is_free(model: MLModel) -> None:
    with lease.keeping():
        run = queued(model, take(model, pause_s=1.5))
        (child,) = children()
        assert now(run).status == "running"
        wait_until(lambda: now(run).is_final, 30)
    assert now(run).outcome.startswith("sleepy@1 is a candidate")
    assert not is_alive(child)


def test_a_canceled_run_stops_its_child_within_two_seconds(model: MLModel, settings: Any) -> None:
    with lease.keeping():
        run = queued(model, take(model, pause_s=60))
        (child,) = children()
        started = time.monotonic()
        assert training_runs.cancel(run, by=None)
        wait_until(lambda: not is_alive(child), 5)
        assert time.monotonic() - started < 2.5
        wait_until(lambda: not lease.held(), 5)
    assert (now(run).status, now(run).version) == ("canceled", None)
    assert left_in(settings.DATA_DIR) == []


@sqlite
def test_a_worker_that_stops_gives_the_run_back_without_an_attempt(model: MLModel, settings: Any) -> None:
    run = queued(model, take(model, pause_s=60))
    (child,) = children()
    drain.stopping.set()
    wait_until(lambda: not lease.held(), 5)
    drain.stopping.clear()
    assert not is_alive(child)
    row = now(run)
    assert (row.status, row.attempts, row.crashes, row.lost) == ("queued", 0, 0, 0)
    assert left_in(settings.DATA_DIR) == []


@sqlite
def test_a_child_that_dies_three_times_fails_the_run(model: MLModel) -> None:
    run = training_runs.submit(model, take(model, then="killed"), by=None, epochs=3)
    with lease.keeping():
        drain.drain(KINDS[TrainingRun])
        wait_until(lambda: now(run).is_final, 60)
    row = now(run)
    assert (row.status, row.reason_code, row.attempts) == ("failed", "worker_crashed", 3)
    assert row.error == (
        "The training process was killed by signal 9, probably because memory ran out, the third time in a row."
    )


def test_a_run_that_was_taken_away_registers_nothing_and_its_heir_registers_once(model: MLModel) -> None:
    """A zombie: its lease has expired while it was frozen, and another worker has taken the run up."""
    run = queued(model, take(model, pause_s=1))
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE mlmodels_trainingrun SET lease_until = {sql.clock(-1)}")
    assert sweep.sweep()["recovered"] == 1
    heir = claiming.claim(KINDS[TrainingRun])
    assert heir is not None
    wait_until(lambda: not lease.held(), 30, "the zombie has ended")
    assert ModelVersion.objects.count() == 0
    drain.run(heir)
    row = now(run)
    assert (row.status, row.lost, row.attempts) == ("succeeded", 1, 2)
    assert ModelVersion.objects.get() == row.version


@sqlite
def test_a_run_whose_worker_vanished_behind_the_registration_goes_on_at_the_check(model: MLModel) -> None:
    run = train(model, take(model))
    version, check = run.version, VersionCheck.objects.get()
    TrainingRun.objects.all().delete()
    run.status, run.version, run.lost, run.completed_at, run.outcome = "queued", version, 1, None, ""
    run.save(force_insert=True)
    batch = claiming.claim(KINDS[TrainingRun])
    assert batch is not None
    drain.run(batch)
    assert (now(run).status, now(run).version) == ("succeeded", version)
    assert ModelVersion.objects.count() == 1
    assert VersionCheck.objects.get() == check


@sqlite
def test_what_a_killed_process_left_on_the_disk_goes_with_the_next_run(model: MLModel, settings: Any) -> None:
    left = settings.DATA_DIR / "training" / "left"
    left.mkdir(parents=True)
    (left / "train.csv").write_text("x,level\n")
    os.utime(left, (time.time() - 3600,) * 2)
    train(model, take(model))
    assert left_in(settings.DATA_DIR) == []


@sqlite
def test_if_better_releases_only_what_is_better_and_the_gate_has_the_last_word(model: MLModel) -> None:
    snapshot = take(model)
    first = train(model, snapshot, seed=sleepy.WORSE, promote="if-better")  # nothing was live before
    assert first.outcome.startswith("sleepy@1 is live as release 1: accuracy 0."), first.outcome
    better = train(model, snapshot, promote="if-better", reason="a better seed")
    assert better.outcome == "sleepy@2 is live as release 2: accuracy 1.000 on 36 rows held out."
    assert model.releases.get(number=2).reason == "a better seed"
    equal = train(model, snapshot, promote="if-better")
    assert equal.outcome.startswith("sleepy@3 is a candidate, not better than sleepy@2: accuracy 1.000, log loss 0.")
    worse = train(model, snapshot, seed=sleepy.WORSE, promote="always")
    assert worse.status == "succeeded"
    assert worse.outcome.startswith("sleepy@4 is a candidate (accuracy 0."), worse.outcome
    model.refresh_from_db()
    assert (model.live_version, model.releases.count()) == (better.version, 2)


@pytest.mark.parametrize(
    ("new", "old", "shown"),
    [
        ({"accuracy": 0.951}, {"accuracy": 0.953}, "accuracy 0.951 against 0.953"),
        (
            {"accuracy": 0.9, "log_loss": 0.21}, {"accuracy": 0.9, "log_loss": 0.2},
            "accuracy 0.900, log loss 0.2100 against 0.2000",
        ),
        ({"r2": 0.5, "rmse": 9.0}, {"r2": 0.525, "rmse": 8.0}, "R² 0.500 against 0.525"),
        ({}, {"r2": 0.4}, "not measured"),
    ],
)  # fmt: skip
def test_what_decided_is_said(new: dict[str, float], old: dict[str, float], shown: str) -> None:
    assert decision.compared(new, old) == shown
