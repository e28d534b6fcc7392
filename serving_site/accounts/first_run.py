"""The first administrator: from the environment, or by a one-time link. There is no default password."""

import os

from serving_site.accounts import invitations
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
    return f"Choose the password of {administrator.username} here, once: {invitations.link(administrator)}"
