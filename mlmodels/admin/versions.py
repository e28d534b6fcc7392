"""Versions: how good one is, where it came from, and what may be done with it; read-only but for its levers."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from mlmodels.admin import levers, reports, shown
from mlmodels.admin.pages import Lever
from mlmodels.admin.topped import SOON_S, Topped, part
from mlmodels.models import Evaluation, ModelVersion, Purpose, State
from serving_site.accounts.admin import ReadOnlyAdmin, as_block
from serving_site.charts.frame import table
from serving_site.jobs.models import Status


@admin.register(ModelVersion)
class ModelVersionAdmin(Topped, ReadOnlyAdmin):
    list_display = ("__str__", "state_shown", "headline", "size", "created_at", "created_by")
    list_filter = ("state", "model")
    list_select_related = ("model", "created_by")
    search_fields = ("model__slug", "manifest_sha256", "weights_sha256")
    date_hierarchy = "created_at"
    change_form_template = "admin/mlmodels/version.html"
    fieldsets = (
        (None, {"fields": ("model", "number", "state_shown", "state_reason", "may_go_live", "its_releases")}),
        ("Where it came from", {"fields": ("data", "training", "delivery", "commit", "created_at", "created_by")}),
        ("How good it is", {"fields": ("metrics_shown",)}),
        ("What it is", {"fields": ("weights", "manifest_hash", "size", "runs_code", "signature_shown", "provenance")}),
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("model", "created_by")

    def offered(self, row: ModelVersion) -> list[Lever]:
        if row.state != State.HEALTHY:
            return []
        offered = {
            "Make this version live": ("promote", "mlmodels.add_release"),
            "Evaluate": ("evaluate", "mlmodels.add_evaluation"),
            "Replay": ("replay", "mlmodels.add_evaluation"),
        }
        return [
            Lever(title, reverse(f"admin:mlmodels_{name}", args=[row.pk]), permission)
            for title, (name, permission) in offered.items()
        ]

    def top(self, row: ModelVersion) -> SafeString:
        newest = _newest_judgement(row)
        report = reports.judged(row, newest.report) if newest else ""
        return part("_version", version=row, state=shown.state_mark(row.state), newest=newest, report=report)

    def refresh_s(self, row: ModelVersion) -> int | None:
        return SOON_S if row.state == State.CHECKING else None

    @admin.display(description="state", ordering="state")
    def state_shown(self, version: ModelVersion) -> str:
        return shown.state_mark(version.state)

    @admin.display(description="held-out metrics")
    def headline(self, version: ModelVersion) -> str:
        return shown.headline(version.metrics)

    @admin.display(description="artifact size", ordering="artifact_bytes")
    def size(self, version: ModelVersion) -> str:
        return f"{version.artifact_bytes / 1024:,.1f} kB"

    @admin.display(description="figures")
    def metrics_shown(self, version: ModelVersion) -> SafeString:
        told = dict(shown.figures(version.manifest.get("metrics") or {}))
        measured = dict(shown.figures(version.measured))
        rows = [(name, measured.get(name, "-"), told.get(name, "-")) for name in {**measured, **told}]
        return table(["", "measured here", "its manifest says"], rows) if rows else SafeString("-")

    @admin.display(description="signature")
    def signature_shown(self, version: ModelVersion) -> str:
        given, answered = version.signature["input"]["properties"], version.signature["output"]
        names = ", ".join(given) if len(given) <= 5 else f"{len(given)} fields"
        answer = answered["properties"].get("label") or answered["properties"]["value"]
        return as_block({"input": given, "output": answered}, f"{names} → {answer['title']}")

    @admin.display(description="as its manifest tells it")
    def provenance(self, version: ModelVersion) -> str:
        names = ("architecture", "params", "parameters", "dataset", "code_commit", "torch", "trained_at")
        told = {name: version.manifest.get(name) for name in names}
        return as_block(told, f"{told['architecture']}, trained at {told['trained_at'] or 'an unknown time'}")

    @admin.display(description="release")
    def may_go_live(self, version: ModelVersion) -> str:
        return "It can go live." if version.state == State.HEALTHY else "Only a healthy version can go live."

    @admin.display(description="was live as")
    def its_releases(self, version: ModelVersion) -> SafeString:
        few = version.releases.order_by("-number")[:10]
        return shown.listed([shown.link(release, f"release {release.number}") for release in few])

    @admin.display(description="when it is loaded")
    def runs_code(self, version: ModelVersion) -> SafeString:
        if version.is_executable:
            return format_html('<strong class="state-wait">{}</strong>', "it runs code of its own, in the sandbox")
        return format_html("{}", "weights alone: the architecture is this site's")

    @admin.display(description="data")
    def data(self, version: ModelVersion) -> SafeString:
        return shown.data_of(version)

    @admin.display(description="training run")
    def training(self, version: ModelVersion) -> SafeString:
        run = getattr(version, "training_run", None)
        return shown.link(run, f"{run.created_at:%Y-%m-%d %H:%M}, seed {run.seed}") if run else SafeString("-")

    @admin.display(description="pushed as")
    def delivery(self, version: ModelVersion) -> SafeString:
        pushes = version.deliveries.order_by("-id")[:5]
        return shown.listed([shown.link(push, f"commit {push.commit[:12]}") for push in pushes])

    @admin.display(description="code commit")
    def commit(self, version: ModelVersion) -> SafeString:
        return shown.copyable(str(version.manifest.get("code_commit") or ""), 64)

    @admin.display(description="hash of the weights")
    def weights(self, version: ModelVersion) -> SafeString:
        return shown.copyable(version.weights_sha256, 64)

    @admin.display(description="hash of the manifest")
    def manifest_hash(self, version: ModelVersion) -> SafeString:
        return shown.copyable(version.manifest_sha256, 64)

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [
            path("<uuid:key>/promote/", wrap(levers.promote), name="mlmodels_promote"),
            path("<uuid:key>/evaluate/", wrap(levers.evaluate), name="mlmodels_evaluate"),
            path("<uuid:key>/replay/", wrap(levers.replay), name="mlmodels_replay"),
        ]
        return own + super().get_urls()


def _newest_judgement(version: ModelVersion) -> Evaluation | None:
    done = version.evaluations.filter(purpose=Purpose.EVALUATE, status=Status.SUCCEEDED)
    return done.order_by("-id").first()
