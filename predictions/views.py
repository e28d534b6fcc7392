"""The pages of a person. Every row is fetched through `visible_to`: what is not yours is as if it were missing."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db.models import BooleanField
from django.db.models.expressions import RawSQL
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.cache import add_never_cache_headers
from django.views.decorators.http import require_http_methods, require_safe

from mlmodels import releases, signature
from mlmodels.models import MLModel, ModelVersion
from predictions import about, dispatch, display, history
from predictions.forms import InputForm

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


LIMITED = RawSQL(
    "EXISTS (SELECT 1 FROM mlmodels_mlmodel_groups g WHERE g.mlmodel_id = mlmodels_mlmodel.id)",
    (),
    output_field=BooleanField(),
)


def _get_model_or_404(request: HttpRequest, slug: str) -> MLModel:
    """By slug, and whose it is only where it has groups: half of the cost of the query that lists what is visible."""
    models = MLModel.objects.filter(slug=slug).select_related("live_release__version").annotate(is_limited=LIMITED)
    found = models.order_by().first()
    if found is None or (vars(found)["is_limited"] and not found.is_visible_to(request.user)):
        raise Http404
    return found
