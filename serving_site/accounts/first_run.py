"""The first administrator: from the environment, or by a one-time link. There is no default password."""

import os

from django.conf import settings
from django.contrib.auth.tokens import default_token_generator
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from serving_site.accounts.models import User


def ensure_administrator() -> str:
    """Make the first administrator if there is none; returns the sentence to print ("" when nothing was to do).

    DJANGO_SUPERUSER_USERNAME, _EMAIL and _PASSWORD decide; without a password a one-time set-password link is given,
    again at each start until it was used.
    """
    administrator = User.objects.filter(is_superuser=True).order_by("id").first()
    if administrator is None:
        name = os.environ.get("DJANGO_SUPERUSER_USERNAME") or "admin"
        email = os.environ.get("DJANGO_SUPERUSER_EMAIL") or f"{name}@localhost"
        administrator = User.objects.create_superuser(name, email, os.environ.get("DJANGO_SUPERUSER_PASSWORD") or None)
    if administrator.has_usable_password():
        return ""
    return f"Choose the password of {administrator.username} here, once: {settings.SITE_URL}{_set_password(administrator)}"


def _set_password(user: User) -> str:
    key = urlsafe_base64_encode(force_bytes(user.pk))
    return reverse("password_reset_confirm", args=[key, default_token_generator.make_token(user)])
