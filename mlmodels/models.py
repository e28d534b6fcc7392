"""The registry: models, their immutable versions, the append-only releases, and the check that admits a version."""

from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q

from serving_site.accounts.models import User
from serving_site.jobs.models import Job, job_constraints, job_indexes
from serving_site.jobs.uuid7 import uuid7

SLUG = r"[a-z0-9]+(-[a-z0-9]+)*"


class Task(models.TextChoices):
    CLASSIFICATION = "classification", "classification"
    REGRESSION = "regression", "regression"


class MLModelQuerySet(models.QuerySet["MLModel"]):
    def visible_to(self, user: Any) -> "MLModelQuerySet":
        """The models that `user` may use: those without groups, and those of a group of theirs."""
        return self.filter(
            Q(pk__in=MLModel.groups.through.objects.filter(group__user=user).values("mlmodel"))
            | ~Q(pk__in=MLModel.groups.through.objects.values("mlmodel"))
        )


class MLModel(models.Model):
    """Something people can ask: a name, who may use it, and which release answers."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    slug = models.CharField(
        max_length=60,
        unique=True,
        validators=[RegexValidator(f"^{SLUG}$", "Use lower-case letters, digits and single hyphens.")],
    )
    title = models.CharField(max_length=120)
    description = models.TextField(blank=True)
    task = models.CharField(max_length=14, choices=Task.choices)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    groups = models.ManyToManyField(Group, blank=True, help_text="Who may use it. None: everybody logged in.")
    live_release = models.ForeignKey("Release", null=True, on_delete=models.PROTECT, related_name="+", editable=False)
    next_version = models.ForeignKey(
        "ModelVersion", null=True, on_delete=models.PROTECT, related_name="+", editable=False
    )
    next_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = MLModelQuerySet.as_manager()

    class Meta:
        ordering = ["slug"]
        verbose_name = "model"

    def __str__(self) -> str:
        return self.slug

    def is_visible_to(self, user: Any) -> bool:
        """Whether `user` may use it: it has no groups, or one of theirs."""
        allowed = set(MLModel.groups.through.objects.filter(mlmodel=self).values_list("group_id", flat=True))
        return not allowed or user.groups.filter(pk__in=allowed).exists()

    @property
    def live_version(self) -> "ModelVersion | None":
        return self.live_release.version if self.live_release else None


class State(models.TextChoices):
    CHECKING = "checking", "checking"
    HEALTHY = "healthy", "healthy"
    REFUSED = "refused", "refused"
    QUARANTINED = "quarantined", "quarantined"


class ModelVersion(models.Model):
    """One artifact, known by the hash of its manifest (which names the weights' hash). Only `state` ever changes."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    model = models.ForeignKey(MLModel, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=11, choices=State.choices, default=State.CHECKING)
    state_reason = models.TextField(blank=True, default="")
    manifest = models.JSONField()
    manifest_sha256 = models.CharField(max_length=64)
    weights_sha256 = models.CharField(max_length=64)
    artifact_bytes = models.BigIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        ordering = ["model", "-number"]
        verbose_name = "version"
        constraints = [
            models.UniqueConstraint(name="one_version_per_number", fields=["model", "number"]),
            models.UniqueConstraint(
                name="one_version_per_artifact", fields=["model", "manifest_sha256"], condition=~Q(state="refused")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model.slug}@{self.number}"

    @property
    def signature(self) -> dict[str, Any]:
        signature: dict[str, Any] = self.manifest["signature"]
        return signature

    @property
    def metrics(self) -> dict[str, Any]:
        metrics: dict[str, Any] = self.manifest.get("metrics", {})
        return metrics

    @property
    def max_batch(self) -> int:
        return int(self.manifest.get("max_batch", 1))


class VersionHealth(models.Model):
    """What running a version has shown: kept apart because a version itself is never edited."""

    version = models.OneToOneField(ModelVersion, primary_key=True, on_delete=models.CASCADE, related_name="health")
    deaths_in_a_row = models.PositiveIntegerField(default=0)
    load_failures = models.JSONField(default=list)
    """The hosts on which a load failed, one entry per failure."""

    def __str__(self) -> str:
        return f"health of {self.version_id}"


class Release(models.Model):
    """`version` went live as the model's release `number`. Rows are only added; a rollback is a new row."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    model = models.ForeignKey(MLModel, on_delete=models.PROTECT, related_name="releases")
    number = models.PositiveIntegerField()
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="releases")
    at = models.DateTimeField(auto_now_add=True)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    reason = models.TextField()
    evidence = models.JSONField(default=dict)

    class Meta:
        ordering = ["model", "-number"]
        constraints = [models.UniqueConstraint(name="one_release_per_number", fields=["model", "number"])]

    def __str__(self) -> str:
        return f"{self.model.slug} release {self.number}"


class VersionCheck(Job):
    """The admission check of an uploaded version, run by a worker because it needs an executor."""

    version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="checks")
    error = models.TextField(blank=True, default="")

    RESULT_COLUMNS: ClassVar[tuple[str, ...]] = ("error",)

    class Meta:
        constraints = job_constraints()
        indexes = job_indexes("check")

    def __str__(self) -> str:
        return f"check of {self.version_id}: {self.status}"


def system_user() -> User:
    """The account that owns work nobody asked for by name; it cannot log in."""
    user, is_new = User.objects.get_or_create(
        username="system", defaults={"email": "system@localhost", "is_active": False}
    )
    if is_new:
        user.set_unusable_password()
        user.save(update_fields=["password"])
    return user
