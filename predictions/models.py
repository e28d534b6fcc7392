"""What people asked and what was answered."""

from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.urls import reverse

from mlmodels.models import MLModel, ModelVersion, Release
from serving_site.jobs.models import Job, job_constraints, job_indexes
from serving_site.jobs.uuid7 import uuid7


class Upload(models.Model):
    """A file that somebody gave or that an executor drew for them; the bytes are in storage `uploads` under the id."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    sha256 = models.CharField(max_length=64)
    size = models.BigIntegerField()
    content_type = models.CharField(max_length=100)
    name = models.CharField(max_length=255, blank=True, default="")
    is_preview = models.BooleanField(default=False)
    """Drawn by an executor, so it may be shown; what a person gave never is."""
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"upload {self.id}"


class Source(models.TextChoices):
    WEB = "web", "this site"
    V1 = "v1", "predictions API"
    V2 = "v2", "inference protocol"
    BATCH = "batch", "batch"
    REPLAY = "replay", "replay"


class PredictionQuerySet(models.QuerySet["Prediction"]):
    def visible_to(self, user: Any) -> "PredictionQuerySet":
        return self.filter(owner=user)


class Prediction(Job):
    """One request of `rows` inputs to one exact version, and its one recorded outcome.

    `inputs` and `outputs` are lists of `rows` objects in the form of the version's signature; a picture's input is
    {"upload": id}. `pinned`: the caller named the version, so neither rollback nor quarantine moves the row.
    """

    model = models.ForeignKey(MLModel, on_delete=models.PROTECT, related_name="predictions")
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="predictions")
    release = models.ForeignKey(
        Release, null=True, on_delete=models.PROTECT, related_name="predictions", db_index=False
    )
    pinned = models.BooleanField(default=False)
    source = models.CharField(max_length=6, choices=Source.choices, default=Source.WEB)
    inputs = models.JSONField()
    outputs = models.JSONField(null=True)
    previews = models.JSONField(default=dict)
    error = models.TextField(blank=True, default="")
    error_row = models.PositiveIntegerField(null=True)
    queue_ms = models.FloatField(null=True)
    load_ms = models.FloatField(null=True)
    compute_ms = models.FloatField(null=True)
    batch_rows = models.PositiveIntegerField(null=True)
    """How many inputs shared its forward; 1: it ran alone, so that a replay alone gives the same bits."""
    idempotency_key = models.CharField(max_length=255, blank=True, default="")
    request_sha256 = models.CharField(max_length=64, blank=True, default="")
    file_name = models.CharField(max_length=255, blank=True, default="")
    note = models.CharField(max_length=500, blank=True, default="")
    label = models.CharField(max_length=120, blank=True, default="")
    search_text = models.CharField(max_length=1500, blank=True, default="")

    RESULT_COLUMNS: ClassVar[tuple[str, ...]] = (
        "outputs",
        "previews",
        "error",
        "error_row",
        "queue_ms",
        "load_ms",
        "compute_ms",
        "batch_rows",
        "label",
    )

    objects = PredictionQuerySet.as_manager()

    class Meta:
        constraints = [
            *job_constraints(),
            models.UniqueConstraint(
                name="one_prediction_per_key", fields=["owner", "idempotency_key"], condition=~Q(idempotency_key="")
            ),
        ]
        indexes = [
            *job_indexes("prediction"),
            models.Index(
                name="prediction_fill", fields=["version", "lane", "turn", "id"], condition=Q(status="queued")
            ),
            # History pages and its literal search read this index alone, never the rows with their JSON.
            models.Index(name="prediction_history", fields=["owner", "id", "status", "model", "label", "search_text"]),
        ]

    def __str__(self) -> str:
        return f"prediction {self.id}"

    def get_absolute_url(self) -> str:
        return reverse("prediction", args=[self.id])

    def as_dict(self) -> dict[str, Any]:
        """The one envelope of a prediction, for pages, JSON and admin."""
        return {
            "id": str(self.id),
            "model": self.model.slug,
            "version": self.version.number,
            "status": self.status,
            "rows": self.rows,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "error": {"code": self.reason_code, "message": self.error, "row": self.error_row} if self.error else None,
            "metrics": {"queue_ms": self.queue_ms, "load_ms": self.load_ms, "compute_ms": self.compute_ms},
            "created_at": self.created_at.isoformat(),
            "started_at": self.started_at.isoformat() if self.started_at else None,
            "completed_at": self.completed_at.isoformat() if self.completed_at else None,
        }


def search_text(prediction: Prediction) -> str:
    """What history searches beside status and label, in lower case; rebuilt when the note changes."""
    parts = (prediction.id, prediction.model.slug, prediction.model.title, prediction.file_name, prediction.note)
    text = " ".join(str(part) for part in parts).lower()
    return text.encode()[:1500].decode(errors="ignore")  # an index row of PostgreSQL holds 2,704 bytes
