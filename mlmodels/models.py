"""The registry: models, their immutable versions, the append-only releases, and the check that admits a version."""

from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q

from mlmodels.executor.outcomes import EXPORTED_PROGRAM
from serving_site.accounts.models import User
from serving_site.jobs.models import Job, job_constraints, job_indexes
from serving_site.jobs.uuid7 import uuid7

SLUG = r"[a-z0-9]+(-[a-z0-9]+)*"


class Task(models.TextChoices):
    CLASSIFICATION = "classification", "classification"
    REGRESSION = "regression", "regression"


class OnPush(models.TextChoices):
    RELEASE = "release", "it goes live"
    CANDIDATE = "candidate", "it waits for an operator"


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
    recipe = models.CharField(max_length=40, blank=True, default="", editable=False)
    """Which recipe of `mlmodels.training` retrains it; empty where it came from elsewhere."""
    gate = models.JSONField(default=dict, blank=True, help_text="Thresholds that differ from the site's own.")
    on_push = models.CharField(
        "after a push", max_length=9, choices=OnPush, default=OnPush.RELEASE,
        help_text="What happens to a pushed version that passes the gate.",
    )  # fmt: skip
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


class DatasetSnapshot(models.Model):
    """A model's data as it was once: two CSV files in the storage `artifacts`, split by the hash of each row's input.

    Training is given the one, never the other: the server keeps the rows held out and judges every version on them.
    `schema` says what the columns and the target are (see `mlmodels.datasets`).
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    model = models.ForeignKey(MLModel, on_delete=models.PROTECT, related_name="snapshots")
    sha256 = models.CharField(max_length=64)
    """Of all rows and their targets, whatever their order."""
    schema = models.JSONField()
    source = models.CharField(max_length=300)
    train_sha256 = models.CharField(max_length=64)
    train_rows = models.PositiveIntegerField()
    holdout_sha256 = models.CharField(max_length=64)
    holdout_rows = models.PositiveIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        ordering = ["model", "-id"]
        verbose_name = "dataset snapshot"
        constraints = [models.UniqueConstraint(name="one_snapshot_per_content", fields=["model", "sha256"])]

    def __str__(self) -> str:
        return f"{self.model.slug} data {self.sha256[:12]}"


class State(models.TextChoices):
    CHECKING = "checking", "checking"
    HEALTHY = "healthy", "healthy"
    REFUSED = "refused", "refused"
    QUARANTINED = "quarantined", "quarantined"


class ModelVersion(models.Model):
    """One artifact, known by the hash of its manifest (which names the weights' hash).

    Only `state` ever changes, and `measured`: what this server found on the rows that it holds out.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    model = models.ForeignKey(MLModel, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=11, choices=State.choices, default=State.CHECKING)
    state_reason = models.TextField(blank=True, default="")
    manifest = models.JSONField()
    manifest_sha256 = models.CharField(max_length=64)
    weights_sha256 = models.CharField(max_length=64)
    artifact_bytes = models.BigIntegerField()
    snapshot = models.ForeignKey(DatasetSnapshot, null=True, on_delete=models.PROTECT, related_name="versions")
    """The data it was trained on, where that is known here."""
    measured = models.JSONField(default=dict)
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
        permissions = [("upload_executable", "Can upload artifacts that run code when loaded")]

    def __str__(self) -> str:
        return f"{self.model.slug}@{self.number}"

    @property
    def signature(self) -> dict[str, Any]:
        signature: dict[str, Any] = self.manifest["signature"]
        return signature

    @property
    def is_executable(self) -> bool:
        """Whether loading it runs code that its author wrote: an exported program, run only inside the sandbox."""
        return bool(self.manifest.get("architecture") == EXPORTED_PROGRAM)

    @property
    def metrics(self) -> dict[str, Any]:
        """What its training said, and over that what this server measured on the rows held out."""
        return {**self.manifest.get("metrics", {}), **self.measured}

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
        permissions = [("override_gate", "Can release what the gate refuses")]

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


class Promote(models.TextChoices):
    NEVER = "never", "never"
    IF_BETTER = "if-better", "if it is better"
    ALWAYS = "always", "if the gate lets it pass"


class TrainingRun(Job):
    """One training of a model on one snapshot: run by a child that a worker or a command keeps.

    While it runs, what becomes known is written at once, fenced by the lease; the columns of RESULT_COLUMNS at its end.
    """

    model = models.ForeignKey(MLModel, on_delete=models.PROTECT, related_name="training_runs")
    snapshot = models.ForeignKey(DatasetSnapshot, on_delete=models.PROTECT, related_name="training_runs")
    recipe = models.CharField(max_length=40)
    seed = models.BigIntegerField(default=0)
    epochs = models.PositiveIntegerField(null=True)
    """The most that one fit takes; None leaves it to the recipe."""
    promote = models.CharField(max_length=9, choices=Promote, default=Promote.NEVER)
    reason = models.TextField(blank=True, default="")
    code_commit = models.CharField(max_length=64, blank=True, default="")
    progress = models.JSONField(default=dict)
    """{"stage", "epoch", "epochs", "loss", "metric"}: what was said last."""
    curves = models.JSONField(default=list)
    """[[epoch, loss, metric], …]"""
    version = models.OneToOneField(ModelVersion, null=True, on_delete=models.SET_NULL, related_name="training_run")
    weights_sha256 = models.CharField(max_length=64, blank=True, default="")
    parameters = models.JSONField(default=dict)
    outcome = models.TextField(blank=True, default="")
    """One sentence: what became of the version."""
    log = models.TextField(blank=True, default="")
    error = models.TextField(blank=True, default="")

    RESULT_COLUMNS: ClassVar[tuple[str, ...]] = ("outcome", "error")

    class Meta:
        constraints = job_constraints()
        indexes = [*job_indexes("training"), models.Index(name="training_history", fields=["model", "-id"])]

    def __str__(self) -> str:
        return f"training of {self.model.slug}: {self.status}"


class Purpose(models.TextChoices):
    EVALUATE = "evaluate", "evaluation"
    GATE = "gate", "gate"
    REPLAY = "replay", "replay"


class Evaluation(Job):
    """A version run in an executor to be judged, never to answer anybody: it writes a report, no prediction.

    A gate also says whether the version may go live in place of `against` (`passed`).
    """

    version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="evaluations")
    against = models.ForeignKey(ModelVersion, null=True, on_delete=models.SET_NULL, related_name="+")
    snapshot = models.ForeignKey(DatasetSnapshot, null=True, on_delete=models.PROTECT, related_name="+")
    purpose = models.CharField(max_length=8, choices=Purpose)
    options = models.JSONField(default=dict)
    report = models.JSONField(default=dict)
    passed = models.BooleanField(null=True)
    error = models.TextField(blank=True, default="")

    RESULT_COLUMNS: ClassVar[tuple[str, ...]] = ("report", "passed", "error")

    class Meta:
        constraints = job_constraints()
        indexes = [*job_indexes("evaluation"), models.Index(name="evaluation_history", fields=["version", "-id"])]

    def __str__(self) -> str:
        return f"{self.get_purpose_display()} of {self.version}: {self.status}"


