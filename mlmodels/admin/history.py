"""The page "Releases" of a model: what was live when, who made it so, why, on what evidence, and how good it was."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.safestring import SafeString

from mlmodels import releases as life
from mlmodels.admin import shown
from mlmodels.models import MLModel, Release, State
from serving_site import charts
from serving_site.words import duration

SHOWN_RELEASES = 100
DRAWN_VERSIONS = 60
DRAWN_FIGURES = 4
BROWSERS = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M"]


class AtForm(forms.Form):
    """A moment, as the browser's own field gives it; in UTC."""

    at = forms.DateTimeField(
        label="At (UTC)",
        required=False,
        input_formats=[*BROWSERS, "%Y-%m-%d"],
        widget=forms.DateTimeInput(attrs={"type": "datetime-local", "step": "1"}, format="%Y-%m-%dT%H:%M:%S"),
    )


@dataclass(frozen=True)
class Period:
    """One release and how long it was live."""

    release: Release
    lasted: str
    evidence: SafeString
    is_live: bool


def releases(request: HttpRequest, key: Any) -> HttpResponse:
    """Answers "what was live at T": now, unless the address says another time."""
    if not request.user.has_perm("mlmodels.view_release"):
        raise PermissionDenied
    model = get_object_or_404(MLModel.objects.select_related("live_release__version"), pk=key)
    form = AtForm(request.GET if request.GET.get("at") else None)
    at = form.cleaned_data["at"] if form.is_bound and form.is_valid() else None
    form.initial["at"] = timezone.now().replace(microsecond=0)
    periods = _periods(model)
    context = {
        **admin.site.each_context(request),
        "title": f"Releases of {model.title}",
        "model": model,
        "opts": model._meta,
        "form": form,
        "at": at or timezone.now(),
        "asked": at is not None,
        "then": None if form.errors else _then(model, at),
        "periods": periods[:SHOWN_RELEASES],
        "more": len(periods) > SHOWN_RELEASES,
        "charts": _charts(model),
    }
    return render(request, "admin/mlmodels/releases.html", context)


def _then(model: MLModel, at: datetime | None) -> dict[str, Any] | None:
    """The release that was live, with its evidence, or nothing."""
    release = life.live_at(model, at)
    return {"release": release, "evidence": shown.evidence(release)} if release else None


def _periods(model: MLModel) -> list[Period]:
    """Newest first; each ended when the next one began."""
    found = model.releases.select_related("version__model", "by").defer("version__manifest").order_by("-number")
    ended, periods = timezone.now(), []
    for release in found[: SHOWN_RELEASES + 1]:
        lasted = duration((ended - release.at).total_seconds() * 1000)
        is_live = release.pk == model.live_release_id
        periods.append(Period(release, lasted, shown.evidence(release), is_live))
        ended = release.at
    return periods


def _charts(model: MLModel) -> list[SafeString]:
    """The figures that matter most, from version to version: as measured here, else as the training said."""
    found = model.versions.exclude(state=State.REFUSED).order_by("-number")[:DRAWN_VERSIONS]
    rows = found.values_list("number", "manifest__metrics", "measured")
    live = model.live_release.version.number if model.live_release else None
    figures = {number: {**(told or {}), **measured} for number, told, measured in rows}
    names = [name for name in shown.METRICS if any(name in of_version for of_version in figures.values())]
    return [
        charts.versions(
            shown.METRICS[name],
            [(number, float(of_version[name])) for number, of_version in figures.items() if name in of_version],
            live=live,
        )
        for name in names[:DRAWN_FIGURES]
    ]
