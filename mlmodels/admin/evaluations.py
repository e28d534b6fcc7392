"""Evaluations, gates and replays: what was found out about a version; read-only."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from mlmodels.admin import reports, shown
from mlmodels.admin.topped import Topped, part, until_final
from mlmodels.models import Evaluation
from serving_site.accounts.admin import ReadOnlyAdmin, as_block


@admin.register(Evaluation)
class EvaluationAdmin(Topped, ReadOnlyAdmin):
    list_display = ("what", "status_shown", "verdict", "said", "when", "took")
    list_filter = ("purpose", "status", "passed", "version__model")
    list_select_related = ("version__model", "owner")
    search_fields = ("id", "version__model__slug")
    date_hierarchy = "created_at"
    fields = (
        "of_version", "against_shown", "data", "status_shown", "verdict", "error", "owner", "created_at", "started_at",
        "completed_at", "took", "options_shown", "report_shown",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        found = super().get_queryset(request).select_related("version__model", "against__model", "owner", "snapshot")
        return found.defer("against__manifest", "snapshot__schema")

    def top(self, row: Evaluation) -> SafeString:
        return part("_evaluation", evaluation=row, status=shown.status_mark(row), report=reports.report(row))

    def refresh_s(self, row: Evaluation) -> int | None:
        return until_final(row)

    @admin.display(description="evaluation", ordering="id")
    def what(self, evaluation: Evaluation) -> str:
        return f"{evaluation.get_purpose_display()} of {evaluation.version}"

    @admin.display(description="asked for", ordering="id")
    def when(self, evaluation: Evaluation) -> str:
        return f"{evaluation.created_at:%Y-%m-%d %H:%M}"

    @admin.display(description="status", ordering="status")
    def status_shown(self, evaluation: Evaluation) -> SafeString:
        return shown.status_mark(evaluation)

    @admin.display(description="gate", ordering="passed")
    def verdict(self, evaluation: Evaluation) -> SafeString:
        return shown.passed(evaluation)

    @admin.display(description="found")
    def said(self, evaluation: Evaluation) -> str:
        found = evaluation.report
        return found.get("summary") or shown.headline(found.get("metrics") or {}) or evaluation.error

    @admin.display(description="took")
    def took(self, evaluation: Evaluation) -> str:
        return shown.took(evaluation)

    @admin.display(description="version")
    def of_version(self, evaluation: Evaluation) -> SafeString:
        return shown.link(evaluation.version)

    @admin.display(description="compared with")
    def against_shown(self, evaluation: Evaluation) -> SafeString:
        return shown.link(evaluation.against)

    @admin.display(description="on the rows held out of")
    def data(self, evaluation: Evaluation) -> SafeString:
        snapshot = evaluation.snapshot
        if snapshot is None:
            return SafeString("-")
        return format_html("{} ({} rows)", shown.link(snapshot, snapshot.sha256[:12]), f"{snapshot.holdout_rows:,}")

    @admin.display(description="options")
    def options_shown(self, evaluation: Evaluation) -> str:
        return as_block(evaluation.options) if evaluation.options else "-"

    @admin.display(description="report")
    def report_shown(self, evaluation: Evaluation) -> str:
        return as_block(evaluation.report, "as it is stored") if evaluation.report else "-"
