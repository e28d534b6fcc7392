"""Evaluations: jobs in which a worker runs a version to judge it. They write a report and answer nobody.

The gate and the replay are evaluations too; each registers in RUNNERS how its purpose is run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from mlmodels import measures, snapshots, trials
from mlmodels.datasets import BadData, Dataset
from mlmodels.executor import ServerFailed
from mlmodels.models import DatasetSnapshot, Evaluation, MLModel, ModelVersion, Purpose, Task, system_user
from mlmodels.runtime import Interrupted
from serving_site.accounts.models import User
from serving_site.jobs import kinds, sweep, wait
from serving_site.jobs import submit as jobs_submit
from serving_site.jobs.batch import Batch
from serving_site.jobs.claim import LEASE_S
from serving_site.jobs.drain import patiently, stopping
from serving_site.jobs.finish import Outcome
from serving_site.jobs.models import Lane, Status

log = structlog.get_logger(__name__)

Report = dict[str, Any]
Runner = Callable[[Evaluation, trials.Watch], tuple[Report, bool | None]]
RUNNERS: dict[str, Runner] = {}
"""By purpose: what the worker does, returning the report and, for a gate, whether it lets pass."""
DEADLINE_S = trials.TRIAL_S + 60.0
"""Of the job: the trial runs, and reading the data before them."""
ABSENT_S = 5.0
"""When no worker has been alive for so long, nobody is coming."""


class NoWorker(Exception):
    """No worker has written the report that was waited for; the message says what to do."""


def submit(
    version: ModelVersion,
    *,
    purpose: str,
    by: User | None,
    against: ModelVersion | None = None,
    snapshot: DatasetSnapshot | None = None,
    options: dict[str, Any] | None = None,
) -> Evaluation:
    """Queue an evaluation. Without a `snapshot` it uses the version's own data, else the model's newest, if any."""
    evaluation = Evaluation(
        version=version,
        against=against,
        snapshot=snapshot or snapshot_for(version),
        purpose=purpose,
        options=options or {},
        owner=by or system_user(),
        lane=Lane.SHADOW if purpose == Purpose.REPLAY else Lane.CLICK,
    )
    jobs_submit.submit(evaluation)
    return evaluation


def await_report(evaluation: Evaluation, timeout_s: float) -> Evaluation:
    """The evaluation, refreshed once it has ended. Raises NoWorker when no worker is there, or none was quick enough.

    The row stays queued then: a worker that starts later still writes the report.
    """
    kind, now = kinds.KINDS[Evaluation], time.monotonic()
    until, seen = now + timeout_s, now
    while not wait.wait_for(Evaluation, evaluation.pk, min(1.0, max(until - time.monotonic(), 0.0))):
        now = time.monotonic()
        seen = now if sweep.live_slots(kind) else seen
        if now - seen > ABSENT_S:
            raise NoWorker(
                f"No worker is running, so {evaluation.version} cannot be tried. Start one (manage.py runworker, or "
                "the site itself where it is embedded), then try again."
            )
        if now > until:
            raise NoWorker(f"The {evaluation} has no report after {timeout_s:.0f} s. It goes on; look again later.")
    evaluation.refresh_from_db()
    return evaluation


def newest(version: ModelVersion, purpose: str = Purpose.EVALUATE) -> Evaluation | None:
    """The last evaluation of this purpose that succeeded."""
    return version.evaluations.filter(purpose=purpose, status=Status.SUCCEEDED).order_by("-id").first()


def snapshot_for(version: ModelVersion) -> DatasetSnapshot | None:
    """Whose rows judge it: those held out from its own data, else from the model's newest."""
    return version.snapshot or DatasetSnapshot.objects.filter(model=version.model_id).order_by("-id").first()


def run(batch: Batch) -> None:
    """Run one claimed evaluation. What the version does wrong fails it; what this host does wrong gives it back."""
    (job,) = batch.jobs
    chosen = Evaluation.objects.select_related("version__model", "version__snapshot", "against__model", "snapshot")
    evaluation = chosen.get(pk=job.pk)
    try:
        report, passed = RUNNERS[evaluation.purpose](evaluation, trials.watch(batch))
        outcome = Outcome(job.id, Status.SUCCEEDED, "", {"report": report, "passed": passed})
    except Interrupted:
        patiently(batch.give_back, LEASE_S)
        return
    except (trials.TrialFailed, BadData, FileNotFoundError) as error:
        log.warning("evaluation_failed", version=str(evaluation.version), purpose=evaluation.purpose, error=str(error))
        outcome = Outcome(job.id, Status.FAILED, "evaluation_failed", {"error": _sentence(error)})
    except (ServerFailed, OSError) as error:
        log.error("host_cannot_run", error=str(error))
        patiently(batch.give_back, LEASE_S)
        stopping.wait(1.0)
        return
    patiently(lambda: batch.finish([outcome]), LEASE_S)


