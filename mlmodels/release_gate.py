"""What the gate has to do with a release: why it refuses one, and what is kept with the others."""

from __future__ import annotations

from typing import Any

from mlmodels import evaluations, gate
from mlmodels.models import Evaluation, ModelVersion, Release
from serving_site.accounts.models import User
from serving_site.jobs.models import Status


class NotReleasable(Exception):
    """The version may not go live; the message says why and what to do."""


class GateRefused(NotReleasable):
    """The gate does not let the version pass; `evaluation` holds its report."""

    def __init__(self, evaluation: Evaluation) -> None:
        super().__init__(evaluation.report["summary"])
        self.evaluation = evaluation


class NotBetter(NotReleasable):
    """The version passed the gate, but an improvement was asked for; `evaluation` holds the report."""

    def __init__(self, evaluation: Evaluation) -> None:
        super().__init__(f"{evaluation.version} passes the gate and is no better than {evaluation.against}.")
        self.evaluation = evaluation


def evidence(
    version: ModelVersion, live: Release | None, *, by: User | None, override: str, only_better: bool, wait_s: float
) -> dict[str, Any]:
    """What is kept with the release: the evaluation's id and its report, and why a refusal did not count.

    Raises NotReleasable where there is no verdict, or `by` may not override it; GateRefused; NotBetter.
    """
    if override and by is not None and not by.has_perm("mlmodels.override_gate"):
        raise NotReleasable(f"{by} may not override the gate: the permission mlmodels.override_gate is missing.")
    against = live.version if live else None
    try:
        judged = gate.verdict(version, against, by=by, wait_s=wait_s, is_refusal_known=bool(override))
    except evaluations.NoWorker as error:
        raise NotReleasable(str(error)) from None
    if judged.status != Status.SUCCEEDED:
        raise NotReleasable(f"The gate could not judge {version}: {judged.error or judged.status}")
    if not judged.passed and not override:
        raise GateRefused(judged)
    if only_better and not gate.is_better(judged.report):
        raise NotBetter(judged)
    kept = {"evaluation": str(judged.pk), "gate": "passed" if judged.passed else "overridden", **judged.report}
    return kept if judged.passed else {**kept, "override": override}


def earlier_evidence(version: ModelVersion) -> dict[str, str]:
    """How a version that goes live again passed the gate the first time."""
    first = version.releases.order_by("number").first()
    return {"gate": f"{first.evidence.get('gate', 'unknown')} before release {first.number}"} if first else {}
