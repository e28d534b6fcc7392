"""Training on both installs with real processes: in the foreground, by a worker, stopped, killed, taken up again."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local.keeper import is_alive
from tests.installs import Install
from tests.integration.conftest import Running
from tests.processes import Process, wait_until
from tests.rows import FINAL, ended, query
from tests.services import RabbitMQ

TAKE = """
from tests import sleepy
from mlmodels import registry, snapshots
data = sleepy.data({arguments})
snapshots.take(registry.model_for(data.schema, None), data, by=None)
"""
_rows = itertools.count(200)


def take(running: Running, **behaviour: Any) -> None:
    """Make the model's newest data behave so in training."""
    running.install.shell(TAKE.format(arguments=f"rows={next(_rows)}, **{behaviour!r}"))


class Command:
    """`manage.py …` in a process of its own."""

    def __init__(self, install: Install, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", *arguments], cwd=install.tree, env=install.environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def end(self, timeout_s: float = 90) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=timeout_s)
        return self.process.returncode, out, err


@contextlib.contextmanager
def command(running: Running, *arguments: str) -> Iterator[Command]:
    started = Command(running.install, *arguments)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.process.kill()
            started.process.communicate()


def latest(running: Running) -> dict[str, Any]:
    rows = query(running.install, "SELECT * FROM mlmodels_trainingrun ORDER BY id DESC LIMIT 1")
    return rows[0] if rows else {}


def until(running: Running, status: str, stage: str = "", after: Any = None, timeout_s: float = 60) -> dict[str, Any]:
    """The newest run, which is not `after`, once it is so."""

    def is_so() -> bool:
        row = latest(running)
        if not row or row["id"] == after or row["status"] != status:
            return False
        progress = row["progress"] if isinstance(row["progress"], dict) else json.loads(row["progress"])
        return not stage or progress.get("stage") == stage

    wait_until(is_so, timeout_s, lambda: f"{status} {stage}: {latest(running)}\n{running.install.logs()}")
    return latest(running)


def trainers(pid: int) -> list[int]:
    """The training children below a process."""
    below = Process.children(type("Of", (), {"pid": pid})())
    return [child for child in below if b"mlmodels.training" in Path(f"/proc/{child}/cmdline").read_bytes()]


def versions(running: Running) -> int:
    text = "SELECT count(*) AS n FROM mlmodels_modelversion v JOIN mlmodels_mlmodel m ON m.id = v.model_id "
    return int(query(running.install, text + "WHERE m.slug = 'sleepy'")[0]["n"])


@pytest.fixture
def before(running: Running) -> Any:
    """The newest run before the test."""
    return latest(running).get("id")


def test_retrain_in_the_foreground_answers_programs_with_one_object(running: Running) -> None:
    take(running)
    with command(running, "retrain", "sleepy", "--epochs", "3", "--seed", "7", "--promote", "always", "--json") as run:
        status, out, err = run.end()
    assert status == 0, err
    answer = json.loads(out)
    row = latest(running)
    assert (row["status"], row["seed"], row["epochs"], row["promote"]) == ("succeeded", 7, 3, "always")
    assert (answer["slug"], answer["version"], answer["weights_sha256"]) == ("sleepy", 1, row["weights_sha256"])
    assert answer["outcome"].startswith("sleepy@1 is live as release 1")
    assert "\nepoch 3/3  loss 0.3333  metric 0.7500  0:" in err
    assert ("\r" in err, "{" in err) == (False, False)  # nobody looks at it, so no line is rewritten; and no logs
    again = json.loads(running.install.manage("retrain", "sleepy", "--epochs", "3", "--seed", "7", "--json"))
    assert (again["version"], again["weights_sha256"]) == (2, answer["weights_sha256"])


def test_predictions_are_answered_while_a_worker_trains_and_its_message_is_long_acknowledged(
    running: Running, before: Any, request: pytest.FixtureRequest
) -> None:
    take(running, pause_s=5)
    with command(running, "retrain", "sleepy", "--epochs", "4", "--queue") as run:
        until(running, "running", "fit", after=before)
        if not running.install.is_embedded:
            assert rings(running, request.getfixturevalue("rabbitmq")) == 0
        for x in ("1", "2", "3"):
            started = time.monotonic()
            assert ended(running.install, running.alice.submit("zoo-ok", x=x))["status"] == "succeeded"
            assert time.monotonic() - started < 5
        assert latest(running)["status"] == "running"
        status, out, err = run.end()
    assert (status, "is a candidate" in out) == (0, True), err


def rings(running: Running, rabbitmq: RabbitMQ) -> int:
    """Messages of the training queue, those that a consumer holds too."""
    vhost = running.install.environment["RABBITMQ_URL"].rpartition("/")[2]
    listed = rabbitmq.ctl("list_queues", "-p", vhost, "name", "messages")
    return sum(int(line.split()[1]) for line in listed.splitlines() if line.split()[0] == "train.v1")


def test_ctrl_c_in_the_foreground_leaves_a_canceled_run_and_nothing_else(running: Running, before: Any) -> None:
    take(running, pause_s=60)
    count = versions(running)
    with command(running, "retrain", "sleepy") as run:
        until(running, "running", "fit", after=before)
        (child,) = trainers(run.process.pid)
        run.process.send_signal(signal.SIGINT)
        status, out, err = run.end(30)
    assert (status, out) == (130, "")
    assert err.endswith("Stopped: the run is canceled and nothing of it is kept.\n")
    assert "Traceback" not in err
    assert not is_alive(child)
    assert latest(running)["status"] == "canceled"
    assert versions(running) == count
    folder = Path(running.install.environment["DATA_DIR"]) / "training"
    assert list(folder.iterdir()) == []


def test_a_queued_run_goes_on_without_who_asked_for_it_until_it_is_canceled(running: Running, before: Any) -> None:
    take(running, pause_s=60)
    with command(running, "retrain", "sleepy", "--queue") as run:
        until(running, "running", "fit", after=before)
        run.process.send_signal(signal.SIGINT)
        status, _, err = run.end(30)
    assert status == 130
    assert err.endswith("The run goes on without you. Stop it: manage.py retrain sleepy --cancel\n")
    with command(running, "retrain", "sleepy") as second:
        status, _, err = second.end(30)
    assert status == 1
    assert "sleepy is being trained already: the run that system asked for at " in err
    keeper = running.web if running.install.is_embedded else running.workers[0]
    (child,) = trainers(keeper.pid)
    running.install.manage("retrain", "sleepy", "--cancel")
    wait_until(lambda: not is_alive(child), 5, "its child is gone")
    assert latest(running)["status"] == "canceled"


def test_a_killed_command_takes_its_child_along(running: Running, before: Any) -> None:
    take(running, pause_s=60)
    with command(running, "retrain", "sleepy") as run:
        until(running, "running", "fit", after=before)
        (child,) = trainers(run.process.pid)
        run.process.kill()
        run.end()
        wait_until(lambda: not is_alive(child), 5, "its child is gone")
    running.install.manage("retrain", "sleepy", "--cancel")


def expire(running: Running) -> None:
    """Make the leases of trainings end now, as if 30 s had passed."""
    running.install.shell(
        "from django.utils import timezone\nfrom mlmodels.models import TrainingRun\n"
        "TrainingRun.objects.filter(status='running').update(lease_until=timezone.now())"
    )


@pytest.fixture
def second(running: Running) -> Iterator[Process]:
    """A worker of its own beside the one that is there, which keeps the run when this one goes."""
    if running.install.is_embedded:
        pytest.skip("the site is the only worker")
    os.kill(running.workers[0].pid, signal.SIGSTOP)
    worker = running.install.worker(wait_for="worker_started")
    try:
        yield worker
    finally:
        os.kill(running.workers[0].pid, signal.SIGCONT)
        if worker.is_running:
            worker.stop()


def test_a_terminated_worker_gives_its_training_back_and_another_finishes_it(
    running: Running, before: Any, second: Process
) -> None:
    take(running, pause_s=1)
    count = versions(running)
    running.install.manage("retrain", "sleepy", "--epochs", "3", "--queue", "--no-wait")
    until(running, "running", "fit", after=before)
    (child,) = trainers(second.pid)
    started = time.monotonic()
    assert second.stop(60) == 0, second.log_text()
    assert time.monotonic() - started < 15
    assert not is_alive(child)
    row = latest(running)
    assert (row["status"], row["attempts"], row["lost"]) == ("queued", 0, 0)
    os.kill(running.workers[0].pid, signal.SIGCONT)
    row = until(running, "succeeded", after=before)
    assert (row["attempts"], row["crashes"], row["lost"]) == (1, 0, 0)
    assert versions(running) == count + 1


def test_a_killed_worker_takes_its_child_along_and_another_trains_again(
    running: Running, before: Any, second: Process
) -> None:
    take(running, pause_s=1)
    count = versions(running)
    running.install.manage("retrain", "sleepy", "--epochs", "3", "--queue", "--no-wait")
    until(running, "running", "fit", after=before)
    (child,) = trainers(second.pid)
    second.kill()
    wait_until(lambda: not is_alive(child), 5, "its child is gone")
    os.kill(running.workers[0].pid, signal.SIGCONT)
    expire(running)
    row = until(running, "succeeded", after=before)
    assert (row["attempts"], row["crashes"], row["lost"]) == (2, 0, 1)
    assert versions(running) == count + 1


def test_nothing_is_left_queued_or_running(running: Running) -> None:
    rows = query(running.install, "SELECT status FROM mlmodels_trainingrun")
    assert {row["status"] for row in rows} <= set(FINAL)
