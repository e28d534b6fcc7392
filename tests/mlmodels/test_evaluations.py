"""A version is judged by a worker on the rows held out, in an executor of its own."""

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from mlmodels import artifacts, datasets, evaluations, registry, runtime, snapshots
from mlmodels.models import Evaluation, ModelVersion
from serving_site.jobs import finish, lease
from serving_site.jobs.models import Worker
from tests import levels, zoo
from tests.mlmodels.conftest import edit
from tests.processes import wait_until
from tests.working import Working

sqlite = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
HELD_OUT = [row for row in levels.ROWS if levels.held_out(row)]


def evaluated(version: ModelVersion) -> Evaluation:
    return evaluations.await_report(evaluations.submit(version, purpose="evaluate", by=None), 20)


def run(*arguments: str) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    call_command(*arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_an_evaluation_measures_a_version_on_the_rows_held_out(working: Working, tmp_path: Path) -> None:
    levels.snapshot()
    version = levels.accept(levels.write(tmp_path / "a", shift=1.0))  # takes -1 < x < 0 for high
    done = evaluated(version)
    assert (done.status, done.error, done.passed) == ("succeeded", "", None)
    wrong = sum(-1 < row["x"] < 0 for row in HELD_OUT)
    report = done.report
    assert (report["rows"], report["failed_rows"]) == (len(HELD_OUT), 0)
    assert report["metrics"]["accuracy"] == pytest.approx(1 - wrong / len(HELD_OUT), rel=1e-5)
    assert report["metrics"]["auc"] == 1
    (low, high) = report["confusion"]["counts"]
    assert (low[1], high[0]) == (wrong, 0)
    assert 0 < report["latency_ms"]["single_p50"] <= report["latency_ms"]["single_p95"]
    assert report["latency_ms"]["batch_per_row"] > 0
    assert 50 < report["memory_mb"] < 2000
    version.refresh_from_db()
    figures = {**report["metrics"], "rows": len(HELD_OUT), "latency_ms": report["latency_ms"]["single_p50"]}
    assert version.measured == figures
    assert version.metrics["accuracy"] == figures["accuracy"]
    assert evaluations.newest(version) == done


@sqlite
def test_what_serves_stays_loaded_while_another_version_is_evaluated(
    working: Working, host: runtime.Runtime, tmp_path: Path
) -> None:
    first = levels.accept(levels.write(tmp_path / "a"))
    host.warm(first)
    before = host.loaded()
    evaluated(levels.accept(levels.write(tmp_path / "b", scale=2.0)))
    assert host.loaded() == before
    assert first.pk in before


def test_without_rows_held_out_the_report_says_so_and_measures_the_rest(working: Working, tmp_path: Path) -> None:
    version = levels.accept(levels.write(tmp_path / "a"))
    report = evaluated(version).report
    assert (report["rows"], report["metrics"]) == (0, {})
    assert report["note"].startswith("No rows are held out for zoo-ok")
    assert report["latency_ms"]["single_p50"] > 0
    version.refresh_from_db()
    assert version.measured == {"latency_ms": report["latency_ms"]["single_p50"]}
    assert version.metrics["rows"] == 4  # what its training said


def test_its_own_data_judges_a_version_and_else_the_newest_of_the_model(working: Working, tmp_path: Path) -> None:
    old, new = levels.snapshot(levels.ROWS[50:]), levels.snapshot()
    version = levels.accept(levels.write(tmp_path / "a"))
    assert evaluations.snapshot_for(version) == new
    version.snapshot = old
    assert evaluations.snapshot_for(version) == old


def test_rows_that_do_not_fit_are_counted_and_the_others_judged(working: Working, tmp_path: Path) -> None:
    levels.snapshot()
    narrow = zoo.signature()
    narrow["input"]["properties"]["x"] |= {"minimum": -4.0, "maximum": 4.0}
    version = levels.accept(levels.write(tmp_path / "a", signature=narrow))
    report = evaluated(version).report
    outside = sum(abs(row["x"]) > 4 for row in HELD_OUT)
    assert outside > 0
    assert (report["rows"], report["failed_rows"]) == (len(HELD_OUT) - outside, outside)
    assert report["metrics"]["accuracy"] == 1


@sqlite
def test_pictures_held_out_reach_the_model_as_pictures(working: Working, tmp_path: Path) -> None:
    rows = [{"x": zoo.grey_picture(level)} for level in range(60, 200, 2)]
    truths = [zoo.LABELS[int(level > 127)] for level in range(60, 200, 2)]
    model = levels.model()
    schema = {**levels.SCHEMA, "columns": [{"name": "x", "title": "X", "kind": "image"}]}
    snapshots.take(model, datasets.Dataset(schema, rows, truths), by=None)
    zoo.artifact(tmp_path / "a", "picture")
    edit(tmp_path / "a", slug="zoo-ok")
    report = evaluated(levels.accept(tmp_path / "a")).report
    assert report["rows"] > 5
    assert report["metrics"]["accuracy"] == 1


@sqlite
@pytest.mark.parametrize(
    ("architecture", "sentence"),
    [
        ("nan", "zoo-ok@1 failed while it was tried (bad_output): The model answered with NaN or an infinite number."),
        ("segv", "zoo-ok@1 failed while it was tried (died): The model's process died (signal 11)."),
        ("raises", "zoo-ok@1 failed while it was tried (raised): "),
        ("hang_python", "zoo-ok@1 failed while it was tried (timeout): The model did not answer in time."),
    ],
)
def test_a_version_that_fails_on_rows_fails_its_evaluation_with_a_sentence(
    working: Working, tmp_path: Path, settings: Any, architecture: str, sentence: str
) -> None:
    settings.PREDICTION_DEADLINE_S = 1.0
    levels.snapshot()
    version = levels.unchecked(levels.write(tmp_path / "a", architecture=architecture))
    done = evaluated(version)
    assert (done.status, done.reason_code) == ("failed", "evaluation_failed")
    assert done.error.startswith(sentence)
    version.refresh_from_db()
    assert version.measured == {}


def test_a_version_that_cannot_be_loaded_fails_its_evaluation(working: Working, tmp_path: Path) -> None:
    version = levels.accept(levels.write(tmp_path / "a"))
    ModelVersion.objects.filter(pk=version.pk).update(weights_sha256="0" * 64)
    done = evaluated(version)
    assert (done.status, done.error) == (
        "failed", "zoo-ok@1 cannot be loaded: The stored file 0000000000000000… is missing."
    )  # fmt: skip


def test_where_no_worker_is_alive_that_is_said_soon(
    engine: str, stored: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluations, "ABSENT_S", 0.1)
    version = registry.register(artifacts.take_folder(levels.write(tmp_path / "a")), by=None)
    with pytest.raises(evaluations.NoWorker, match=r"^No worker is running, so zoo-ok@1 cannot be tried. Start one"):
        evaluated(version)
    assert Evaluation.objects.get().status == "queued"


@sqlite
def test_an_evaluation_that_nobody_wants_any_more_stops_its_child(working: Working, tmp_path: Path) -> None:
    slow = levels.unchecked(levels.write(tmp_path / "a", architecture="slow", params={"seconds": 8.0}))
    queued = evaluations.submit(slow, purpose="evaluate", by=None)
    wait_until(lambda: Evaluation.objects.get(pk=queued.pk).status == "running")
    (held,) = lease.held()
    wait_until(lambda: held.on_unwanted.__name__ == "stop" and bool(held.on_unwanted.__self__.children))  # type: ignore[attr-defined]
    finish.cancel(queued)
    started = time.monotonic()
    lease.keep()
    wait_until(lambda: not lease.held())
    assert time.monotonic() - started < 5
    queued.refresh_from_db()
    assert (queued.status, queued.report) == ("canceled", {})


@sqlite
def test_a_worker_that_is_too_slow_is_not_waited_for_for_ever(working: Working, tmp_path: Path) -> None:
    version = levels.accept(levels.write(tmp_path / "a", architecture="slow", params={"seconds": 0.1}))
    queued = evaluations.submit(version, purpose="evaluate", by=None)
    with pytest.raises(evaluations.NoWorker, match=r"^The evaluation of zoo-ok@1: queued has no report after 0 s."):
        evaluations.await_report(queued, 0.2)


def test_the_command_prints_a_table_for_people(working: Working, tmp_path: Path) -> None:
    levels.snapshot()
    levels.accept(levels.write(tmp_path / "a"))
    out, err = run("evaluate", "zoo-ok")
    assert err == "A worker evaluates zoo-ok@1 …\n"
    lines = out.splitlines()
    assert lines[0] == f"zoo-ok@1 on {len(HELD_OUT)} rows held out"
    low = sum(row["x"] < 0 for row in HELD_OUT)
    assert [line.split() for line in lines[1:]][:8] == [
        ["accuracy", "1"],
        ["balanced", "accuracy", "1"],
        ["AUC", "1"],
        lines[4].split(),
        lines[5].split(),
        ["low", "high", "←", "answered"],
        ["low", str(low), "0"],
        ["high", "0", str(len(HELD_OUT) - low)],
    ]
    assert lines[-1].endswith("MB, shared libraries included")


def test_the_command_answers_programs_with_one_object(working: Working, tmp_path: Path) -> None:
    levels.snapshot()
    levels.accept(levels.write(tmp_path / "a"))
    levels.accept(levels.write(tmp_path / "b", shift=1.0))
    out, _ = run("evaluate", "zoo-ok@1", "--json")
    told = json.loads(out)
    assert (told["slug"], told["version"], told["state"], told["metrics"]["accuracy"]) == ("zoo-ok", 1, "healthy", 1)
    assert told["report"]["rows"] == len(HELD_OUT)
    assert told["evaluation"] == str(Evaluation.objects.get().pk)


@sqlite
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("plants", "There is no model 'plants'. Known: zoo-ok."),
        ("zoo-ok", "zoo-ok has no healthy version yet."),
        ("zoo-ok@7", "zoo-ok has no version 7. Known: 1."),
        ("zoo-ok@", "zoo-ok has no version (nothing after the @). Known: 1."),
        ("zoo-ok@1²", "zoo-ok has no version 1². Known: 1."),
    ],
)
def test_a_name_that_names_no_version_is_refused(
    engine: str, stored: Any, tmp_path: Path, name: str, sentence: str
) -> None:
    registry.register(artifacts.take_folder(levels.write(tmp_path / "a")), by=None)
    with pytest.raises(CommandError) as error:
        run("evaluate", name)
    assert str(error.value) == sentence
    assert Worker.objects.count() == 0
