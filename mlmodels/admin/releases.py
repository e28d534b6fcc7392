"""Releases: which version went live, by whom, why, and on what evidence; read-only."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import SafeString

from mlmodels.admin import reports, shown
from mlmodels.admin.pages import Lever
from mlmodels.admin.topped import Topped, part
from mlmodels.models import Evaluation, Release
from serving_site.accounts.admin import ReadOnlyAdmin, as_block


@admin.register(Release)
class ReleaseAdmin(Topped, ReadOnlyAdmin):
    list_display = ("__str__", "of_version", "at", "by", "reason", "rests_on")
    list_filter = ("model",)
    list_select_related = ("model", "version__model", "by")
    date_hierarchy = "at"
    search_fields = ("model__slug", "reason")
    fields = ("model", "number", "of_version", "at", "by", "reason", "rests_on", "evidence_shown")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("model", "version__model", "by").defer("version__manifest")

    def offered(self, row: Release) -> list[Lever]:
        page = reverse("admin:mlmodels_releases", args=[row.model_id])
        return [Lever("All releases of this model", page, "mlmodels.view_release")]

    def top(self, row: Release) -> SafeString:
        override = row.evidence.get("override", "")
        return part("_release", release=row, override=override, report=_report(row) if _was_judged(row) else "")

    @admin.display(description="version", ordering="version")
    def of_version(self, release: Release) -> SafeString:
        return shown.link(release.version)

    @admin.display(description="evidence")
    def rests_on(self, release: Release) -> SafeString:
        return shown.evidence(release)

    @admin.display(description="evidence, as it is stored")
    def evidence_shown(self, release: Release) -> str:
        return as_block(release.evidence)


def _was_judged(release: Release) -> bool:
    return "checks" in release.evidence or "evaluation" in release.evidence


def _report(release: Release) -> SafeString:
    """The gate's report: what is kept with the release itself, else with the evaluation that it names."""
    found = Evaluation.objects.select_related("version__model", "against__model")
    evaluation = found.filter(pk=release.evidence.get("evaluation")).first()
    told = release.evidence if "checks" in release.evidence else evaluation.report if evaluation else {}
    return reports.gate_report(told, release.version, evaluation.against if evaluation else None)
