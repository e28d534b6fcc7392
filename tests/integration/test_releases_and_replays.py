"""Releases while people work, and answers that come out the same after a restart; on both installs."""

import json
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from tests import levels
from tests.integration.conftest import Running
from tests.person import Person
from tests.rows import ended, query
from tests.session import GROUND

ROUNDS = 6
EVERY_S = 2.0
PEOPLE = ("alice", "bob", "carol")


class Load:
    """Clients that ask one question after the other until told to stop; `asked` maps each prediction to its x."""

    def __init__(self, running: Running) -> None:
        self.asked: dict[uuid.UUID, float] = {}
        self.errors: list[str] = []
        self.stopped = threading.Event()
        self.running = running
        people = [running.install.log_in(running.web, name) for name in PEOPLE]
        self.threads = [threading.Thread(target=self._ask, args=one) for one in enumerate(people)]
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join(60)

    def _ask(self, number: int, person: Person) -> None:
        count = 0
        while not self.stopped.is_set():
            count += 1
            x = round(-3 + (count * len(PEOPLE) + number) % 60 / 10 + 0.05, 2)
            try:
                key = person.submit("zoo-ok", x=str(x))
                self.asked[key] = x
                ended(self.running.install, key)
            except Exception as error:  # noqa: BLE001 - whatever a person would have seen
                self.errors.append(repr(error))


def outputs(row: dict[str, Any]) -> Any:
    return row["outputs"] if not isinstance(row["outputs"], str) else json.loads(row["outputs"])


def test_promote_and_rollback_every_two_seconds_under_load_fail_no_request(running: Running) -> None:
    install = running.install
    with tempfile.TemporaryDirectory(dir=GROUND.directory) as folder:
        install.manage("import_version", str(levels.write(Path(folder, "two"), scale=2.0)))
    install.manage("promote", "zoo-ok", "2", "--reason", "the gate's first look")
    install.manage("rollback", "zoo-ok", "--reason", "back to the start")
    load = Load(running)
    try:
        for number in range(ROUNDS):
            started = time.monotonic()
            words = ("rollback", "zoo-ok") if number % 2 else ("promote", "zoo-ok", "2")
            install.manage(*words, "--reason", f"round {number}")
            time.sleep(max(EVERY_S - (time.monotonic() - started), 0))
    finally:
        load.stop()
    assert load.errors == []
    versions = {row["id"]: row["number"] for row in query(install, "SELECT id, number FROM mlmodels_modelversion")}
    answered_by: set[int] = set()
    for key, x in load.asked.items():
        row = ended(install, key)
        assert row["status"] == "succeeded", row
        number = versions[row["version_id"]]
        answered_by.add(number)
        expected = levels.high(x, scale=float(number))
        (output,) = outputs(row)
        assert output["label"] == expected["label"]
        assert abs(output["probabilities"]["high"] - expected["probabilities"]["high"]) < 1e-5
    assert answered_by == {1, 2}
    assert len(load.asked) > 5 * ROUNDS
    kept = query(install, "SELECT number, evidence FROM mlmodels_release ORDER BY number")
    gates = [(one if isinstance(one, dict) else json.loads(one))["gate"] for one in (row["evidence"] for row in kept)]
    assert [gate for gate in gates if not gate.startswith("passed")] == []


def replay(running: Running, *options: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(running.install.manage("replay", "zoo-ok@1", "--last", "50", "--json", *options))
    return told


def test_what_first_ran_alone_comes_out_the_same_in_every_bit_also_after_a_restart(running: Running) -> None:
    for number in range(20):
        ended(running.install, running.alice.submit("zoo-ok", x=str(number / 7 - 1)))
    before = replay(running, "--alone")
    assert before["rows"] == before["agree"] == 50
    assert before["alone_rows"] >= 20
    assert before["alone_identical"] == before["alone_rows"]
    assert replay(running)["agree"] == 50
    for process in [running.web, *running.workers]:
        process.stop()
    running.web, running.workers = running.install.start()
    running.alice = running.install.log_in(running.web)
    after = replay(running, "--alone")
    same = ("rows", "agree", "identical", "alone_rows", "alone_identical")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    (stored,) = query(running.install, "SELECT count(*) AS n FROM predictions_prediction WHERE source = 'replay'")
    assert stored["n"] == 0
