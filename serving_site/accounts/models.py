"""People, and the record of what they changed."""

from typing import Any

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.http import HttpRequest
from structlog.contextvars import get_contextvars

from serving_site.jobs.uuid7 import uuid7


class User(AbstractUser):
    """Somebody with an account. Disabled (`is_active`) rather than deleted, so that history keeps its author."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    email = models.EmailField("e-mail address", unique=True)


class AuditEvent(models.Model):
    """Who changed what, when and from where; written in the transaction of the change, never edited."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    at = models.DateTimeField(auto_now_add=True, db_index=True)
    actor = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    action = models.CharField(max_length=60)
    target = models.CharField(max_length=200)
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    ip = models.GenericIPAddressField(null=True)
    request_id = models.CharField(max_length=64, blank=True, default="")

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.action} {self.target}"


def audit(
    actor: User | None,
    action: str,
    target: object,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    request: HttpRequest | None = None,
) -> AuditEvent:
    """Write one event; call it inside the transaction of the change. `actor` None is the system itself."""
    return AuditEvent.objects.create(
        actor=actor,
        action=action,
        target=str(target)[:200],
        before=before or {},
        after=after or {},
        ip=request.META.get("REMOTE_ADDR") or None if request else None,
        request_id=str(get_contextvars().get("request_id", ""))[:64],
    )


class LoginAttempt(models.Model):
    """How many tries to sign in there were lately for one name, browser or address; `throttle` alone writes it."""

    key = models.CharField(max_length=60, primary_key=True)
    failures = models.PositiveIntegerField(default=0)
    last_at = models.DateTimeField(db_index=True)
    free_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.key}: {self.failures}"
