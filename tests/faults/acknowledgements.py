"""The wrong-acknowledgement defect, step by step: which messages are lost with the consumer of a tree."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.faults.numbers import COUNT, HELD, PREFETCH, QUEUE
from tests.processes import wait_until
from tests.services import RabbitMQ
from tests.session import GROUND, REPOSITORY


def lost_messages(rabbitmq: RabbitMQ, consumer: str, tree: Path = REPOSITORY) -> set[int]:
    """The numbers that neither ran to their end nor are in the queue, after a worker with `consumer` was killed.

    While number 5 runs, the broker closes all connections; the worker reconnects, and the broker delivers 5 to 12
    again, with delivery tags from 1. Then 5 ends, and its old tag, 5, is that of number 9 now.
    """
    vhost = rabbitmq.new_vhost()
    with tempfile.TemporaryDirectory(dir=GROUND.directory) as name:
        folder = Path(name)
        program = [sys.executable, "-m", "tests.faults.numbers"]
        where = [consumer, rabbitmq.url(vhost), str(folder)]
        environment = {"PATH": "/usr/bin:/bin", "dramatiq_restart_delay": "300"}
        subprocess.run([*program, "publish", *where], cwd=tree, env=environment, check=True, timeout=30)
        worker = subprocess.Popen(
            [*program, "work", *where], cwd=tree, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        try:
            wait_until((folder / f"started-{HELD}").exists, 20, f"{HELD} runs")
            before = _channel(rabbitmq, vhost)
            rabbitmq.close_all_connections()
            wait_until(lambda: _channel(rabbitmq, vhost) not in ("", before), 20, "reconnected")
            wait_until(lambda: _unacknowledged(rabbitmq, vhost) == PREFETCH, 20, "delivered again")
            (folder / f"go-{HELD}").touch()
            wait_until((folder / f"started-{HELD + 1}").exists, 20, f"{HELD + 1} runs")
            _unacknowledged(rabbitmq, vhost)  # about a second, in which the acknowledgement arrives
        finally:
            worker.kill()
            worker.wait()
        wait_until(lambda: _unacknowledged(rabbitmq, vhost) == 0, 20, "the dead worker's messages are back")
        done = {int(path.name.removeprefix("done-")) for path in folder.glob("done-*")}
    left = set()
    while body := rabbitmq.get(QUEUE, vhost):
        left.add(int(json.loads(body)["args"][0]))
    rabbitmq.delete_vhost(vhost)
    return set(range(1, COUNT + 1)) - done - left


def _unacknowledged(rabbitmq: RabbitMQ, vhost: str) -> int:
    lines = rabbitmq.ctl("list_queues", "--vhost", vhost, "--no-table-headers", "name", "messages_unacknowledged")
    return next(int(line.split()[1]) for line in lines.splitlines() if line.split()[0] == QUEUE)


def _channel(rabbitmq: RabbitMQ, vhost: str) -> str:
    """Which channel consumes the queue; empty while none does."""
    lines = rabbitmq.ctl("list_consumers", "--vhost", vhost, "--no-table-headers", "queue_name", "channel_pid")
    return next((line.split()[1] for line in lines.splitlines() if line.split()[0] == QUEUE), "")
