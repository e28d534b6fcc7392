"""What came by git push; read-only."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from mlmodels.admin import reports, shown
from mlmodels.admin.topped import Topped
from mlmodels.models import Delivery
from serving_site.accounts.admin import ReadOnlyAdmin


@admin.register(Delivery)
class DeliveryAdmin(Topped, ReadOnlyAdmin):
    list_display = ("short", "subject", "of_version", "pushed_by", "verdict", "created_at", "outcome")
    list_filter = ("version__model",)
    list_select_related = ("version__model", "evaluation", "release")
    search_fields = ("commit", "subject", "pushed_by", "version__model__slug")
    date_hierarchy = "created_at"
    fields = (
        "whole", "subject", "pushed_by", "of_version", "verdict", "went_live", "outcome", "created_at", "landed_at",
        "done_at",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related(*self.list_select_related)

    def top(self, row: Delivery) -> SafeString:
        return reports.report(row.evaluation) if row.evaluation else SafeString("")

    @admin.display(description="commit", ordering="commit")
    def short(self, delivery: Delivery) -> str:
        return delivery.commit[:12]

    @admin.display(description="commit")
    def whole(self, delivery: Delivery) -> SafeString:
        return shown.copyable(delivery.commit, 64)

    @admin.display(description="version")
    def of_version(self, delivery: Delivery) -> SafeString:
        return shown.link(delivery.version)

    @admin.display(description="gate")
    def verdict(self, delivery: Delivery) -> SafeString:
        if delivery.evaluation is None:
            return SafeString("-")
        return format_html('<a href="{}">{}</a>', shown.address(delivery.evaluation), shown.passed(delivery.evaluation))

    @admin.display(description="went live as")
    def went_live(self, delivery: Delivery) -> SafeString:
        return shown.link(delivery.release)
