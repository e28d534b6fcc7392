"""Stored files over HTTP: to people by a view that has decided, and to workers at /internal/files/ by their key."""

import hmac
from tempfile import SpooledTemporaryFile

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.core.files.base import File
from django.core.files.storage import storages
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from serving_site.storage import CHUNK, MISSING, NAME, LocalStorage, worker_key


def download(area: str, name: str, content_type: str) -> HttpResponseBase:
    """A stored file as the answer to somebody who may have it.

    Where ACCEL_REDIRECT names the proxy's own place for the folder of a file:// storage, the proxy sends the bytes.
    Raises FileNotFoundError.
    """
    storage = storages[area]
    if not (settings.ACCEL_REDIRECT and isinstance(storage, LocalStorage)):
        return FileResponse(storage.open(name), content_type=content_type)
    if not storage.exists(name):
        raise FileNotFoundError(name)
    place = f"{settings.ACCEL_REDIRECT}{area}/{name[:2]}/{name}"
    return HttpResponse(content_type=content_type, headers={"X-Accel-Redirect": place})


@csrf_exempt
@login_not_required
def internal_file(request: HttpRequest, area: str, name: str) -> HttpResponseBase:
    """GET, HEAD, PUT or DELETE one file of `area` (artifacts or uploads); anything unknown is 404.

    The bytes always come from here: a worker may reach the site without the proxy.
    """
    given = request.headers.get("Authorization", "")
    if not hmac.compare_digest(given.encode(), f"Bearer {worker_key()}".encode()):
        return HttpResponse(status=404)
    if area not in ("artifacts", "uploads") or not NAME.fullmatch(name):
        return HttpResponse(status=404)
    if request.method == "PUT":
        return _store(request, area, name)
    storage = storages[area]
    if not storage.exists(name):
        return HttpResponse(status=404, headers={MISSING: "missing"})
    if request.method == "DELETE":
        storage.delete(name)
        return HttpResponse(status=204)
    return FileResponse(storage.open(name), content_type="application/octet-stream")


def _store(request: HttpRequest, area: str, name: str) -> HttpResponse:
    with SpooledTemporaryFile(max_size=CHUNK) as body:
        while chunk := request.read(CHUNK):
            body.write(chunk)
        if body.tell() != int(request.headers.get("Content-Length") or -1):
            return JsonResponse({"error": "the body ended early"}, status=400)
        storages[area].save(name, File(body, name=name))
    return HttpResponse(status=201)
