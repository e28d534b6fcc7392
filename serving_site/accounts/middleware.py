"""Who is really asking: the client's address behind a known number of proxies."""

import ipaddress
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse


class ClientAddressMiddleware:
    """Puts the client's address into REMOTE_ADDR and drops X-Forwarded-For, so that nothing later can be fooled by it.

    With TRUSTED_PROXIES=n the address is the n-th from the right: what our outermost proxy saw. Everything left of it
    was written by the client. Fewer entries, or one that is no address: the connection's own address stays.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        forwarded = request.META.pop("HTTP_X_FORWARDED_FOR", "")
        found = address_behind(forwarded, settings.TRUSTED_PROXIES)
        if found:
            request.META["REMOTE_ADDR"] = found
        return self.get_response(request)


def address_behind(forwarded: str, proxies: int) -> str:
    """The address that the outermost of `proxies` trusted proxies saw, or "" if the header does not say."""
    hops = [hop.strip() for hop in forwarded.split(",")]
    if proxies < 1 or len(hops) < proxies:
        return ""
    try:
        return str(ipaddress.ip_address(hops[-proxies]))
    except ValueError:
        return ""
