"""The pages of one prediction: follow it, and what its owner may do with it.

The row is fetched through `visible_to`: what is not yours is as if it were missing.
"""

from __future__ import annotations

import functools
import hashlib
import uuid
from collections.abc import Callable
from typing import Any, cast

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotModified
from django.shortcuts import redirect, render
from django.utils.cache import add_never_cache_headers
from django.utils.http import parse_etags, quote_etag
from django.views.decorators.http import require_GET, require_http_methods, require_safe

from mlmodels import releases, signature
from predictions import dispatch, display, lineage
from predictions.models import Prediction, PredictionQuerySet, Upload
from serving_site import files
from serving_site.accounts.models import User
from serving_site.jobs.models import Status
from serving_site.words import duration

POLLED = ("id", "owner_id", "status", "lane", "turn", "created_at", "started_at")
"""What a poll reads: neither inputs and outputs nor the version's manifest, which may be large."""


@require_safe
def prediction(request: HttpRequest, key: uuid.UUID) -> HttpResponse:
    """One prediction's page, which follows it until it is final."""
    row = _get_prediction_or_404(request, key)
    context = {**_story(row, _place(row)), "refresh_s": _refresh_s(row), "section": "predictions"}
    response = render(request, "predictions/prediction.html", context)
    add_never_cache_headers(response)
    return response


@require_GET
def prediction_status(request: HttpRequest, key: uuid.UUID) -> HttpResponseBase:
    """The part of the page that changes; 304 where it has not."""
    polled = _found_or_404(_mine(request).only(*POLLED), key)
    place = _place(polled)
    etag = quote_etag(hashlib.sha256(repr((polled.status, *place)).encode()).hexdigest()[:32])
    if etag in parse_etags(request.headers.get("If-None-Match", "")):
        response: HttpResponseBase = HttpResponseNotModified()
    else:
        response = render(request, "predictions/_prediction.html", _story(_get_prediction_or_404(request, key), place))
    add_never_cache_headers(response)
    response["ETag"] = etag
    return response


def _place(row: Prediction) -> tuple[str, str]:
    """Where a queued prediction stands and when it may be done, in words; empty when it is not queued."""
    if row.status != Status.QUEUED:
        return "", ""
    seconds = dispatch.estimate(row)
    return display.place(dispatch.position(row).ahead), "" if seconds is None else display.about_duration(seconds)


def _story(row: Prediction, place: tuple[str, str]) -> dict[str, Any]:
    """What both the page and its changing part show of `row`."""
    elapsed_s = display.elapsed_s(row)
    return {
        "prediction": row,
        "model": row.model,
        "version": row.version,
        "word": display.STATUS_WORDS[Status(row.status)],
        "position": place[0],
        "estimate": place[1],
        "elapsed_s": elapsed_s,
        "elapsed": duration(1000 * round(elapsed_s)),
        "advice": display.advice(row) if row.status == Status.FAILED else "",
        "rows": display.rows(row),
        "hidden_rows": max(0, row.rows - display.SHOWN_ROWS),
        "timings": display.timings(row),
        "lineage": lineage.lineage(row),
    }


def _refresh_s(row: Prediction) -> int | None:
    """How soon a page without scripts looks again: soon at first, then ever more rarely."""
    return None if row.is_final else min(30, max(1, int(display.elapsed_s(row) / 5)))


def _action(view: Callable[[HttpRequest, Prediction], HttpResponse]) -> Callable[..., HttpResponse]:
    """A POST on one's own prediction. Any other method leads to its page: who had to sign in first ends there."""

    @functools.wraps(view)
    def answer(request: HttpRequest, key: uuid.UUID) -> HttpResponse:
        row = _get_prediction_or_404(request, key)
        return view(request, row) if request.method == "POST" else redirect(row)

    return answer


@_action
def prediction_cancel(request: HttpRequest, row: Prediction) -> HttpResponse:
    if not dispatch.cancel(row):
        messages.info(request, "It was finished before it could be canceled.")
    return redirect(row)


@_action
def prediction_again(request: HttpRequest, row: Prediction) -> HttpResponse:
    """The same input once more, on the version that is live now."""
    try:
        return redirect(dispatch.run_again(row, request.user))
    except (releases.Unavailable, dispatch.RejectedInput) as refused:
        messages.error(request, str(refused))
    except signature.InvalidInput:
        messages.error(request, "The model's form has changed since: this input no longer fits it.")
    return redirect(row)


@_action
def prediction_note(request: HttpRequest, row: Prediction) -> HttpResponse:
    """Keep a person's own words beside their prediction, and let history find them."""
    dispatch.set_note(row, request.POST.get("note", "").replace("\0", ""))
    messages.success(request, "The note is saved.")
    return redirect(row)


@require_http_methods(["GET", "HEAD", "POST"])
def prediction_delete(request: HttpRequest, key: uuid.UUID) -> HttpResponse:
    """Ask first; POST deletes the row with its files."""
    row = _get_prediction_or_404(request, key)
    if request.method == "POST":
        dispatch.delete(row)
        messages.success(request, "The prediction is deleted.")
        return redirect("predictions")
    return render(request, "predictions/delete.html", {"prediction": row, "section": "predictions"})


@require_safe
def file(request: HttpRequest, key: uuid.UUID) -> HttpResponseBase:
    """A preview that an executor drew for this person. What people uploaded is never sent back to a browser."""
    upload = Upload.objects.filter(pk=key, owner=cast(User, request.user), is_preview=True).first()
    if upload is None:
        raise Http404
    try:
        response = files.download("uploads", str(upload.pk), "image/png")
    except FileNotFoundError:
        raise Http404 from None
    response["Content-Disposition"] = f'inline; filename="preview-{upload.pk}.png"'
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response["X-Content-Type-Options"] = "nosniff"
    response["Cache-Control"] = "private, max-age=3600, immutable"
    return response


def _mine(request: HttpRequest) -> PredictionQuerySet:
    return Prediction.objects.visible_to(request.user)


def _get_prediction_or_404(request: HttpRequest, key: uuid.UUID) -> Prediction:
    return _found_or_404(_mine(request).select_related("model", "version__snapshot", "release"), key)


def _found_or_404(rows: PredictionQuerySet, key: uuid.UUID) -> Prediction:
    found = rows.filter(pk=key).first()
    if found is None:
        raise Http404
    return found
