"""A new person's link to choose their own password."""

from django.conf import settings
from django.contrib.auth.tokens import default_token_generator
from django.core.mail import send_mail
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from serving_site.accounts.models import User

TEXT = """Hello {name},

somebody gave you an account on {site}. Choose your password here; the link works once and for three days:

{link}
"""


def link(user: User) -> str:
    """The address where `user` sets a password, once; it ends with the next log-in or password."""
    key = urlsafe_base64_encode(force_bytes(user.pk))
    path = reverse("password_reset_confirm", args=[key, default_token_generator.make_token(user)])
    return f"{settings.SITE_URL}{path}"


def send(user: User) -> None:
    """Send the link by e-mail (in the embedded install it is printed to the log)."""
    text = TEXT.format(name=user.get_username(), site=settings.SITE_URL, link=link(user))
    send_mail(f"Your account on {settings.SITE_URL}", text, None, [user.email])