def record(rows: kinds.FinishedRows) -> None:
    """With the end of an evaluation its figures become the version's, in the same transaction.

    A gate's do where the version has none yet: it was judged on the same rows.
    """
    done = [key for key, status in rows if status == Status.SUCCEEDED]
    for evaluation in Evaluation.objects.filter(pk__in=done).exclude(purpose=Purpose.REPLAY):
        version = ModelVersion.objects.filter(pk=evaluation.version_id)
        if evaluation.purpose == Purpose.EVALUATE:
            version.update(measured=_measured(evaluation.report))
        elif evaluation.report["candidate"]:
            version.filter(measured={}).update(measured=evaluation.report["candidate"])


def _measured(report: Report) -> dict[str, Any]:
    figures = {**report["metrics"], "rows": report["rows"]} if report["rows"] else {}
    return {**figures, "latency_ms": report["latency_ms"]["single_p50"]}


def evaluate(evaluation: Evaluation, over: trials.Watch) -> tuple[Report, None]:
    """Everything that is known about one version: figures on the rows held out, latency, memory."""
    data = held_out(evaluation.snapshot)
    with trials.trial(evaluation.version, over) as one:
        (times,) = trials.times_ms([one], data.rows if data else trials.golden_rows(evaluation.version))
        report, answers = judged(one, data)
        report["latency_ms"] = {**latency(times), "batch_per_row": _tidy(answers.row_ms if answers else None)}
        report["memory_mb"] = _tidy(one.peak_mb)
    return report, None


def held_out(snapshot: DatasetSnapshot | None) -> Dataset | None:
    """The rows held out of a snapshot; None where there are none."""
    data = snapshots.holdout(snapshot) if snapshot else None
    return data if data and data.rows else None


def judged(one: trials.Trial, data: Dataset | None) -> tuple[Report, trials.Answers | None]:
    """What the version answers to the rows held out, and the figures: {"rows", "failed_rows", "metrics", …}.

    `rows` counts those answered. Without data the report says so in "note". Raises trials.TrialFailed.
    """
    if data is None:
        note = f"No rows are held out for {one.version.model}, so nothing but speed and memory was measured."
        return {"rows": 0, "failed_rows": 0, "metrics": {}, "note": note}, None
    answers = one.answers(data.rows)
    if answers.failed_rows == len(data.rows):
        said = f"{one.version} answers none of the {len(data.rows)} rows held out: {answers.error}"
        raise trials.TrialFailed(said, one.version)
    report = figures(one.version.model, one.version.signature, answers.outputs, data.targets)
    return {**report, "failed_rows": answers.failed_rows}, answers


def figures(
    model: MLModel, signature: dict[str, Any], outputs: Sequence[trials.Output | None], truths: Sequence[Any]
) -> Report:
    """The figures on the rows that were answered, at least one."""
    pairs = [(output, truth) for output, truth in zip(outputs, truths, strict=True) if output is not None]
    if model.task == Task.CLASSIFICATION:
        classes = signature["output"]["properties"]["label"]["enum"]
        return measures.of_classes(classes, [output for output, _ in pairs], [str(truth) for _, truth in pairs])
    return measures.of_numbers([output["value"] for output, _ in pairs], [float(truth) for _, truth in pairs])


def latency(times: Sequence[float]) -> dict[str, float | None]:
    """The median and the slow end of single rows, in milliseconds."""
    if not times:
        return {"single_p50": None, "single_p95": None}
    return {"single_p50": _tidy(measures.quantile(times, 0.5)), "single_p95": _tidy(measures.quantile(times, 0.95))}


def _tidy(value: float | None) -> float | None:
    return None if value is None else measures.tidy(value)


def _sentence(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "The stored rows of this data are missing."
    return str(error)


RUNNERS[Purpose.EVALUATE] = evaluate
