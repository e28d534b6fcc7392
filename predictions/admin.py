"""Predictions, for operators: read-only, with one lever."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.html import format_html

from mlmodels import releases, signature
from predictions import dispatch
from predictions.models import Prediction
from serving_site.accounts.admin import ReadOnlyAdmin, as_block, person
from serving_site.accounts.models import audit
from serving_site.jobs.models import Status

AT_ONCE = 200


@admin.register(Prediction)
class PredictionAdmin(ReadOnlyAdmin):
    list_display = ("short", "state", "label", "version", "owner", "created_at", "source", "reason_code")
    list_filter = ("status", "model", "source", "reason_code")
    list_select_related = ("owner", "model", "version__model")
    search_fields = ("id", "owner__username", "label", "note")
    show_full_result_count = False
    view_on_site = False  # a prediction's page is its owner's alone
    actions = ("send_again",)
    fields = (
        "id", "owner", "model", "version", "release", "pinned", "source", "status", "reason_code", "error", "error_row",
        "inputs_shown", "outputs_shown", "note", "file_name", "lane", "turn", "attempts", "crashes", "lost", "suspect",
        "queue_ms", "load_ms", "compute_ms", "created_at", "started_at", "completed_at", "request_id",
    )  # fmt: skip

    @admin.display(description="prediction", ordering="id")
    def short(self, prediction: Prediction) -> str:
        """The part of the id that differs between neighbours; the whole id can be searched for."""
        return f"…{str(prediction.id)[-12:]}"

    @admin.display(description="status", ordering="status")
    def state(self, prediction: Prediction) -> str:
        css = {Status.SUCCEEDED: "state-good", Status.FAILED: "state-bad"}.get(Status(prediction.status), "state-wait")
        return format_html('<strong class="{}">{}</strong>', css, prediction.status)

    @admin.display(description="inputs")
    def inputs_shown(self, prediction: Prediction) -> str:
        return as_block(prediction.inputs)

    @admin.display(description="outputs")
    def outputs_shown(self, prediction: Prediction) -> str:
        return as_block(prediction.outputs)

    def has_send_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("predictions.change_prediction")

    @admin.action(description="Send again, for their owners, on the live version", permissions=["send"])
    def send_again(self, request: HttpRequest, chosen: QuerySet[Prediction]) -> HttpResponse | None:
        """Each as a new prediction of its owner; the old rows stay as they are. Asks first."""
        rows = list(chosen.select_related("owner", "model__live_release__version")[:AT_ONCE])
        if "confirmed" not in request.POST:
            context: dict[str, Any] = {**admin.site.each_context(request), "rows": rows, "title": "Send again"}
            context |= {"left_out": max(chosen.count() - AT_ONCE, 0), "opts": self.opts}
            return render(request, "admin/predictions/send_again.html", context)
        sent = 0
        for prediction in rows:
            try:
                again = dispatch.send_again(prediction)
            except (releases.Unavailable, dispatch.RejectedInput, signature.InvalidInput) as error:
                messages.error(request, f"{prediction.id}: {error}")
            else:
                new = {"new": str(again.id)}
                audit(person(request), "prediction.send_again", prediction, after=new, request=request)
                sent += 1
        messages.success(request, f"{sent} sent again.")
        return None
