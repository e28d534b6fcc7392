"""People and the audit trail, for operators."""

import json
from typing import Any

import structlog
from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html

from serving_site.accounts import invitations
from serving_site.accounts.models import AuditEvent, User, audit

log = structlog.get_logger(__name__)


class InviteForm(forms.ModelForm[User]):
    """A new person gets no password from us: they choose it through a link sent by e-mail."""

    class Meta:
        model = User
        fields = ("username", "email")


@admin.register(User)
class UserAdmin(DjangoUserAdmin[User]):
    """Adding somebody sends them a link to set their password; people are disabled, not deleted."""

    add_form = InviteForm
    add_fieldsets = ((None, {"fields": ("username", "email")}),)
    list_display = ("username", "email", "is_active", "is_staff", "last_login", "date_joined")
    actions = ("invite_again",)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        if not change:
            obj.set_unusable_password()
        super().save_model(request, obj, form, change)
        audit(person(request), "user.edit" if change else "user.add", obj, **changes(form), request=request)
        if not change:
            transaction.on_commit(lambda: self._invite(request, obj))

    @admin.action(description="Send a new link to set a password", permissions=["change"])
    def invite_again(self, request: HttpRequest, chosen: QuerySet[User]) -> None:
        for user in chosen.filter(is_active=True):
            self._invite(request, user)

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:  # noqa: A002
        """As Django's, and on the record."""
        answer: HttpResponse = super().user_change_password(request, id, form_url)
        if request.method == "POST" and answer.status_code == 302:
            audit(person(request), "user.password", User.objects.get(pk=id), request=request)
        return answer

    def _invite(self, request: HttpRequest, user: User) -> None:
        """The account is stored whether the mail server answers or not."""
        try:
            invitations.send(user)
        except OSError as error:  # what smtplib and sockets raise
            log.exception("invitation_failed", user=str(user.pk))
            messages.error(
                request,
                f"The e-mail to {user.email} could not be sent ({error}). Try again from the list.",
            )
        else:
            messages.info(request, f"A link to set a password was sent to {user.email}.")

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False


def person(request: HttpRequest) -> User:
    """Who works in admin; its doors let nobody else in."""
    assert isinstance(request.user, User)
    return request.user


def changes(form: Any) -> dict[str, dict[str, Any]]:
    """What a form changed, as `before` and `after` of an audit event."""
    return {
        "before": {name: _plain(form.initial.get(name)) for name in form.changed_data},
        "after": {name: _plain(form.cleaned_data.get(name)) for name in form.changed_data},
    }


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple, QuerySet)):
        return sorted(str(one) for one in value)
    return value if value is None or isinstance(value, (str, int)) else str(value)


def as_block(value: Any, summary: str = "") -> str:
    """Facts as indented JSON; with a summary they stay folded until somebody wants them."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if summary:
        return format_html('<details class="facts"><summary>{}</summary><pre>{}</pre></details>', summary, text)
    return format_html('<pre class="facts">{}</pre>', text)


class ReadOnlyAdmin(admin.ModelAdmin[Any]):
    """A logbook: everything can be read and nothing changed."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    list_display = ("at", "actor", "action", "target", "ip")
    list_filter = ("action",)
    search_fields = ("target", "actor__username", "request_id")
    date_hierarchy = "at"
    list_select_related = ("actor",)
    fields = ("at", "actor", "action", "target", "before_shown", "after_shown", "ip", "request_id")

    @admin.display(description="before")
    def before_shown(self, event: AuditEvent) -> str:
        return as_block(event.before)

    @admin.display(description="after")
    def after_shown(self, event: AuditEvent) -> str:
        return as_block(event.after)
