"""A model's page: what is live, whether it is well, what its data and trainings are, and its levers."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from mlmodels.admin import history, levers, retraining, shown, thresholds
from mlmodels.admin.pages import Lever
from mlmodels.admin.topped import Topped
from mlmodels.models import MLModel, State
from serving_site.accounts.admin import changes, person
from serving_site.accounts.models import audit

FEW = 3


@admin.register(MLModel)
class MLModelAdmin(Topped):
    list_display = ("slug", "title", "task", "live", "health", "its_releases")
    list_select_related = ("live_release__version__model",)
    search_fields = ("slug", "title")
    list_filter = ("task",)
    readonly_fields = ("slug", "task", "live", "health", "recipe_shown", "data", "trainings", "created_at")
    fieldsets = (
        (None, {"fields": ("slug", "live", "health")}),
        ("What people see", {"fields": ("title", "description", "task", "groups", "created_at")}),
        ("Training", {"fields": ("recipe_shown", "data", "trainings")}),
    )
    filter_horizontal = ("groups",)
    change_list_template = "admin/mlmodels/mlmodel/change_list.html"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # a model begins with its first version

    def has_delete_permission(self, request: HttpRequest, obj: MLModel | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: MLModel, form: Any, change: bool) -> None:
        """Writes what was changed and no more: what is live may change at the same moment."""
        names = {"gate" if name.startswith(thresholds.PREFIX) else name for name in form.changed_data}
        obj.save(update_fields=sorted(names - {"groups"}))
        audit(person(request), "model.edit", obj, **changes(form), request=request)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **options: Any) -> Any:
        may_change = request.user.has_perm(levers.OVERRIDE)
        return super().get_form(request, obj, change, form=thresholds.form_class(may_change=may_change), **options)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        own = [] if obj is None else [thresholds.PREFIX + name for name in thresholds.names_for(obj)]
        told = "What a version must reach to go live. Who may override the gate may change it."
        return [*self.fieldsets, ("Delivery and gate", {"fields": ("on_push", *own), "description": told})]

    def offered(self, row: MLModel) -> list[Lever]:
        return [
            Lever("Releases and figures", reverse("admin:mlmodels_releases", args=[row.pk]), "mlmodels.view_release"),
            Lever("Retrain", reverse("admin:mlmodels_retrain", args=[row.pk]), "mlmodels.add_trainingrun"),
            *self._of_live(row),
            Lever("Upload a version", reverse("admin:mlmodels_upload"), "mlmodels.add_modelversion"),
            Lever("Roll back", reverse("admin:mlmodels_rollback", args=[row.pk]), "mlmodels.add_release"),
        ]

    def _of_live(self, row: MLModel) -> list[Lever]:
        if row.live_version is None:
            return []
        address = reverse("admin:mlmodels_evaluate", args=[row.live_version.pk])
        return [Lever("Evaluate the live version", address, "mlmodels.add_evaluation")]

    @admin.display(description="live version")
    def live(self, model: MLModel) -> str:
        release = model.live_release
        if release is None:
            return "none yet"
        return format_html("{} (release {})", shown.link(release.version), release.number)

    @admin.display(description="health")
    def health(self, model: MLModel) -> str:
        broken = model.versions.filter(state=State.QUARANTINED).order_by("-number").first()
        version = model.live_version
        if version and version.state != State.HEALTHY:
            return format_html('<strong class="state-bad">out of service: {}</strong>', version.state_reason)
        if broken:
            return format_html(
                '<strong class="state-bad">version {} is quarantined: {}</strong>', broken.number, broken.state_reason
            )
        return format_html('<span class="state-good">{}</span>', "healthy") if version else "-"

    @admin.display(description="releases")
    def its_releases(self, model: MLModel) -> SafeString:
        return format_html('<a href="{}">releases</a>', reverse("admin:mlmodels_releases", args=[model.pk]))

    @admin.display(description="recipe")
    def recipe_shown(self, model: MLModel) -> str:
        return model.recipe or "none: its versions are made elsewhere"

    @admin.display(description="newest data")
    def data(self, model: MLModel) -> SafeString:
        few = model.snapshots.defer("schema").order_by("-id")[:FEW]
        links = [format_html("{} ({} rows)", shown.link(one, one.sha256[:12]), _rows(one)) for one in few]
        return shown.listed([*links, *_all("datasetsnapshot", model, links)])

    @admin.display(description="newest trainings")
    def trainings(self, model: MLModel) -> SafeString:
        few = model.training_runs.only("id", "status", "created_at").order_by("-id")[:FEW]
        links = [format_html("{} {}", shown.link(one, f"{one.created_at:%Y-%m-%d %H:%M}"), one.status) for one in few]
        return shown.listed([*links, *_all("trainingrun", model, links)])

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [
            path("upload/", wrap(levers.upload), name="mlmodels_upload"),
            path("<uuid:key>/rollback/", wrap(levers.rollback), name="mlmodels_rollback"),
            path("<uuid:key>/retrain/", wrap(retraining.retrain), name="mlmodels_retrain"),
            path("<uuid:key>/releases/", wrap(history.releases), name="mlmodels_releases"),
        ]
        return own + super().get_urls()


def _rows(snapshot: Any) -> str:
    return f"{snapshot.train_rows + snapshot.holdout_rows:,}"


def _all(name: str, model: MLModel, shown_ones: list[SafeString]) -> list[SafeString]:
    """A link to all rows of a kind that belong to `model`, where more than a few may be."""
    if len(shown_ones) < FEW:
        return []
    address = reverse(f"admin:mlmodels_{name}_changelist")
    return [format_html('<a href="{}?model__id__exact={}">all</a>', address, model.pk)]