class Brought(models.TextChoices):
    NOTHING = "", "nothing new"
    VERSION = "version", "a version"
    MODEL = "model", "a model and its first version"


class Delivery(models.Model):
    """A version that came by `git push`, known by its commit, and what the gate said before the push was accepted.

    `landed_at` is set once the branch holds the commit, `done_at` once the model's setting has been carried out.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    commit = models.CharField(max_length=64, unique=True)
    pushed_by = models.CharField(max_length=200, blank=True, default="")
    subject = models.CharField(max_length=200, blank=True, default="")
    """The first line of the commit's message: the reason of the release."""
    brought = models.CharField(max_length=7, choices=Brought, blank=True, default=Brought.NOTHING)
    """What came into being with it: a refusal takes that away again, and nothing else."""
    version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="deliveries")
    evaluation = models.ForeignKey(Evaluation, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    landed_at = models.DateTimeField(null=True)
    done_at = models.DateTimeField(null=True)
    release = models.ForeignKey(Release, null=True, on_delete=models.SET_NULL, related_name="+")
    outcome = models.TextField(blank=True, default="")

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "deliveries"

    def __str__(self) -> str:
        return f"push {self.commit[:12]}"


def system_user() -> User:
    """The account that owns work nobody asked for by name; it cannot log in."""
    user, is_new = User.objects.get_or_create(
        username="system", defaults={"email": "system@localhost", "is_active": False}
    )
    if is_new:
        user.set_unusable_password()
        user.save(update_fields=["password"])
    return user
