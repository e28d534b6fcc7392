"""What every kind of background work has in its row, and the row that each worker keeps fresh."""

from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from serving_site.jobs.uuid7 import uuid7


class Status(models.TextChoices):
    QUEUED = "queued", "queued"
    RUNNING = "running", "running"
    SUCCEEDED = "succeeded", "succeeded"
    FAILED = "failed", "failed"
    CANCELED = "canceled", "canceled"


FINAL = (Status.SUCCEEDED, Status.FAILED, Status.CANCELED)
ALONE_AFTER_LOST = 3


class Lane(models.IntegerChoices):
    """Who waits for it; a smaller lane goes first, and every eighth claim takes the oldest row of any lane."""

    CLICK = 0, "click"
    API = 1, "API"
    BATCH = 2, "batch"
    SHADOW = 3, "shadow and replay"


class Job(models.Model):
    """One piece of background work. `status` is changed by `jobs.claim`, `jobs.finish` and `jobs.sweep` alone.

    `turn` orders the lane fairly between owners; `suspect` and `lost` rows run alone; `attempts` counts claims whose
    work reached a child, `crashes` the lone deaths, `lost` the hosts that vanished with the row.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", db_index=False)
    status = models.CharField(max_length=9, choices=Status.choices, default=Status.QUEUED)
    lane = models.SmallIntegerField(choices=Lane.choices, default=Lane.CLICK)
    turn = models.BigIntegerField(default=0)
    rows = models.PositiveIntegerField(default=1)
    size = models.BigIntegerField(default=0)
    attempts = models.SmallIntegerField(default=0)
    crashes = models.SmallIntegerField(default=0)
    lost = models.SmallIntegerField(default=0)
    suspect = models.BooleanField(default=False)
    lease_token = models.UUIDField(null=True, editable=False)
    lease_until = models.DateTimeField(null=True, editable=False)
    rung_at = models.DateTimeField(null=True, editable=False)
    reason_code = models.CharField(max_length=40, blank=True, default="")
    request_id = models.CharField(max_length=64, blank=True, default="", editable=False)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    completed_at = models.DateTimeField(null=True)

    RESULT_COLUMNS: ClassVar[tuple[str, ...]] = ()
    """The kind's own columns that `finish` writes."""

    class Meta:
        abstract = True

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def runs_alone(self) -> bool:
        return self.suspect or self.lost >= ALONE_AFTER_LOST


def job_constraints() -> list[models.BaseConstraint]:
    """The database repeats the promise: terminal exactly when completed (a trigger keeps terminal rows terminal)."""
    return [
        models.CheckConstraint(
            name="%(app_label)s_%(class)s_final_when_completed",
            condition=Q(status__in=FINAL, completed_at__isnull=False)
            | Q(status__in=[Status.QUEUED, Status.RUNNING], completed_at__isnull=True),
        ),
        models.CheckConstraint(name="%(app_label)s_%(class)s_has_rows", condition=Q(rows__gte=1)),
    ]


def job_indexes(prefix: str) -> list[models.Index]:
    """Claim order, an owner's turns, and leases: each over the few rows that are alive."""
    queued, running = Q(status=Status.QUEUED), Q(status=Status.RUNNING)
    return [
        models.Index(name=f"{prefix}_claim", fields=["lane", "turn", "id"], condition=queued),
        models.Index(name=f"{prefix}_oldest", fields=["id"], condition=queued),
        models.Index(name=f"{prefix}_turn", fields=["owner", "lane", "turn"], condition=queued),
        models.Index(name=f"{prefix}_lease", fields=["lease_until"], condition=running),
        models.Index(name=f"{prefix}_token", fields=["lease_token"], condition=running),
    ]


class Worker(models.Model):
    """One worker process: written by itself every second; silent for 10 s means dead."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    host = models.CharField(max_length=255)
    pid = models.IntegerField()
    slots = models.PositiveSmallIntegerField()
    queues = models.JSONField(default=list)
    info = models.JSONField(default=dict)
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name = "worker"

    def __str__(self) -> str:
        return f"{self.host} (process {self.pid})"


class Counter(models.Model):
    """How often the protocol had to repair or refuse something: fenced writes, recovered leases, restarts."""

    name = models.CharField(max_length=60, primary_key=True)
    value = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.name}: {self.value}"


class Tally(models.Model):
    """A total for monitoring, the sum of all processes: `jobs.tally` declares, adds and reads them."""

    name = models.CharField(max_length=60)
    labels = models.CharField(max_length=400)
    value = models.FloatField()

    class Meta:
        constraints = [models.UniqueConstraint(name="one_tally_per_labels", fields=["name", "labels"])]

    def __str__(self) -> str:
        return f"{self.name} {self.labels}: {self.value:g}"


def count(name: str, by: int = 1) -> Any:
    """Add to a counter in the database."""
    made, is_new = Counter.objects.get_or_create(name=name, defaults={"value": by})
    if not is_new:
        Counter.objects.filter(pk=made.pk).update(value=models.F("value") + by)
