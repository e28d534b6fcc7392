"""Where an answer comes from: the release, the version, its code and its data, in words for whoever asked."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mlmodels.models import ModelVersion
from predictions.models import Prediction


@dataclass(frozen=True)
class Lineage:
    """What computed an answer, named so exactly that it can be computed again; what is unknown is empty."""

    version: int
    release: int | None
    live_since: datetime | None
    weights: str
    commit: str
    data_title: str
    data_rows: str
    data_hash: str


def lineage(prediction: Prediction) -> Lineage:
    """Of one prediction, by the version that is stored with it."""
    version, release = prediction.version, prediction.release
    title, rows, content = _data(version)
    return Lineage(
        version=version.number,
        release=release.number if release else None,
        live_since=release.at if release else None,
        weights=version.weights_sha256,
        commit=str(version.manifest.get("code_commit") or ""),
        data_title=title,
        data_rows=rows,
        data_hash=content,
    )


def _data(version: ModelVersion) -> tuple[str, str, str]:
    """Title, size and hash of what it learned from: of the snapshot kept here, else as the manifest tells it."""
    snapshot = version.snapshot
    if snapshot is not None:
        rows = f"{snapshot.train_rows:,} cases, and {snapshot.holdout_rows:,} more to test it"
        return str(snapshot.schema.get("title") or snapshot.source), rows, snapshot.sha256
    told: dict[str, Any] = version.manifest.get("dataset") or {}
    rows = f"{int(told['rows']):,} cases in all" if told.get("rows") else ""
    return str(told.get("title") or told.get("name") or ""), rows, str(told.get("sha256") or "")
