"""How many requests there are, how they end and how long they take; in use where METRICS is on."""

import time
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from serving_site.jobs import tally

REQUESTS = tally.Total("http_requests", "Requests that were answered.", ("view", "method", "code"))
SECONDS = tally.Times("http_request_seconds", "From a request's arrival to its answer.", ("view",))
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


class RequestsMiddleware:
    """Stands before all others, so that it sees their answers too."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started = time.perf_counter()
        response = self.get_response(request)
        view = _view(request)
        REQUESTS.add(view, request.method if request.method in METHODS else "other", str(response.status_code))
        SECONDS.observe(time.perf_counter() - started, view)
        return response


def _view(request: HttpRequest) -> str:
    """A name from the list of addresses: what a client writes into a request makes no new label."""
    if request.resolver_match is not None:
        return request.resolver_match.view_name or "unnamed"
    return "static" if request.path.startswith(settings.STATIC_URL) else "none"
