"""Do the settings fit each other, and are secrets kept from others?"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.http.request import validate_host

from serving_site.keeping.doctor.findings import Finding, error, note, ok, warning

SITE_ENV = Path("/etc/serving-site/site.env")
OF_PLAIN_HTTP = {f"security.W{number}" for number in ("004", "008", "012", "016", "018")}
"""What Django says where SITE_URL is not https, or DEBUG is on: said here in other words."""
HERE = ("127.0.0.1", "localhost", "::1")


def settings_fit() -> Iterator[Finding]:
    """Django's own check of a deployment, and what it cannot know."""
    if settings.DEBUG:
        yield error("DEBUG is on: pages show code and settings to anybody.", "Set DEBUG=false and restart.")
    found = [
        one
        for one in checks.run_checks(include_deployment_checks=True)
        if not one.is_silenced() and one.id not in OF_PLAIN_HTTP
    ]
    for one in found:
        kind = error if one.is_serious() else warning
        yield kind(f"{one.id}: {one.msg.splitlines()[0]}", one.hint or "See Django's documentation of that check.")
    if settings.EMAIL_BACKEND.endswith(("console.EmailBackend", "dummy.EmailBackend")):
        yield warning(
            "E-mail goes nowhere but into the log: nobody who is invited or forgot a password hears of it.",
            "Set EMAIL_URL, for example smtp+tls://user:password@host:587.",
        )
    if settings.ALLOW_EXECUTABLE_ARTIFACTS:
        yield note("ALLOW_EXECUTABLE_ARTIFACTS is on: whoever may give versions runs code in the workers' sandbox.")
    if not found:
        yield ok("The settings pass Django's check of a deployment.")


def addresses_fit() -> Iterator[Finding]:
    """SITE_URL, the hosts that are answered to, and the proxy."""
    name = urlsplit(settings.SITE_URL).hostname or ""
    is_local = name in HERE
    if not validate_host(name, settings.ALLOWED_HOSTS):
        yield error(
            f"SITE_URL names {name}, which ALLOWED_HOSTS does not: people get an error there.",
            f"Add {name} to ALLOWED_HOSTS.",
        )
    if settings.HTTPS and not settings.TRUSTED_PROXIES:
        yield error(
            "SITE_URL is https and TRUSTED_PROXIES is 0: the site redirects to https for ever, whatever a proxy says.",
            "Set TRUSTED_PROXIES to the number of proxies in front, usually 1.",
        )
    if not settings.HTTPS and not is_local:
        yield error(
            f"SITE_URL is {settings.SITE_URL}: passwords travel where anybody on the way can read them.",
            "Put a proxy with TLS in front, and set SITE_URL to its https address.",
        )
    if not settings.HTTPS and settings.TRUSTED_PROXIES:
        yield warning(
            f"TRUSTED_PROXIES is {settings.TRUSTED_PROXIES} and SITE_URL is not https.",
            "Set TRUSTED_PROXIES=0 where no proxy is in front; otherwise set SITE_URL to its https address.",
        )
    if settings.ACCEL_REDIRECT and not settings.STORAGE_URL.startswith("file:"):
        yield note("ACCEL_REDIRECT counts for STORAGE_URL=file:// alone; here the site sends the files itself.")
    yield ok(f"The site is {settings.SITE_URL}, behind {settings.TRUSTED_PROXIES} proxies.")


def secrets_are_kept() -> Iterator[Finding]:
    """Files with secrets that others than their owner can read."""
    given = {Path(path) for name, path in os.environ.items() if name.endswith("_FILE") and _is_ours(name)}
    hooks = settings.MODEL_REPOSITORY / "site.env"
    looked = sorted({settings.DATA_DIR / "secret_key", SITE_ENV, hooks, *given})
    for path in looked:
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            continue  # not there, or not for us
        if mode & 0o037:
            yield error(f"{path} holds secrets and has mode {mode:03o}: others can read it.", f"chmod 600 {path}")
    yield ok("Files with secrets are for their owner alone.")


def _is_ours(name: str) -> bool:
    return name.removesuffix("_FILE") in ("SECRET_KEY", "DATABASE_URL", "RABBITMQ_URL", "EMAIL_URL", "STORAGE_URL")
