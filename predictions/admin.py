"""Predictions, for operators: read-only, with two levers that make new predictions of their owners."""

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from mlmodels import releases, signature
from mlmodels.admin import pages, shown
from mlmodels.models import ModelVersion
from predictions import dispatch
from predictions.models import Prediction, Source
from serving_site.accounts.admin import ReadOnlyAdmin, as_block, person
from serving_site.accounts.models import audit
from serving_site.jobs.models import Lane, Status

AT_ONCE = 200
NAMED_REFUSALS = 3


class CountForm(forms.Form):
    count = forms.IntegerField(
        label="How many", min_value=1, max_value=AT_ONCE, initial=50,
        help_text=f"The newest ones, at most {AT_ONCE} at once.",
    )  # fmt: skip


@admin.register(Prediction)
class PredictionAdmin(ReadOnlyAdmin):
    list_display = ("short", "state", "label", "version", "owner", "created_at", "source", "reason_code")
    list_filter = ("status", "model", "source", "reason_code")
    list_select_related = ("owner", "model", "version__model")
    search_fields = ("id", "owner__username", "label", "note")
    show_full_result_count = False
    view_on_site = False  # a prediction's page is its owner's alone
    actions = ("send_again",)
    fieldsets = (
        (None, {"fields": ("id", "owner", "model", "source", "status", "reason_code", "error", "error_row")}),
        ("Where the answer comes from", {"fields": ("of_version", "went_live", "weights", "commit", "data", "pinned")}),
        ("What was asked and answered", {"fields": ("inputs_shown", "outputs_shown", "note", "file_name")}),
        (
            "How it ran",
            {
                "fields": (
                    "lane", "turn", "attempts", "crashes", "lost", "suspect", "batch_rows", "queue_ms", "load_ms",
                    "compute_ms", "created_at", "started_at", "completed_at", "request_id",
                )
            },
        ),
    )  # fmt: skip

    @admin.display(description="prediction", ordering="id")
    def short(self, prediction: Prediction) -> str:
        """The part of the id that differs between neighbours; the whole id can be searched for."""
        return f"…{str(prediction.id)[-12:]}"

    @admin.display(description="status", ordering="status")
    def state(self, prediction: Prediction) -> str:
        return shown.status_mark(prediction)

    @admin.display(description="inputs")
    def inputs_shown(self, prediction: Prediction) -> str:
        return as_block(prediction.inputs)

    @admin.display(description="outputs")
    def outputs_shown(self, prediction: Prediction) -> str:
        return as_block(prediction.outputs)

    @admin.display(description="version")
    def of_version(self, prediction: Prediction) -> SafeString:
        return shown.link(prediction.version)

    @admin.display(description="release")
    def went_live(self, prediction: Prediction) -> SafeString:
        release = prediction.release
        if release is None:
            return SafeString("it was not live: the caller named the version")
        return format_html(
            "{}, live since {}", shown.link(release, f"release {release.number}"), shown.exact(release.at)
        )

    @admin.display(description="hash of the weights")
    def weights(self, prediction: Prediction) -> SafeString:
        return shown.copyable(prediction.version.weights_sha256, 64)

    @admin.display(description="code commit")
    def commit(self, prediction: Prediction) -> SafeString:
        return shown.copyable(str(prediction.version.manifest.get("code_commit") or ""), 64)

    @admin.display(description="data")
    def data(self, prediction: Prediction) -> SafeString:
        return shown.data_of(prediction.version)

    def get_urls(self) -> list[URLPattern]:
        again = path(
            "run-again/<uuid:key>/", self.admin_site.admin_view(self.run_version_again), name="predictions_run_again"
        )
        return [again, *super().get_urls()]

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
        _send(request, rows)
        return None

    def run_version_again(self, request: HttpRequest, key: Any) -> HttpResponse:
        """What a version was asked, asked of the live version: each as a new prediction of its owner. Asks first."""
        pages.require(request, "predictions.change_prediction")
        version = get_object_or_404(ModelVersion.objects.select_related("model__live_release__version"), pk=key)
        live = version.model.live_version
        form = CountForm(request.POST or None)
        if request.method == "POST" and live and form.is_valid():
            _send(request, _asked_of(version)[: form.cleaned_data["count"]], lane=Lane.BATCH)
            return redirect(f"{reverse('admin:predictions_prediction_changelist')}?version__id__exact={live.pk}")
        return pages.ask(
            request,
            f"Run predictions of {version} again",
            form if live else None,
            back=version,
            question=f"Ask {live} what people asked {version}?" if live else "Nothing is live now that could answer.",
            notes=["Each becomes a new prediction of its owner, who finds it in their history; the old ones stay."],
            button="Run them again",
        )


def _asked_of(version: ModelVersion) -> QuerySet[Prediction]:
    """What people asked of `version`, newest first."""
    found = Prediction.objects.filter(version=version, status__in=(Status.SUCCEEDED, Status.FAILED))
    return found.exclude(source=Source.REPLAY).select_related("owner", "model__live_release__version").order_by("-pk")


def _send(request: HttpRequest, rows: Iterable[Prediction], *, lane: int = Lane.CLICK) -> None:
    """Send each once more and say how many went; what cannot be sent is said with its reason."""
    sent = refused = 0
    for prediction in rows:
        try:
            again = dispatch.send_again(prediction, lane=lane)
        except (releases.Unavailable, dispatch.RejectedInput, signature.InvalidInput) as error:
            refused += 1
            if refused <= NAMED_REFUSALS:
                messages.error(request, f"{prediction.id}: {error}")
        else:
            audit(person(request), "prediction.send_again", prediction, after={"new": str(again.id)}, request=request)
            sent += 1
    if refused > NAMED_REFUSALS:
        messages.error(request, f"{refused - NAMED_REFUSALS} more could not be sent.")
    messages.success(request, f"{sent} sent again.")
