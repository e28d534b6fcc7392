"""Training runs: what one learned beside the runs before it, and where it stands while it goes on."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from mlmodels.admin import retraining, shown
from mlmodels.admin.pages import Lever
from mlmodels.admin.topped import Topped, part, until_final
from mlmodels.models import TrainingRun
from serving_site import charts
from serving_site.accounts.admin import ReadOnlyAdmin, as_block
from serving_site.words import number

OVERLAID = 5


@admin.register(TrainingRun)
class TrainingRunAdmin(Topped, ReadOnlyAdmin):
    list_display = ("when", "model", "status_shown", "took", "measured", "became", "result")
    list_filter = ("status", "model", "recipe")
    list_select_related = ("model", "version__model")
    search_fields = ("id", "model__slug", "weights_sha256", "code_commit", "reason")
    date_hierarchy = "created_at"
    fields = (
        "model", "recipe", "data", "seed", "epochs", "promote", "reason", "status_shown", "result", "error", "became",
        "weights", "commit", "parameters_shown", "log_shown", "owner", "created_at", "started_at", "completed_at",
        "took",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        found = super().get_queryset(request).select_related("model", "version__model", "owner")
        return found.defer("version__manifest", *(() if _is_page(request) else ("log", "curves")))

    def offered(self, row: TrainingRun) -> list[Lever]:
        if row.is_final:
            return []
        address = reverse("admin:mlmodels_cancel_training", args=[row.pk])
        return [Lever("Cancel the training", address, "mlmodels.change_trainingrun")]

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        cancel = path("<uuid:key>/cancel/", wrap(retraining.cancel), name="mlmodels_cancel_training")
        return [cancel, *super().get_urls()]

    def top(self, row: TrainingRun) -> SafeString:
        return part("_run", run=row, status=shown.status_mark(row), charts=curves(row), **_progress(row))

    def refresh_s(self, row: TrainingRun) -> int | None:
        return until_final(row)

    @admin.display(description="training run", ordering="id")
    def when(self, run: TrainingRun) -> str:
        return f"{run.created_at:%Y-%m-%d %H:%M}"

    @admin.display(description="status", ordering="status")
    def status_shown(self, run: TrainingRun) -> SafeString:
        return shown.status_mark(run)

    @admin.display(description="took")
    def took(self, run: TrainingRun) -> str:
        return shown.took(run)

    @admin.display(description="on rows held out")
    def measured(self, run: TrainingRun) -> str:
        return (shown.headline(run.version.measured) if run.version else "") or "-"

    @admin.display(description="became")
    def became(self, run: TrainingRun) -> SafeString:
        return shown.link(run.version)

    @admin.display(description="outcome")
    def result(self, run: TrainingRun) -> str:
        return run.outcome or run.error or "-"

    @admin.display(description="data")
    def data(self, run: TrainingRun) -> SafeString:
        data = run.snapshot
        width = len(data.schema.get("columns", []))
        rows = f"{data.train_rows:,} rows, {data.holdout_rows:,} more held out, {width} columns"
        return format_html("{}: {}; {}", shown.link(data, data.sha256[:12]), rows, data.source)

    @admin.display(description="hash of the weights")
    def weights(self, run: TrainingRun) -> SafeString:
        return shown.copyable(run.weights_sha256, 64)

    @admin.display(description="code commit")
    def commit(self, run: TrainingRun) -> SafeString:
        return shown.copyable(run.code_commit, 64)

    @admin.display(description="parameters")
    def parameters_shown(self, run: TrainingRun) -> str:
        return as_block(run.parameters) if run.parameters else "-"

    @admin.display(description="log")
    def log_shown(self, run: TrainingRun) -> str:
        if not run.log:
            return "-"
        lines = run.log.count("\n") + 1
        return format_html('<details class="facts"><summary>{} lines</summary><pre>{}</pre></details>', lines, run.log)


def curves(run: TrainingRun) -> list[SafeString]:
    """Loss and metric of `run` over its epochs, laid over those of the runs of the same model before it."""
    earlier = TrainingRun.objects.filter(model=run.model_id, pk__lt=run.pk).exclude(curves=[]).order_by("-pk")
    runs = [run, *earlier.only("id", "created_at", "seed", "curves")[: OVERLAID - 1]]
    every = (charts.lines(name.capitalize(), _lines(runs, at), across="epoch", up=name) for at, name in _DRAWN)
    return [chart for chart in every if chart]


_DRAWN = ((1, "loss"), (2, "metric"))


def _lines(runs: Sequence[TrainingRun], at: int) -> list[charts.Line]:
    return [
        charts.Line(
            name="this run" if place == 0 else f"{run.created_at:%Y-%m-%d %H:%M}, seed {run.seed}",
            points=[(point[0], point[at]) for point in run.curves if len(point) > at and point[at] is not None],
            address="" if place == 0 else shown.address(run),
        )
        for place, run in enumerate(runs)
    ]


def _progress(run: TrainingRun) -> dict[str, Any]:
    """What it said last: stage, epoch, loss and metric."""
    told = run.progress
    epoch, epochs = told.get("epoch"), told.get("epochs")
    parts = [f"epoch {epoch:,}" + (f" of {epochs:,}" if epochs else "")] if epoch else []
    parts += [f"{name} {number(told[name])}" for name in ("loss", "metric") if told.get(name) is not None]
    meter = charts.meter(epoch / epochs) if epoch and epochs and not run.is_final else ""
    return {"stage": told.get("stage", ""), "said": ", ".join(parts), "meter": meter}


def _is_page(request: HttpRequest) -> bool:
    return request.resolver_match is not None and "object_id" in request.resolver_match.kwargs
