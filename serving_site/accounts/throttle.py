"""Guessing passwords is slow, and nobody can lock another person out.

Each try is counted before the password is looked at, for the name and for the address separately, by one conditional
UPDATE: parallel tries cannot slip past the count. After a few free tries each further one must wait a little longer,
half a minute at most. A browser that once signed in with a name has a count of its own for that name, so that a
stranger who keeps guessing delays only himself.
"""

import hashlib
import ipaddress
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Case, DateTimeField, F, IntegerField, Value, When
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

from serving_site.accounts.models import LoginAttempt

FORGET_AFTER = timedelta(minutes=15)
KEPT = timedelta(days=1)
DELAYS_S = (2, 4, 8, 16, 30)
FREE_TRIES = {"name": 5, "browser": 5, "address": 20, "mail": 3}
COOKIE = "known_browser"
COOKIE_AGE_S = 180 * 24 * 3600
SALT = "serving_site.accounts.known_browser"


@dataclass(frozen=True)
class Try:
    """One try to sign in, counted under `keys`; `wait_s` above 0 means that it must not go on."""

    keys: tuple[str, ...]
    wait_s: int


def count_sign_in(request: HttpRequest, name: str) -> Try:
    """Count a try with `name` from this request's address and browser."""
    kind = "browser" if _is_known(request, name) else "name"
    return count(request, kind, name)


def count(request: HttpRequest, kind: str, value: str) -> Try:
    """Count a try for `value` and for the address. Nothing is counted when either must still wait."""
    keys = tuple(sorted((_key(kind, _plain(value)), _key("address", _network(request)))))
    now = timezone.now()
    for key in keys:
        LoginAttempt.objects.get_or_create(key=key, defaults={"last_at": now, "free_at": now})
    with transaction.atomic():
        taken = [_take(key, now) for key in keys]
        if not all(taken):
            transaction.set_rollback(True)
    return Try(keys, 0 if all(taken) else _wait_s(keys, now))


def succeeded(tried: Try) -> None:
    """The password was right: the name starts afresh, and the address is not charged for this try."""
    for key in tried.keys:
        rows = LoginAttempt.objects.filter(key=key)
        if key.startswith("address:"):
            rows.update(failures=Case(When(failures__gt=0, then=F("failures") - 1), default=0), free_at=timezone.now())
        else:
            rows.delete()
    LoginAttempt.objects.filter(last_at__lt=timezone.now() - KEPT).delete()


def remember_browser(response: HttpResponseBase, name: str) -> None:
    """From now on this browser's tries with `name` are counted apart from everybody else's."""
    response.set_signed_cookie(
        COOKIE,
        _digest(_plain(name)),
        salt=SALT,
        max_age=COOKIE_AGE_S,
        httponly=True,
        samesite="Lax",
        secure=settings.HTTPS,
    )


def _is_known(request: HttpRequest, name: str) -> bool:
    kept = request.get_signed_cookie(COOKIE, default="", salt=SALT, max_age=COOKIE_AGE_S)
    return bool(kept) and kept == _digest(_plain(name))


def _take(key: str, now: datetime) -> bool:
    """Count one try and set when the next is free; False while the last one's delay runs."""
    free = FREE_TRIES[key.partition(":")[0]]
    tries = Case(
        When(last_at__lt=now - FORGET_AFTER, then=Value(1)), default=F("failures") + 1, output_field=IntegerField()
    )
    waits = [
        When(failures__gte=free - 1 + step, last_at__gte=now - FORGET_AFTER, then=Value(now + timedelta(seconds=delay)))
        for step, delay in reversed(list(enumerate(DELAYS_S)))
    ]
    changed = LoginAttempt.objects.filter(key=key, free_at__lte=now).update(
        failures=tries, free_at=Case(*waits, default=Value(now), output_field=DateTimeField()), last_at=now
    )
    return changed == 1


def _wait_s(keys: Sequence[str], now: datetime) -> int:
    latest = LoginAttempt.objects.filter(key__in=keys).order_by("-free_at").values_list("free_at", flat=True).first()
    return max(1, math.ceil((latest - now).total_seconds())) if latest else 1


def _network(request: HttpRequest) -> str:
    """The address; of IPv6 the network, of which one customer has all addresses."""
    try:
        address = ipaddress.ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return "unknown"
    if address.version == 6:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def _plain(name: str) -> str:
    return unicodedata.normalize("NFKC", name).strip().casefold()


def _key(kind: str, value: str) -> str:
    return f"{kind}:{_digest(value)}"


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()[:40]
