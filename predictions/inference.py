"""From the outcome of a run to the outcome of its rows: what counts as evidence, and against whom."""

from __future__ import annotations

import functools
import socket
import uuid
from collections.abc import Sequence
from typing import Any

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, QuerySet

from mlmodels import releases, runtime
from mlmodels.executor import ItemError, ItemOutcome, ItemOutput, LoadFailed, Run, RunFailed, ServerFailed
from mlmodels.models import ModelVersion, State, VersionHealth
from predictions import uploads
from predictions.models import Prediction
from serving_site.jobs import lease, sql
from serving_site.jobs.batch import Batch
from serving_site.jobs.claim import LEASE_S
from serving_site.jobs.drain import patiently, stopping
from serving_site.jobs.finish import Outcome, finish
from serving_site.jobs.kinds import KINDS
from serving_site.jobs.models import Status, Worker
from serving_site.jobs.sweep import ALIVE_S

log = structlog.get_logger(__name__)
DEATHS_LIMIT = 10
LOADS_LIMIT = 3
SENTENCES = {
    "raised": "The model stopped with an error on this input.",
    "timeout": "The model took longer than {deadline:g} s for this input and was stopped.",
    "out_of_memory": "The model needed more memory than it may use for this input.",
    "bad_output": "The model answered with something that is not a valid result.",
    "input_missing": "The file of this input is gone. Send it again.",
    "worker_crashed": "The model crashed on this input, three times in a row.",
}


def sentence(reason_code: str) -> str:
    """What a person is told; details are in the log, because a model's own words may hold secrets."""
    return SENTENCES[reason_code].format(deadline=settings.PREDICTION_DEADLINE_S)


@functools.lru_cache(maxsize=256)
def version_of(key: uuid.UUID) -> ModelVersion:
    """A version's row; its artifact never changes, so one read per process is enough."""
    return ModelVersion.objects.select_related("model").get(pk=key)


def max_batch(key: uuid.UUID) -> int:
    return version_of(key).max_batch


def run(batch: Batch) -> None:
    """Run one claimed batch and settle every row of it."""
    version = version_of(batch.jobs[0].version_id)
    held = next(one for one in lease.held() if one.batch is batch)
    try:
        items, gone = _read(batch)
        if gone:
            batch = held.batch = batch.without(gone)
        if not batch.jobs:
            return
        result, load_ms = runtime.get_runtime().predict(
            version,
            items,
            deadline_s=settings.PREDICTION_DEADLINE_S,
            is_unwanted=lambda: held.is_unwanted or stopping.is_set(),
            on_start=lambda child: setattr(held, "on_unwanted", child.kill),
        )
    except runtime.Interrupted:
        patiently(batch.give_back, LEASE_S)
    except (ServerFailed, OSError) as error:  # this host's executors or the way to the files: nothing about the rows
        log.error("host_cannot_run", error=str(error))
        patiently(batch.give_back, LEASE_S)
        stopping.wait(1.0)
    except (LoadFailed, runtime.BrokenArtifact) as error:
        _load_failed(batch, version, error)
    except RunFailed as failure:
        _run_failed(batch, version, failure)
    else:
        patiently(lambda: _record(batch, result, load_ms), LEASE_S)
        _forget_deaths(version)


def _read(batch: Batch) -> tuple[list[dict[str, Any]], list[Outcome]]:
    """The rows of the batch as the executor takes them, and an outcome for each job whose file is gone."""
    items: list[dict[str, Any]] = []
    gone: list[Outcome] = []
    for job in batch.jobs:
        try:
            items += [{name: uploads.value(value) for name, value in row.items()} for row in job.inputs]
        except FileNotFoundError:
            gone.append(Outcome(job.id, Status.FAILED, "input_missing", {"error": sentence("input_missing")}))
    return items, gone


def _run_failed(batch: Batch, version: ModelVersion, failure: RunFailed) -> None:
    """A lone run is evidence against its row; anything that happened to several together is evidence against none."""
    log.warning("run_failed", kind=failure.kind, version=str(version), rows=len(batch.jobs), message=failure.message)
    if failure.kind == "killed":
        patiently(batch.give_back, LEASE_S)
    elif not batch.is_lone:
        patiently(batch.isolate, LEASE_S)
    elif failure.kind == "died":
        patiently(lambda: batch.crashed(error=sentence("worker_crashed")), LEASE_S)
    else:
        patiently(lambda: batch.fail(failure.kind, error=sentence(failure.kind)), LEASE_S)
    if failure.kind == "died":
        patiently(lambda: _count_death(version), LEASE_S)


def _count_death(version: ModelVersion) -> None:
    """A version whose last ten runs all died is taken out of service."""
    health, _ = VersionHealth.objects.get_or_create(version=version)
    VersionHealth.objects.filter(pk=health.pk).update(deaths_in_a_row=F("deaths_in_a_row") + 1)
    health.refresh_from_db()
    if health.deaths_in_a_row >= DEATHS_LIMIT:
        releases.quarantine(version, f"its last {DEATHS_LIMIT} runs all died")


