"""What a person sees when a request cannot be answered: one sentence, what to do, and the request's id."""

import sys
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError, connection
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from structlog.contextvars import get_contextvars

TEXTS = {
    400: ("That request could not be understood", "Go back, check what you sent and try again."),
    403: ("That is not allowed", "Reload the page you came from and try again; your session may have ended."),
    404: ("There is nothing here", "It may have been deleted, or the address has a typing mistake."),
    413: ("That file is too large", "Choose a smaller one."),
    429: ("Too many tries", "Wait a little and try again."),
    500: ("Something went wrong on our side", "Nothing you did is lost. Try again; tell an operator if it stays."),
    503: ("The site is catching its breath", "Nothing of this request was stored. Try again in a few seconds."),
}


def error_page(request: HttpRequest, status: int, detail: str = "") -> HttpResponse:
    """The page for `status`; needs no database, so that it can be shown while that is away."""
    title, advice = TEXTS[status]
    context = {"status": status, "title": title, "message": f"{detail} {advice}".strip()}
    page = render_to_string("error.html", {**context, "request_id": get_contextvars().get("request_id", "")})
    return HttpResponse(page, status=status, headers={"Retry-After": "5"} if status in (429, 503) else {})


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_page(request, 413 if isinstance(exception, RequestDataTooBig) else 400)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_page(request, 403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_page(request, 404)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return error_page(request, 403, "The form was too old, or it came from another site.")


def server_error(request: HttpRequest) -> HttpResponse:
    """500, or 503 where the database was away or full: the next try may succeed."""
    exception: Any = sys.exc_info()[1]
    if isinstance(exception, (OperationalError, InterfaceError)):
        connection.close()
        return error_page(request, 503)
    return error_page(request, 500)
