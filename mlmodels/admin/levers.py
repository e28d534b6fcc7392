"""The levers of models and versions: each asks on a page of its own, then calls the function that its command calls."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect

from mlmodels import artifacts, registry, releases
from mlmodels.admin import shown
from mlmodels.admin.pages import ReasonForm, ask, require
from mlmodels.manifests import RefusedArtifact
from mlmodels.models import MLModel, ModelVersion, Release, State
from serving_site.accounts.admin import person


class UploadForm(forms.Form):
    artifact = forms.FileField(
        label="Artifact",
        help_text="A zip that holds exactly manifest.json and weights.safetensors (or program.pt2, if allowed).",
    )


def upload(request: HttpRequest) -> HttpResponse:
    """Take a zip; the check runs as a job, and the version's page shows its verdict."""
    require(request, "mlmodels.add_modelversion")
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
            messages.success(request, f"Stored as {version}. A worker checks it; this page follows it.")
            return redirect(shown.address(version))
    return ask(request, "Upload a version", form, button="Upload and check")


def rollback(request: HttpRequest, key: Any) -> HttpResponse:
    """Back to the healthy version before the live one."""
    model = get_object_or_404(MLModel.objects.select_related("live_release__version"), pk=key)
    target = releases.earlier_healthy(model, model.live_version) if model.live_version else None
    question = f"Make {target} live again?" if target else "There is no earlier healthy version to go back to."
    return _release(
        request, f"Roll back {model}", question, model, lambda **why: releases.rollback(model, **why), bool(target)
    )


def promote(request: HttpRequest, key: Any) -> HttpResponse:
    """Make a version live, if the gate lets it pass."""
    version = get_object_or_404(ModelVersion.objects.select_related("model__live_release__version"), pk=key)
    live = version.model.live_version
    question = f"Make {version} live? " + (f"{live} answers now." if live else "Nothing is live now.")
    return _release(
        request, f"Release {version}", question, version.model,
        lambda **why: releases.promote(version.model, version, **why), version.state == State.HEALTHY,
    )  # fmt: skip


def _release(
    request: HttpRequest, title: str, question: str, model: MLModel, act: Callable[..., Release], is_possible: bool
) -> HttpResponse:
    """Ask for a reason, then release; a refusal is shown, not raised."""
    require(request, "mlmodels.add_release")
    form = ReasonForm(request.POST or None)
    if request.method == "POST" and is_possible and form.is_valid():
        try:
            release = act(by=person(request), reason=form.cleaned_data["reason"], request=request)
        except (releases.NotReleasable, releases.LostRace) as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"Live now: {release.version}, release {release.number}.")
            return redirect(shown.address(model))
    return ask(request, title, form if is_possible else None, back=model, question=question)