def _forget_deaths(version: ModelVersion) -> None:
    VersionHealth.objects.filter(pk=version.pk, deaths_in_a_row__gt=0).update(deaths_in_a_row=0)


def _load_failed(batch: Batch, version: ModelVersion, error: Exception) -> None:
    """Rows go back first, so that a quarantine can move them with the others."""
    log.error("load_failed", version=str(version), error=str(error))
    patiently(lambda: _after_load_failure(batch, version, error), LEASE_S)
    stopping.wait(0.5)  # another host's turn


def _after_load_failure(batch: Batch, version: ModelVersion, error: Exception) -> None:
    with transaction.atomic():
        batch.give_back()
        if isinstance(error, runtime.BrokenArtifact) or _failed_often(version):
            releases.quarantine(version, str(error))
        releases.evacuate_unhealthy(version)


def _failed_often(version: ModelVersion) -> bool:
    """Three failed loads, on two hosts where two live."""
    health, _ = VersionHealth.objects.select_for_update().get_or_create(version=version)
    health.load_failures = [*health.load_failures, socket.gethostname()][-20:]
    health.save(update_fields=["load_failures"])
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT count(DISTINCT host) FROM {Worker._meta.db_table} WHERE seen_at > {sql.clock(-ALIVE_S)}"
        )
        hosts = cursor.fetchone()[0]
    return len(health.load_failures) >= LOADS_LIMIT and len(set(health.load_failures)) >= min(2, hosts)


def _record(batch: Batch, result: Run, load_ms: float) -> None:
    """One finish for the whole batch; previews are stored before it and removed where the row was fenced off."""
    outcomes, place = [], 0
    drawn: dict[uuid.UUID, list[str]] = {}
    batch_rows = len(result.outcomes)
    for job in batch.jobs:
        mine = result.outcomes[place : place + job.rows]
        place += job.rows
        run = {"queue_ms": _queue_ms(job), "load_ms": load_ms, "compute_ms": result.compute_ms}
        outcome, keys = _outcome(job, mine, {**run, "batch_rows": batch_rows})
        outcomes.append(outcome)
        drawn[job.id] = keys
    won = set(batch.finish(outcomes))
    uploads.remove([key for job_id, keys in drawn.items() if job_id not in won for key in keys])


def _outcome(job: Prediction, results: Sequence[ItemOutcome], run: dict[str, Any]) -> tuple[Outcome, list[str]]:
    """The row's outcome, and the keys of the previews that were stored for it."""
    for number, result in enumerate(results):
        if isinstance(result, ItemError):
            error = {"error": result.message, "error_row": number, **run}
            return Outcome(job.id, Status.FAILED, result.code, error), []
    outputs = [result.output for result in results if isinstance(result, ItemOutput)]
    previews = {
        str(number): {name: uploads.store_preview(job.owner_id, png) for name, png in result.previews.items()}
        for number, result in enumerate(results)
        if isinstance(result, ItemOutput) and result.previews
    }
    fields = {"outputs": outputs, "previews": previews, "label": _label(outputs), **run}
    return Outcome(job.id, Status.SUCCEEDED, "", fields), [key for one in previews.values() for key in one.values()]


def _label(outputs: list[dict[str, Any]]) -> str:
    """What history shows and searches: the first row's answer."""
    first = outputs[0]
    return str(first["label"])[:120] if "label" in first else f"{first.get('value', 0):.6g}"


def _queue_ms(job: Prediction) -> float:
    return (job.started_at - job.created_at).total_seconds() * 1000 if job.started_at else 0.0


def evacuate(old: ModelVersion, new: ModelVersion | None, why: str) -> None:
    """Queued rows of `old` that are not pinned move to `new`, or fail with `why` where nothing fits.

    Pinned rows stay with a healthy version (a rollback does not concern them) and fail with one that is not.
    """
    queued = Prediction.objects.filter(version=old, status=Status.QUEUED)
    if new is not None:
        queued.filter(pinned=False).update(version=new, release=new.releases.order_by("-number").first())
    elif ModelVersion.objects.filter(pk=old.pk, state=State.HEALTHY).exists():
        _fail(queued.filter(pinned=False), why)
    if not ModelVersion.objects.filter(pk=old.pk, state=State.HEALTHY).exists():
        _fail(queued, why)


def _fail(queued: QuerySet[Prediction], why: str) -> None:
    keys = list(queued.values_list("pk", flat=True))
    for start in range(0, len(keys), 500):
        some = keys[start : start + 500]
        failed = [Outcome(key, Status.FAILED, "model_unavailable", {"error": why}) for key in some]
        finish(KINDS[Prediction], failed, token=None)
