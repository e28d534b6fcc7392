"""The pages of a person. Every row is fetched through `visible_to`: what is not yours is as if it were missing."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable
from typing import Any, cast

from django.conf import settings
from django.contrib import messages
from django.core.files.storage import storages
from django.core.files.uploadedfile import UploadedFile
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotModified
from django.shortcuts import redirect, render
from django.utils.cache import add_never_cache_headers
from django.utils.http import parse_etags, quote_etag
from django.views.decorators.http import require_GET, require_http_methods, require_POST, require_safe

from mlmodels import releases, signature
from mlmodels.models import MLModel, ModelVersion
from predictions import about, dispatch, display, history
from predictions.forms import InputForm
from predictions.models import Prediction, Upload
from serving_site.accounts.models import User
from serving_site.jobs.models import Status

RECENT = 6
LONGEST_NOTE = 500


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """What I can use, and my recent work."""
    models = MLModel.objects.visible_to(request.user).select_related("live_release__version").order_by("title")
    cards = [(each, about.headline(each.live_version) if each.live_version else "") for each in models]
    recent = history.light(history.newest(request.user, RECENT))
    return render(request, "predictions/home.html", {"cards": cards, "recent": recent, "section": "models"})


@require_http_methods(["GET", "HEAD", "POST"])
def model(request: HttpRequest, slug: str) -> HttpResponse:
    """A model with its form; POST submits it and leads to the prediction's page."""
    found = _get_model_or_404(request, slug)
    try:
        version = releases.version_for(found, request.user)
    except releases.Unavailable as unavailable:
        context = {"model": found, "unavailable": str(unavailable), "section": "models"}
        return render(request, "predictions/model.html", context, status=503 if request.method == "POST" else 200)
    if request.method == "POST":
        return _submit(request, found, version)
    number = request.GET.get("example", "")
    examples = signature.examples(version.signature)
    chosen = int(number) if number.isascii() and number.isdigit() and int(number[:6]) < len(examples) else None
    initial = examples[chosen].input if chosen is not None else None
    return _model_page(request, found, version, InputForm(version.signature, initial=initial), chosen=chosen)


def _submit(request: HttpRequest, found: MLModel, version: ModelVersion) -> HttpResponse:
    form = InputForm(version.signature, request.POST, request.FILES)
    is_valid = form.is_valid()
    too_large = getattr(request, "refused_upload", "")
    if too_large:
        form.refuse_pictures(too_large)
        return _model_page(request, found, version, form, status=413)
    if not is_valid:
        return _model_page(request, found, version, form, status=422)
    try:
        row = dispatch.submit(
            request.user,
            found,
            [form.input],
            files={(0, name): file for name, file in form.files.items()},
            source="web",
            idempotency_key=_once(request.POST.get("_key", ""), form),
            note=request.POST.get("_note", "").replace("\0", "").strip()[:LONGEST_NOTE],
        )
    except signature.InvalidInput as invalid:
        for error in invalid.errors:
            form.refuse(error.field, error.message)
        return _model_page(request, found, version, form, status=422)
    except dispatch.RejectedInput as rejected:
        form.refuse(rejected.field or "", rejected.message)
        return _model_page(request, found, version, form, status=422)
    except releases.Unavailable as unavailable:
        form.refuse("", str(unavailable))
        return _model_page(request, found, version, form, status=503)
    return redirect(row)


def _once(key: str, form: InputForm) -> str:
    """The key that makes this page's input count once: a double click repeats it, a changed input does not."""
    if not key:
        return ""
    digest = hashlib.sha256(json.dumps([key[:100], form.input], sort_keys=True).encode())
    for name, file in sorted(form.files.items()):
        digest.update(name.encode() + _sha256(file))
    return f"web-{digest.hexdigest()}"


def _sha256(file: UploadedFile[Any]) -> bytes:
    digest = hashlib.sha256()
    for chunk in file.chunks():
        digest.update(chunk)
    file.seek(0)
    return digest.digest()


def _model_page(
    request: HttpRequest,
    found: MLModel,
    version: ModelVersion,
    form: InputForm,
    *,
    status: int = 200,
    chosen: int | None = None,
) -> HttpResponse:
    context = {
        "model": found,
        "version": version,
        "release": found.live_release,
        "about": about.about(version),
        "form": form,
        "examples": signature.examples(version.signature),
        "chosen": chosen,
        "key": request.POST.get("_key") or uuid.uuid4(),
        "note": request.POST.get("_note", "")[:LONGEST_NOTE],
        "limit": settings.MAX_UPLOAD_BYTES,
        "limit_mb": settings.MAX_UPLOAD_BYTES // 1024**2,
        "section": "models",
    }
    response = render(request, "predictions/model.html", context, status=status)
    add_never_cache_headers(response)
    return response


