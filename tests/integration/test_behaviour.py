"""From a click to a recorded outcome, the same on both installs."""

import json
import time
from typing import Any

import pytest

from tests import zoo
from tests.integration.conftest import Running
from tests.processes import wait_until
from tests.rows import counter, ended, prediction, query, unfinished


def outputs(row: dict[str, Any]) -> Any:
    return row["outputs"] if not isinstance(row["outputs"], str) else json.loads(row["outputs"])


def test_an_input_becomes_a_stored_result(running: Running) -> None:
    row = ended(running.install, running.alice.submit("zoo-ok", x="1.5"))
    assert (row["status"], row["label"], row["attempts"]) == ("succeeded", "high", 1)
    (output,) = outputs(row)
    assert output["probabilities"]["high"] == pytest.approx(zoo.expected(1.5)["probabilities"]["high"], rel=1e-5)
    assert row["queue_ms"] >= 0
    assert row["compute_ms"] > 0
    assert row["release_id"] is not None


def test_the_first_answer_after_a_pause_comes_quickly(running: Running) -> None:
    ended(running.install, running.alice.submit("zoo-ok", x="1"))
    time.sleep(1)
    started = time.monotonic()
    ended(running.install, running.alice.submit("zoo-ok", x="2"))
    assert time.monotonic() - started < 3  # rung, not found by the sweeper


@pytest.mark.parametrize(
    ("x", "reason"),
    [
        (zoo.POISON_SEGV, "worker_crashed"),
        (zoo.POISON_RAISE, "raised"),
        (zoo.POISON_HANG, "timeout"),
        (zoo.POISON_OOM, "out_of_memory"),
        (zoo.POISON_NAN, "bad_output"),
        (zoo.POISON_EXIT, "worker_crashed"),
    ],
)
def test_what_the_model_does_wrong_is_recorded_and_the_slot_is_back(running: Running, x: float, reason: str) -> None:
    row = ended(running.install, running.alice.submit("zoo-poison", x=str(x)))
    assert (row["status"], row["reason_code"]) == ("failed", reason)
    assert row["error"].endswith(".")
    assert row["attempts"] == (3 if reason == "worker_crashed" else 1)
    started = time.monotonic()
    after = ended(running.install, running.alice.submit("zoo-poison", x="1"))
    assert after["status"] == "succeeded"
    assert time.monotonic() - started < 3


def test_innocent_rows_beside_a_poison_succeed(running: Running) -> None:
    """They are queued while the model is busy, so that they meet in one batch."""
    busy = running.alice.submit("zoo-poison", x=str(zoo.POISON_SLEEP))
    innocents = [running.alice.submit("zoo-poison", x=str(number)) for number in range(1, 8)]
    poison = running.alice.submit("zoo-poison", x=str(zoo.POISON_SEGV))
    innocents += [running.alice.submit("zoo-poison", x=str(number)) for number in range(8, 16)]
    assert ended(running.install, poison)["reason_code"] == "worker_crashed"
    assert {ended(running.install, key)["status"] for key in [busy, *innocents]} == {"succeeded"}


def test_cancel_ends_a_running_prediction_and_frees_its_slot(running: Running) -> None:
    key = running.alice.submit("zoo-poison", x=str(zoo.POISON_SLEEP))
    wait_until(lambda: prediction(running.install, key)["status"] == "running", 10)
    page = f"/predictions/{key}/"
    running.alice.post(f"{page}cancel/", {}, token_from=page)
    row = ended(running.install, key, 5)
    assert (row["status"], row["outputs"]) == ("canceled", None)
    started = time.monotonic()
    ended(running.install, running.alice.submit("zoo-poison", x="1"))
    assert time.monotonic() - started < 3


def test_the_request_id_follows_the_work_into_the_worker_and_its_executor(running: Running) -> None:
    key = running.alice.submit("zoo-poison", x=str(zoo.POISON_RAISE))
    row = ended(running.install, key)
    assert len(row["request_id"]) >= 32
    logs = "".join(process.log_text() for process in [running.web, *running.workers])
    lines = [line for line in logs.splitlines() if row["request_id"] in line]
    assert any("request_started" in line for line in lines)
    assert any("mlmodels.executor" in line for line in lines)


def test_every_executor_runs_in_the_sandbox(running: Running) -> None:
    ended(running.install, running.alice.submit("zoo-ok", x="1"))

    def levels() -> list[str]:
        rows = query(running.install, "SELECT info FROM jobs_worker")
        return [(row["info"] if isinstance(row["info"], dict) else json.loads(row["info"]))["sandbox"] for row in rows]

    wait_until(lambda: all(level.startswith("base") for level in levels()), 10, lambda: str(levels()))


def test_a_version_whose_file_is_corrupt_is_quarantined_and_the_previous_one_answers(running: Running) -> None:
    running.install.shell(
        "from mlmodels.models import *\n"
        "v = ModelVersion.objects.get(model__slug='zoo-ok')\n"
        "new = ModelVersion(model=v.model, number=2, state='healthy', manifest=v.manifest, artifact_bytes=1,\n"
        "    manifest_sha256='0' * 64, weights_sha256='1' * 64)\n"
        "new.save()\n"
        "from mlmodels import releases\n"
        "from tests.registry import passed_gate\n"
        "passed_gate(new)\n"
        "releases.promote(v.model, new, by=None, reason='a version whose file is missing', warm_s=0)\n"
    )
    row = ended(running.install, running.alice.submit("zoo-ok", x="1"))
    assert row["status"] == "succeeded"
    (version,) = query(running.install, "SELECT number FROM mlmodels_modelversion WHERE id = %s", row["version_id"])
    assert version["number"] == 1
    (state,) = query(
        running.install, "SELECT state, state_reason FROM mlmodels_modelversion WHERE manifest_sha256 = %s", "0" * 64
    )
    assert state["state"] == "quarantined"
    assert "missing" in state["state_reason"]
    root = running.install.log_in(running.web, "root")
    assert "is quarantined" in root.get("/admin/mlmodels/mlmodel/").text


def test_nothing_is_left_open_and_nothing_was_fenced(running: Running) -> None:
    wait_until(lambda: unfinished(running.install) == 0, 30)
    assert counter(running.install, "leases_recovered") == 0
