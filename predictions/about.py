"""What a model says about itself, in words that a visitor understands: held-out quality, data, date."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.safestring import SafeString

from mlmodels.models import ModelVersion
from serving_site import charts
from serving_site.words import number


@dataclass(frozen=True)
class About:
    """The facts that stand beside a model's form."""

    headline: str
    explanation: str
    picture: SafeString | None
    dataset_title: str
    dataset_source: str
    learned_from: str
    tested_on: str
    trained_at: datetime | None


def about(version: ModelVersion) -> About:
    """Everything that the live version's manifest can say; what it lacks is left empty, never invented."""
    manifest = version.manifest
    metrics, dataset = version.metrics, manifest.get("dataset") or {}
    held_out, learned = _rows(version)
    noun = _noun(version.signature)
    return About(
        headline=headline(version),
        explanation=_explanation(version, held_out, noun),
        picture=_dots(metrics, noun),
        dataset_title=str(dataset.get("title") or dataset.get("name") or ""),
        dataset_source=str(dataset.get("source") or ""),
        learned_from=f"{learned:,} {noun}" if learned > 0 else "",
        tested_on=f"{held_out:,} {noun}" if held_out else "",
        trained_at=_time(manifest.get("trained_at")),
    )


def _rows(version: ModelVersion) -> tuple[int, int]:
    """How many cases tested it and how many taught it: as counted here, else as the manifest tells it."""
    dataset = version.manifest.get("dataset") or {}
    held_out = int(version.metrics.get("rows") or dataset.get("holdout_rows") or 0)
    if version.snapshot:
        return held_out or version.snapshot.holdout_rows, version.snapshot.train_rows
    return held_out, int(dataset.get("rows") or 0) - held_out


def headline(version: ModelVersion) -> str:
    """The held-out quality as one sentence, or nothing where the manifest carries none."""
    metrics, noun = version.metrics, _noun(version.signature)
    if "accuracy" in metrics:
        right, of = out_of(float(metrics["accuracy"]))
        return f"Right on {right:,} of {of:,} {noun} it had never seen"
    if "r2" in metrics:
        share = max(0, round(float(metrics["r2"]) * 100))
        text = f"Explains {share} % of the variation"
        return f"{text}; typically off by {_off(version)}" if "mae" in metrics else text
    return _by_folds(metrics, noun)


def _by_folds(metrics: Mapping[str, Any], noun: str) -> str:
    """What its training found by leaving out a part of its data in turn: until it is measured here."""
    if "cv_accuracy_mean" in metrics:
        right, of = out_of(float(metrics["cv_accuracy_mean"]))
        return f"Right on {right:,} of {of:,} {noun} that were left out in turn while it was made"
    if "cv_r2_mean" in metrics:
        share = max(0, round(float(metrics["cv_r2_mean"]) * 100))
        return f"Explains {share} % of the variation in {noun} that were left out in turn while it was made"
    return ""


def out_of(share: float) -> tuple[int, int]:
    """A share as whole cases: of 100, or of 1,000 where 100 would claim perfection."""
    if share >= 1:
        return 100, 100
    if share > 0.995:
        return min(round(share * 1000), 999), 1000
    return round(share * 100), 100


def _explanation(version: ModelVersion, held_out: int, noun: str) -> str:
    if not held_out:
        return ""
    chosen = f"{held_out:,} {noun} were set aside before training and used only to measure this."
    balanced = version.metrics.get("balanced_accuracy")
    if balanced is None:
        return chosen
    right, of = out_of(float(balanced))
    return f"{chosen} With every class counted equally: {right:,} of {of:,}."


def _off(version: ModelVersion) -> str:
    spec = version.signature["output"]["properties"].get("value", {})
    amount = float(version.metrics["mae"])
    text = f"{amount:.0f}" if amount >= 10 else number(amount)
    return f"{text} {spec.get('x-unit') or 'points'}"


def _dots(metrics: Mapping[str, Any], noun: str) -> SafeString | None:
    if "accuracy" not in metrics:
        return None
    right, of = out_of(float(metrics["accuracy"]))
    right = right * 100 // of
    return charts.hundred_dots(right, f"{right} of 100 {noun} right")


def _noun(signature: Mapping[str, Any]) -> str:
    fields = signature["input"]["properties"].values()
    return "pictures" if any(field.get("format") == "image" for field in fields) else "cases"


def _time(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return None
