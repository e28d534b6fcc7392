"""Signing in and out, passwords, and one's own account. Built on Django's own views; what differs is said here."""

from typing import Any, cast

import structlog
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login as start_session
from django.contrib.auth import views as auth_views
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse, reverse_lazy
from django.utils.decorators import method_decorator
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from serving_site.accounts import throttle
from serving_site.accounts.forms import AccountForm, AskForPasswordForm, SignInForm, SignUpForm
from serving_site.accounts.models import User, audit

log = structlog.get_logger(__name__)


class Login(auth_views.LoginView):
    """Throttled: 429 with the seconds to wait, instead of a lock."""

    template_name = "accounts/login.html"
    authentication_form = SignInForm
    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**kwargs, signup_open=settings.SIGNUP == "open")

    def form_valid(self, form: Any) -> HttpResponse:
        response = super().form_valid(form)
        throttle.remember_browser(response, form.data.get("username", ""))
        return response

    def form_invalid(self, form: Any) -> HttpResponse:
        response = super().form_invalid(form)
        if form.wait_s:
            response.status_code = 429
            response["Retry-After"] = str(form.wait_s)
        return response


@login_not_required
def admin_login(request: HttpRequest) -> HttpResponse:
    """Admin has no door of its own: the one throttled page serves it, and people who are not staff are told so."""
    if request.user.is_authenticated:
        if request.user.is_staff:
            return redirect("admin:index")
        raise PermissionDenied
    query = urlencode({"next": request.GET.get("next") or reverse("admin:index")})
    return redirect(f"{reverse('login')}?{query}")


@login_not_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def signup(request: HttpRequest) -> HttpResponse:
    """Make one's own account, where SIGNUP is open; else there is no such page."""
    if settings.SIGNUP != "open":
        raise Http404
    form = SignUpForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():
            user = form.save()
            audit(user, "account.sign_up", user.username, request=request)
        start_session(request, user)
        return redirect("home")
    context = {"form": form, "heading": "Create an account", "button": "Create account"}
    return render(request, "accounts/form.html", context)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def account(request: HttpRequest) -> HttpResponse:
    """My name and e-mail address."""
    user = User.objects.get(pk=cast(User, request.user).pk)
    form = AccountForm(request.POST or None, instance=user)
    if request.method == "POST" and form.is_valid():
        names = [name for name in form.changed_data if name != "password"]
        with transaction.atomic():
            if names:
                user.save(update_fields=names)
                audit(user, "account.change", user.username, after={"changed": names}, request=request)
        messages.success(request, "Your account is saved.")
        return redirect("account")
    return render(request, "accounts/account.html", {"form": form})


class PasswordChange(auth_views.PasswordChangeView):
    """Every other session of this person ends with the old password."""

    template_name = "accounts/form.html"
    success_url = reverse_lazy("account")
    extra_context = {
        "heading": "Change your password",
        "explanation": "You stay signed in here and are signed out everywhere else.",
        "button": "Save password",
    }

    def form_valid(self, form: Any) -> HttpResponse:
        with transaction.atomic():
            response = super().form_valid(form)
            audit(form.user, "password.change", form.user.username, request=self.request)
        messages.success(self.request, "Your password is changed.")
        return response


class PasswordReset(auth_views.PasswordResetView):
    """Answers the same whether the address is known or not, and however often it was asked for."""

    template_name = "accounts/form.html"
    form_class = AskForPasswordForm
    email_template_name = "accounts/password_reset_email.txt"
    subject_template_name = "accounts/password_reset_subject.txt"
    success_url = reverse_lazy("password_reset_done")
    extra_email_context = {"site_url": settings.SITE_URL}
    extra_context = {
        "heading": "Get a new password",
        "explanation": "Give the e-mail address of your account; a link to choose a new password is sent there.",
        "button": "Send the link",
    }

    def form_valid(self, form: Any) -> HttpResponse:
        tried = throttle.count(self.request, "mail", form.cleaned_data["email"])
        if tried.wait_s:
            log.warning("password_reset_throttled", wait_s=tried.wait_s)
            return redirect(str(self.success_url))
        return super().form_valid(form)


@method_decorator(login_not_required, name="dispatch")
class PasswordResetConfirm(auth_views.PasswordResetConfirmView):
    """Where a mailed link or the first-run link leads; the person is signed in afterwards."""

    template_name = "accounts/password_reset_confirm.html"
    success_url = reverse_lazy("home")
    post_reset_login = True
    post_reset_login_backend = "django.contrib.auth.backends.ModelBackend"

    def form_valid(self, form: Any) -> HttpResponse:
        with transaction.atomic():
            response = super().form_valid(form)
            audit(form.user, "password.reset", form.user.username, request=self.request)
        messages.success(self.request, "Your password is saved. Welcome!")
        return response


@login_not_required
def password_reset_done(request: HttpRequest) -> HttpResponse:
    context = {
        "heading": "Look into your mail",
        "explanation": "If there is an account with this address, a link to choose a new password is on its way. "
        "Nothing there after a few minutes? Look into the spam folder, or ask an operator of this site.",
    }
    return render(request, "accounts/said.html", context)
