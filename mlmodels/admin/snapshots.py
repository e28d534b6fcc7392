"""The data of models as it was when it was taken; read-only."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from mlmodels.admin import shown
from mlmodels.models import DatasetSnapshot
from serving_site.accounts.admin import ReadOnlyAdmin, as_block
from serving_site.charts.frame import table
from serving_site.words import number


@admin.register(DatasetSnapshot)
class DatasetSnapshotAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "model", "training_rows", "rows_held_out", "source", "created_at", "created_by")
    list_filter = ("model",)
    list_select_related = ("model", "created_by")
    search_fields = ("sha256", "source", "model__slug")
    date_hierarchy = "created_at"
    fields = (
        "model", "title", "source", "training_rows", "rows_held_out", "content", "columns", "schema_shown", "used_by",
        "created_at", "created_by",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        found = super().get_queryset(request)
        return (
            found if request.resolver_match and "object_id" in request.resolver_match.kwargs else found.defer("schema")
        )

    @admin.display(description="for training", ordering="train_rows")
    def training_rows(self, snapshot: DatasetSnapshot) -> str:
        return f"{snapshot.train_rows:,} rows"

    @admin.display(description="held out", ordering="holdout_rows")
    def rows_held_out(self, snapshot: DatasetSnapshot) -> str:
        return f"{snapshot.holdout_rows:,} rows"

    @admin.display(description="title")
    def title(self, snapshot: DatasetSnapshot) -> str:
        return str(snapshot.schema.get("title", "-"))

    @admin.display(description="hash of all rows")
    def content(self, snapshot: DatasetSnapshot) -> SafeString:
        return shown.copyable(snapshot.sha256, 64)

    @admin.display(description="columns")
    def columns(self, snapshot: DatasetSnapshot) -> SafeString:
        columns = [*snapshot.schema.get("columns", []), {**snapshot.schema.get("target", {}), "is_target": True}]
        return table(["column", "kind", "values"], [_column(column) for column in columns], "words")

    @admin.display(description="schema")
    def schema_shown(self, snapshot: DatasetSnapshot) -> str:
        return as_block(snapshot.schema, "as it is stored")

    @admin.display(description="trained on it")
    def used_by(self, snapshot: DatasetSnapshot) -> SafeString:
        versions = snapshot.versions.select_related("model").defer("manifest").order_by("-number")
        return shown.listed([shown.link(version) for version in versions[:20]])


def _column(column: dict[str, Any]) -> tuple[str, str, str]:
    name = str(column.get("title") or column.get("name") or "-")
    unit = f" ({column['unit']})" if column.get("unit") else ""
    kind = str(column.get("kind", "-")) + (", may be missing" if column.get("missing") else "")
    values = [str(value) for value in column.get("values") or []]
    said = ", ".join(values[:8]) + (f" and {len(values) - 8} more" if len(values) > 8 else "")
    if not said and column.get("minimum") is not None and column.get("maximum") is not None:
        said = f"{number(column['minimum'])} to {number(column['maximum'])}"
    return name + unit + (", the target" if column.get("is_target") else ""), kind, said
