"""Models, versions and releases, for operators: a logbook with three levers (upload, promote, roll back)."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html

from mlmodels import artifacts, registry, releases
from mlmodels.manifests import RefusedArtifact
from mlmodels.models import MLModel, ModelVersion, Release, State
from serving_site.accounts.admin import ReadOnlyAdmin, as_block, changes, person
from serving_site.accounts.models import audit


class ReasonForm(forms.Form):
    reason = forms.CharField(
        max_length=500, widget=forms.Textarea(attrs={"rows": 3}), help_text="Kept with the release, for good."
    )


class UploadForm(forms.Form):
    artifact = forms.FileField(
        label="Artifact",
        help_text="A zip that holds exactly manifest.json and weights.safetensors (or program.pt2, if allowed).",
    )


def state_mark(state: str) -> str:
    """The state in words, coloured by class and never by colour alone."""
    css = {State.HEALTHY: "state-good", State.CHECKING: "state-wait"}.get(State(state), "state-bad")
    return format_html('<strong class="{}">{}</strong>', css, state)


@admin.register(MLModel)
class MLModelAdmin(admin.ModelAdmin[MLModel]):
    list_display = ("slug", "title", "task", "live", "health")
    list_select_related = ("live_release__version__model",)
    search_fields = ("slug", "title")
    list_filter = ("task",)
    readonly_fields = ("slug", "task", "live", "health", "levers", "created_at")
    fields = ("slug", "title", "description", "task", "groups", "live", "health", "levers", "created_at")
    filter_horizontal = ("groups",)
    change_list_template = "admin/mlmodels/mlmodel/change_list.html"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # a model begins with its first version

    def has_delete_permission(self, request: HttpRequest, obj: MLModel | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: MLModel, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        audit(person(request), "model.edit", obj, **changes(form), request=request)

    @admin.display(description="live version")
    def live(self, model: MLModel) -> str:
        version = model.live_version
        if version is None:
            return "none yet"
        url = reverse("admin:mlmodels_modelversion_change", args=[version.pk])
        return format_html('<a href="{}">{}</a> (release {})', url, version, model.live_release.number)  # type: ignore[union-attr]

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

    @admin.display(description="levers")
    def levers(self, model: MLModel) -> str:
        upload, back = reverse("admin:mlmodels_upload"), reverse("admin:mlmodels_rollback", args=[model.pk])
        return format_html(
            '<a class="button" href="{}">Upload a version</a> <a class="button" href="{}">Roll back</a>', upload, back
        )

    def get_urls(self) -> list[URLPattern]:
        own = [
            path("upload/", self.admin_site.admin_view(self.upload), name="mlmodels_upload"),
            path("<uuid:key>/rollback/", self.admin_site.admin_view(self.rollback), name="mlmodels_rollback"),
        ]
        return own + super().get_urls()

    def upload(self, request: HttpRequest) -> HttpResponse:
        """Take a zip; the check runs as a job, and the version's page shows its verdict."""
        if not request.user.has_perm("mlmodels.add_modelversion"):
            raise PermissionDenied
        form = UploadForm(request.POST or None, request.FILES or None)
        if request.method == "POST" and form.is_valid():
            try:
                artifact = artifacts.take_zip(form.cleaned_data["artifact"], by=person(request))
                version = registry.register(artifact, by=person(request), request=request)
            except RefusedArtifact as error:
                form.add_error("artifact", str(error))
            except OSError as error:
                form.add_error("artifact", f"The artifact could not be stored: {error}.")
            else:
                messages.success(request, f"Stored as {version}. A worker checks it; reload to see the verdict.")
                return HttpResponseRedirect(reverse("admin:mlmodels_modelversion_change", args=[version.pk]))
        context = {
            **self.admin_site.each_context(request),
            "form": form,
            "title": "Upload a version",
            "opts": self.opts,
        }
        return render(request, "admin/mlmodels/upload.html", context)

    def rollback(self, request: HttpRequest, key: Any) -> HttpResponse:
        model = get_object_or_404(MLModel.objects.select_related("live_release__version"), pk=key)
        target = releases.earlier_healthy(model, model.live_version) if model.live_version else None
        question = f"Make {target} live again?" if target else "There is no earlier healthy version to go back to."
        return confirmed(
            request, f"Roll back {model}", question, lambda **why: releases.rollback(model, **why), model, bool(target)
        )


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "state_shown", "headline", "size", "created_at", "created_by")
    list_filter = ("state", "model")
    list_select_related = ("model", "created_by")
    search_fields = ("model__slug", "manifest_sha256", "weights_sha256")
    date_hierarchy = "created_at"
    fields = (
        "model", "number", "state_shown", "state_reason", "release_lever", "metrics_shown", "signature_shown",
        "manifest_sha256", "weights_sha256", "size", "provenance", "created_at", "created_by",
    )  # fmt: skip

    @admin.display(description="state", ordering="state")
    def state_shown(self, version: ModelVersion) -> str:
        return state_mark(version.state)

    @admin.display(description="held-out metrics")
    def headline(self, version: ModelVersion) -> str:
        numbers = {name: value for name, value in version.metrics.items() if isinstance(value, float)}
        return ", ".join(f"{name} {value:.3f}" for name, value in list(numbers.items())[:2])

    @admin.display(description="artifact size", ordering="artifact_bytes")
    def size(self, version: ModelVersion) -> str:
        return f"{version.artifact_bytes / 1024:,.1f} kB"

    @admin.display(description="held-out metrics")
    def metrics_shown(self, version: ModelVersion) -> str:
        return as_block(version.metrics)

    @admin.display(description="signature")
    def signature_shown(self, version: ModelVersion) -> str:
        given, answered = version.signature["input"]["properties"], version.signature["output"]
        names = ", ".join(given) if len(given) <= 5 else f"{len(given)} fields"
        answer = answered["properties"].get("label") or answered["properties"]["value"]
        return as_block({"input": given, "output": answered}, f"{names} → {answer['title']}")

    @admin.display(description="where it came from")
    def provenance(self, version: ModelVersion) -> str:
        names = ("architecture", "params", "parameters", "dataset", "code_commit", "torch", "trained_at")
        told = {name: version.manifest.get(name) for name in names}
        return as_block(told, f"{told['architecture']}, trained at {told['trained_at'] or 'an unknown time'}")

    @admin.display(description="release")
    def release_lever(self, version: ModelVersion) -> str:
        if version.state != State.HEALTHY:
            return "Only a healthy version can go live."
        url = reverse("admin:mlmodels_promote", args=[version.pk])
        return format_html('<a class="button" href="{}">Make this version live</a>', url)

    def get_urls(self) -> list[URLPattern]:
        own = [path("<uuid:key>/promote/", self.admin_site.admin_view(self.promote), name="mlmodels_promote")]
        return own + super().get_urls()

    def promote(self, request: HttpRequest, key: Any) -> HttpResponse:
        version = get_object_or_404(ModelVersion.objects.select_related("model__live_release__version"), pk=key)
        live = version.model.live_version
        question = f"Make {version} live? " + (f"{live} answers now." if live else "Nothing is live now.")
        return confirmed(
            request,
            f"Release {version}",
            question,
            lambda **why: releases.promote(version.model, version, **why),
            version.model,
            version.state == State.HEALTHY,
        )


