"""`manage.py evaluate SLUG[@VERSION]`: how good, how fast and how large a version is, measured by a worker."""

from typing import Any

from django.core.management.base import CommandParser

from mlmodels import evaluations, measures
from mlmodels.management.base import Command as Base
from mlmodels.management.base import report_or_error, version_or_error
from mlmodels.models import Purpose

SHOWN_CLASSES = 12
"""A confusion matrix of more classes than this does not fit a terminal."""


class Command(Base):
    help = (
        "Measure a version on the rows that the server holds out, its speed and its memory. A worker runs it.\n\n"
        "Examples:\n  manage.py evaluate digits\n  manage.py evaluate digits@4 --json"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("version", metavar="SLUG[@VERSION]", help="without @VERSION: the live one")
        parser.add_argument("--timeout", type=float, default=600.0, help="seconds to wait for a worker (%(default)g)")
        parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")

    def handle(self, *args: Any, version: str, timeout: float, **options: Any) -> None:
        chosen = version_or_error(version)
        self.say(f"A worker evaluates {chosen} …")
        queued = evaluations.submit(chosen, purpose=Purpose.EVALUATE, by=None)
        done = report_or_error(queued, timeout)
        chosen.refresh_from_db()
        text = "\n".join(as_lines(str(chosen), done.report))
        self.answer(chosen, options["json"], text, evaluation=str(done.pk), report=done.report)


def as_lines(name: str, report: dict[str, Any]) -> list[str]:
    """The report as a person reads it in a terminal."""
    failed = f", {report['failed_rows']} could not be answered" if report["failed_rows"] else ""
    lines = [report.get("note") or f"{name} on {report['rows']:,} rows held out{failed}"]
    found = [(name, report["metrics"][name]) for name in measures.METRICS if name in report["metrics"]]
    lines += [f"  {title(name):<20}{value:.4g}" for name, value in found]
    lines += _confusion(report.get("confusion"))
    single, slow = report["latency_ms"]["single_p50"], report["latency_ms"]["single_p95"]
    if single is not None:
        lines.append(f"  {'one row':<20}{single:.3g} ms (95 of 100 within {slow:.3g} ms)")
    if report["latency_ms"]["batch_per_row"] is not None:
        lines.append(f"  {'a row in a batch':<20}{report['latency_ms']['batch_per_row']:.3g} ms")
    if report["memory_mb"] is not None:
        lines.append(f"  {'memory at most':<20}{report['memory_mb']:.0f} MB, shared libraries included")
    return lines


def title(metric: str) -> str:
    short = {"auc": "AUC", "ece": "calibration error", "mae": "MAE", "rmse": "RMSE", "r2": "R²"}
    return short.get(metric, metric.replace("_", " "))


def _confusion(confusion: dict[str, Any] | None) -> list[str]:
    if not confusion or len(confusion["classes"]) > SHOWN_CLASSES:
        return []
    names = [name if len(name) <= 14 else f"{name[:13]}…" for name in confusion["classes"]]
    width = max(len(str(count)) for row in confusion["counts"] for count in row)
    widths = [max(width, len(name)) + 2 for name in names]
    first = max(map(len, names)) + 4
    lines = [" " * first + "".join(f"{name:>{one}}" for name, one in zip(names, widths, strict=True)) + "  ← answered"]
    for name, counts in zip(names, confusion["counts"], strict=True):
        cells = "".join(f"{count:>{one}}" for count, one in zip(counts, widths, strict=True))
        lines.append(f"  {name:<{first - 2}}{cells}")
    return lines