@require_safe
def predictions(request: HttpRequest) -> HttpResponse:
    """My history."""
    query = history.parse(request.GET)
    context = {
        "query": query,
        "page": history.page(request.user, query),
        "models": MLModel.objects.visible_to(request.user).order_by("title"),
        "statuses": [(status.value, word) for status, word in display.STATUS_WORDS.items()],
        "section": "predictions",
    }
    response = render(request, "predictions/history.html", context)
    add_never_cache_headers(response)
    return response


@require_safe
def prediction(request: HttpRequest, key: uuid.UUID) -> HttpResponse:
    """One prediction's page, which follows it until it is final."""
    row = _get_prediction_or_404(request, key)
    context = {**_story(row), "refresh_s": _refresh_s(row), "section": "predictions"}
    response = render(request, "predictions/prediction.html", context)
    add_never_cache_headers(response)
    return response


@require_GET
def prediction_status(request: HttpRequest, key: uuid.UUID) -> HttpResponseBase:
    """The part of the page that changes; 304 where it has not."""
    row = _get_prediction_or_404(request, key)
    story = _story(row)
    etag = quote_etag(
        hashlib.sha256(repr((row.status, story["position"], story["estimate"], row.note)).encode()).hexdigest()[:32]
    )
    if etag in parse_etags(request.headers.get("If-None-Match", "")):
        response: HttpResponseBase = HttpResponseNotModified()
    else:
        response = render(request, "predictions/_prediction.html", story)
    add_never_cache_headers(response)
    response["ETag"] = etag
    return response


def _story(row: Prediction) -> dict[str, Any]:
    """What both the page and its changing part show of `row`."""
    is_queued = row.status == Status.QUEUED
    seconds = dispatch.estimate(row) if is_queued else None
    return {
        "prediction": row,
        "model": row.model,
        "version": row.version,
        "word": display.STATUS_WORDS[Status(row.status)],
        "position": display.place(dispatch.position(row).ahead) if is_queued else "",
        "estimate": display.about_duration(seconds) if seconds is not None else "",
        "elapsed_s": display.elapsed_s(row),
        "elapsed": display.duration(1000 * round(display.elapsed_s(row))),
        "advice": display.advice(row) if row.status == Status.FAILED else "",
        "rows": display.rows(row),
        "hidden_rows": max(0, row.rows - display.SHOWN_ROWS),
        "timings": display.timings(row),
    }


def _refresh_s(row: Prediction) -> int | None:
    """How soon a page without scripts looks again: soon at first, then ever more rarely."""
    return None if row.is_final else min(30, max(1, int(display.elapsed_s(row) / 5)))


@require_POST
def prediction_cancel(request: HttpRequest, key: uuid.UUID) -> HttpResponse:
    row = _get_prediction_or_404(request, key)
    if not dispatch.cancel(row):
        messages.info(request, "It was finished before it could be canceled.")
    return redirect(row)


@require_POST
def prediction_again(request: HttpRequest, key: uuid.UUID) -> HttpResponse:
    """The same input once more, on the version that is live now."""
    row = _get_prediction_or_404(request, key)
    return _tried_again(request, row, lambda: dispatch.run_again(row, request.user))


def _tried_again(request: HttpRequest, row: Prediction, run: Callable[[], Prediction]) -> HttpResponse:
    try:
        return redirect(run())
    except (releases.Unavailable, dispatch.RejectedInput) as refused:
        messages.error(request, str(refused))
    except signature.InvalidInput:
        messages.error(request, "The model's form has changed since: this input no longer fits it.")
    return redirect(row)


@require_POST
def prediction_note(request: HttpRequest, key: uuid.UUID) -> HttpResponse:
    """Keep a person's own words beside their prediction, and let history find them."""
    row = _get_prediction_or_404(request, key)
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
    if upload is None or not storages["uploads"].exists(str(upload.pk)):
        raise Http404
    response = FileResponse(storages["uploads"].open(str(upload.pk)), content_type="image/png")
    response["Content-Disposition"] = f'inline; filename="preview-{upload.pk}.png"'
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response["X-Content-Type-Options"] = "nosniff"
    response["Cache-Control"] = "private, max-age=3600, immutable"
    return response


def _get_model_or_404(request: HttpRequest, slug: str) -> MLModel:
    found = MLModel.objects.visible_to(request.user).select_related("live_release__version").filter(slug=slug).first()
    if found is None:
        raise Http404
    return found


def _get_prediction_or_404(request: HttpRequest, key: uuid.UUID) -> Prediction:
    found = (
        Prediction.objects.visible_to(request.user).select_related("model", "version", "release").filter(pk=key).first()
    )
    if found is None:
        raise Http404
    return found
