"""Predictions in numbers, for monitoring: how they ended, why they failed, how long they waited and ran."""

import uuid
from collections.abc import Sequence

from predictions import inference
from serving_site.jobs import tally
from serving_site.jobs.finish import Outcome
from serving_site.jobs.models import Status

PREDICTIONS = tally.Total("predictions", "Predictions that have ended.", ("model", "version", "status"))
FAILURES = tally.Total("prediction_failures", "Predictions that failed, by the reason.", ("model", "version", "reason"))
QUEUE = tally.Times("prediction_queue_seconds", "From the click to the claim by a worker.", ("model",))
COMPUTE = tally.Times("prediction_compute_seconds", "The forward pass that a prediction took part in.", ("model",))


def count(ended: Sequence[tuple[Outcome, uuid.UUID]]) -> None:
    """Count outcomes, each with the key of its version."""
    alike: dict[tuple[uuid.UUID, Status, str], list[Outcome]] = {}
    for outcome, key in ended:
        alike.setdefault((key, outcome.status, outcome.reason_code), []).append(outcome)
    for (key, status, reason), outcomes in alike.items():
        version = inference.version_of(key)
        model, number = version.model.slug, str(version.number)
        PREDICTIONS.add(model, number, status.value, by=len(outcomes))
        if status == Status.FAILED:
            FAILURES.add(model, number, reason, by=len(outcomes))
        ran = [outcome.fields for outcome in outcomes if "compute_ms" in outcome.fields]
        if ran:
            QUEUE.observe_all([fields["queue_ms"] / 1000 for fields in ran], model)
            COMPUTE.observe_all([fields["compute_ms"] / 1000 for fields in ran], model)