@admin.register(Release)
class ReleaseAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "version", "at", "by", "reason")
    list_filter = ("model",)
    list_select_related = ("model", "version__model", "by")
    date_hierarchy = "at"
    search_fields = ("model__slug", "reason")
    fields = ("model", "number", "version", "at", "by", "reason", "evidence_shown")

    @admin.display(description="evidence")
    def evidence_shown(self, release: Release) -> str:
        return as_block(release.evidence)


def confirmed(
    request: HttpRequest, title: str, question: str, act: Any, model: MLModel, is_possible: bool
) -> HttpResponse:
    """Ask for a reason, then call the one function that the command calls too; its refusal is shown, not raised."""
    if not request.user.has_perm("mlmodels.add_release"):
        raise PermissionDenied
    form = ReasonForm(request.POST or None)
    if request.method == "POST" and is_possible and form.is_valid():
        try:
            release = act(by=person(request), reason=form.cleaned_data["reason"], request=request)
        except (releases.NotReleasable, releases.LostRace) as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"Live now: {release.version}, release {release.number}.")
            return HttpResponseRedirect(reverse("admin:mlmodels_mlmodel_change", args=[model.pk]))
    context = {**admin.site.each_context(request), "form": form, "title": title, "question": question}
    context |= {"is_possible": is_possible, "back": reverse("admin:mlmodels_mlmodel_change", args=[model.pk])}
    return render(request, "admin/mlmodels/confirm.html", context)
