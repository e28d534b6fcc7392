"""The levers of versions: each asks on a page of its own, then calls the function that its command calls."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect

from mlmodels import artifacts, evaluations, registry, releases, replays
from mlmodels.admin import reports, shown
from mlmodels.admin.pages import ReasonForm, ask, require
from mlmodels.manifests import RefusedArtifact
from mlmodels.models import MLModel, ModelVersion, Purpose, State
from serving_site.accounts.admin import person

OVERRIDE = "mlmodels.override_gate"


class UploadForm(forms.Form):
    artifact = forms.FileField(
        label="Artifact",
        help_text="A zip that holds exactly manifest.json and weights.safetensors (or program.pt2, if allowed).",
    )


class OverrideForm(ReasonForm):
    override = forms.CharField(
        required=False,
        max_length=500,
        label="Override",
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Why the gate's refusal does not count here. It is kept with the release, with your name.",
    )


class ReplayForm(forms.Form):
    last = forms.IntegerField(
        label="How many rows", min_value=1, max_value=10_000, initial=1000, help_text="The newest that it answered."
    )
    alone = forms.BooleanField(
        required=False,
        label="One row per forward",
        help_text="Slower; rows first run alone then agree to the last bit.",
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
    """Back to the healthy version before the live one. It has passed the gate, so nothing is judged anew."""
    require(request, "mlmodels.add_release")
    model = get_object_or_404(MLModel.objects.select_related("live_release__version"), pk=key)
    target = releases.earlier_healthy(model, model.live_version) if model.live_version else None
    question = f"Make {target} live again?" if target else "There is no earlier healthy version to go back to."
    form = ReasonForm(request.POST or None)
    if request.method == "POST" and target and form.is_valid():
        try:
            release = releases.rollback(model, by=person(request), reason=form.cleaned_data["reason"], request=request)
        except (releases.NotReleasable, releases.LostRace) as error:
            form.add_error(None, str(error))
        else:
            return _released(request, release)
    return ask(request, f"Roll back {model}", form if target else None, back=model, question=question)


def promote(request: HttpRequest, key: Any) -> HttpResponse:
    """Make a version live if the gate lets it pass; who may override the gate is asked why, once it has refused."""
    require(request, "mlmodels.add_release")
    version = get_object_or_404(ModelVersion.objects.select_related("model__live_release__version"), pk=key)
    may_override = request.user.has_perm(OVERRIDE)
    kind = OverrideForm if may_override and "override" in request.POST else ReasonForm
    form = kind(request.POST or None)
    report, is_possible = "", version.state == State.HEALTHY
    if request.method == "POST" and is_possible and form.is_valid():
        try:
            release = releases.promote(version.model, version, by=person(request), request=request, **form.cleaned_data)
        except releases.GateRefused as refused:
            report = reports.gate(refused.evaluation)
            form = _refused_form(request, form, may_override=may_override)
        except (releases.NotReleasable, releases.LostRace) as error:
            form.add_error(None, str(error))
        else:
            return _released(request, release)
    live = version.model.live_version
    question = f"Make {version} live? " + (f"{live} answers now." if live else "Nothing is live now.")
    notes = ["The gate judges it first, beside what is live, which may take a minute."] if is_possible else []
    return ask(
        request, f"Release {version}", form if is_possible else None, back=version, question=question, report=report,
        notes=notes,
    )  # fmt: skip


def _refused_form(request: HttpRequest, form: ReasonForm, *, may_override: bool) -> ReasonForm:
    """The form after the gate has refused, with a field for whoever may override that."""
    if not may_override:
        form.add_error(None, "The gate refuses this version. Only somebody who may override it can release it.")
        return form
    asked = OverrideForm(request.POST)
    asked.add_error("override", "The gate refuses this version. To release it all the same, say why.")
    return asked


def _released(request: HttpRequest, release: Any) -> HttpResponse:
    messages.success(request, f"Live now: {release.version}, release {release.number}.")
    return redirect(shown.address(release.model))


def evaluate(request: HttpRequest, key: Any) -> HttpResponse:
    """Measure a version on the rows held out; the evaluation's page follows it."""
    require(request, "mlmodels.add_evaluation")
    version = get_object_or_404(ModelVersion.objects.select_related("model"), pk=key)
    if request.method == "POST":
        return redirect(shown.address(evaluations.submit(version, purpose=Purpose.EVALUATE, by=person(request))))
    question = f"Measure {version} on the rows held out, its speed and its memory?"
    return ask(request, f"Evaluate {version}", forms.Form(), back=version, question=question, button="Evaluate")


def replay(request: HttpRequest, key: Any) -> HttpResponse:
    """Run stored inputs again and compare: it writes a report and answers nobody."""
    require(request, "mlmodels.add_evaluation")
    version = get_object_or_404(ModelVersion.objects.select_related("model"), pk=key)
    form = ReplayForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        asked = form.cleaned_data
        found = replays.submit(version, last=asked["last"], by=person(request), is_alone=asked["alone"])
        return redirect(shown.address(found))
    question = f"Run what {version} has answered again and compare? It writes a report and answers nobody."
    return ask(request, f"Replay {version}", form, back=version, question=question, button="Replay")
