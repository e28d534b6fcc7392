"""Who may read /metrics: where METRICS is on, whoever asks from a private address."""

import ipaddress

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from prometheus_client.exposition import choose_encoder

from serving_site.metrics.families import Site


@login_not_required
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """All metrics for loopback and private addresses; for others there is no such page. 503 without the database."""
    if not settings.METRICS or not _is_private(request.META.get("REMOTE_ADDR", "")):
        raise Http404
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    try:
        text = encode(Site())
    except DatabaseError:
        return HttpResponse("the database is away\n", status=503, content_type="text/plain")
    return HttpResponse(text, content_type=content_type, headers={"Cache-Control": "no-store"})


def _is_private(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return found.is_private or found.is_loopback
