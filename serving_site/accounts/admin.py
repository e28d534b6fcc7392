"""People and the audit trail, for operators."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.http import HttpRequest

from serving_site.accounts import invitations
from serving_site.accounts.models import AuditEvent, User


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

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        obj.set_unusable_password()
        super().save_model(request, obj, form, change)
        invitations.send(obj)
        messages.info(request, f"A link to set a password was sent to {obj.email}.")

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False


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
