"""Forms about one's own account."""

from typing import Any

import structlog
from django import forms
from django.contrib.auth.forms import AuthenticationForm, PasswordResetForm, UserCreationForm
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.http import HttpRequest

from serving_site.accounts import throttle
from serving_site.accounts.models import User

log = structlog.get_logger(__name__)


class SignInForm(AuthenticationForm):
    """Name (or e-mail address) and password, throttled; `wait_s` says how long to wait where it was too often."""

    error_messages = {
        "invalid_login": "This name and this password do not belong together. Capital letters count in the password.",
        "inactive": "This account is disabled. An operator of this site can tell you more.",
    }

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        self.wait_s = 0
        self.fields["username"].label = "User name or e-mail address"

    def clean(self) -> dict[str, Any]:
        given, request = str(self.cleaned_data.get("username") or ""), self.request
        if not given or not self.cleaned_data.get("password") or request is None:
            return self.cleaned_data
        tried = throttle.count_sign_in(request, given)
        if tried.wait_s:
            self.wait_s = tried.wait_s
            log.warning("sign_in_throttled", name=given[:150], wait_s=tried.wait_s)
            raise ValidationError(f"Too many tries. Wait {tried.wait_s} seconds, then try again.", code="throttled")
        self.cleaned_data["username"] = _user_name(given)
        try:
            cleaned = super().clean()
        except ValidationError:
            log.warning("sign_in_failed", name=given[:150])
            raise
        throttle.succeeded(tried)
        log.info("sign_in", user=str(self.get_user()))
        return cleaned


def _user_name(given: str) -> str:
    """The user name for a user name or e-mail address; unknown ones stay, and fail as slowly as a wrong password."""
    found = User.objects.filter(Q(username=given) | Q(email__iexact=given)).values_list("username", flat=True)
    names = list(found.order_by("date_joined"))
    return given if given in names or not names else names[0]


class SignUpForm(UserCreationForm):  # type: ignore[type-arg]
    """A new account, where the site allows people to make their own."""

    class Meta:
        model = User
        fields = ("username", "email")

    def clean_email(self) -> str:
        return _free_address(self.cleaned_data["email"], None)


class AccountForm(forms.ModelForm):  # type: ignore[type-arg]
    """Name and e-mail address; a new address needs the password, because it can reset the password."""

    password = forms.CharField(
        label="Current password",
        required=False,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
        help_text="Only needed to change the e-mail address.",
    )

    class Meta:
        model = User
        fields = ("first_name", "last_name", "email")

    def clean_email(self) -> str:
        return _free_address(self.cleaned_data["email"], self.instance)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if "email" in self.changed_data and not self.instance.check_password(cleaned.get("password") or ""):
            self.add_error("password", "Give your current password to change the e-mail address.")
        return cleaned


class AskForPasswordForm(PasswordResetForm):
    """Mails a link to everybody active with the address, also to those who have never set a password."""

    def get_users(self, email: str) -> Any:
        return User.objects.filter(email__iexact=email, is_active=True)


def _free_address(address: str, own: User | None) -> str:
    taken = User.objects.filter(email__iexact=address)
    if own is not None:
        taken = taken.exclude(pk=own.pk)
    if taken.exists():
        raise ValidationError("Another account has this e-mail address.")
    return address
