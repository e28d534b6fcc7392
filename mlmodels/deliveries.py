"""Versions that come by `git push`: judged before the push is accepted, live (or waiting) seconds after it.

`receive` is what pre-receive waits for, `land` what post-receive does, `finish_landed` what workers do for hooks that
were killed. Each may be repeated: a delivery is known by its commit.
"""

import datetime
import time

from django.conf import settings
from django.db import transaction
from django.db.models import ProtectedError, Q
from django.utils import timezone

from mlmodels import gate, patience, registry, releases
from mlmodels.artifacts import Artifact
from mlmodels.evaluations import NoWorker
from mlmodels.gitobjects import Repository
from mlmodels.manifests import RefusedArtifact
from mlmodels.models import Brought, Delivery, Evaluation, MLModel, ModelVersion, OnPush, Release, State, VersionCheck
from mlmodels.patience import Patience, Say
from mlmodels.pushes import BRANCH, RefusedPush
from serving_site.accounts.models import audit

GATE_AGAIN_S = 60.0
"""So long landing waits for the gate, where what is live has changed since the push was judged."""
ABANDONED_S = 3600.0
"""What a killed hook left unjudged, and nobody pushed again, goes after so long (and twice the wait for a verdict)."""
RECENT = datetime.timedelta(days=1)
"""So long the branch is asked whether it holds a commit that was accepted and of which nothing was heard since."""
SUBJECT_CHARACTERS = 200


def receive(
    commit: str,
    artifact: Artifact,
    *,
    pushed_by: str,
    subject: str = "",
    may_create_model: bool = True,
    say: Say = lambda _: None,
) -> Delivery:
    """Register the stored artifact, wait for its check and the gate's verdict, and tell `say` each line at once.

    Returns the accepted delivery. Raises RefusedPush, everything that this push brought being gone again but an audit
    event; the same where the wait is interrupted. Without a worker that answers, the push is refused too.
    """
    until = time.monotonic() + settings.PUSH_WAIT_S
    delivery = _registered(commit, artifact, plain(pushed_by), plain(subject), may_create_model=may_create_model)
    try:
        _judge(delivery, until, say)
    except RefusedPush as error:
        withdraw(delivery, str(error))
        raise
    except BaseException as error:
        withdraw(delivery, f"interrupted: {type(error).__name__}")
        raise
    return delivery


def land(commit: str) -> Delivery:
    """The branch holds `commit`: carry out its model's setting, once. Where that is not possible now, `done_at` stays
    empty and it is tried again. Raises Delivery.DoesNotExist.
    """
    Delivery.objects.filter(commit=commit, landed_at=None).update(landed_at=timezone.now())
    delivery = Delivery.objects.select_related("version__model", "evaluation").get(commit=commit)
    if delivery.done_at is None and delivery.evaluation and delivery.evaluation.passed:
        _carry_out(delivery)
        delivery.refresh_from_db()
    return delivery


def finish_landed() -> None:
    """For workers, every few seconds: finish what a killed hook began, and forget what one never finished judging."""
    now = timezone.now()
    recent = Q(landed_at__isnull=False) | Q(created_at__gt=now - RECENT)
    unfinished = Delivery.objects.filter(recent | ~Q(evaluation__passed=True), done_at=None)
    for delivery in unfinished.select_related("version__model", "evaluation")[:100]:
        if delivery.evaluation and delivery.evaluation.passed:
            if delivery.landed_at or _is_in_branch(delivery.commit):
                land(delivery.commit)
        elif delivery.created_at < now - datetime.timedelta(seconds=ABANDONED_S + 2 * settings.PUSH_WAIT_S):
            withdraw(delivery, "abandoned before it was judged")


def record_refusal(commit: str, reason: str, pushed_by: str) -> None:
    """The one thing that a push leaves which was refused before anything was registered."""
    after = {"commit": plain(commit), "pushed_by": plain(pushed_by), "reason": reason[:2000].replace("\0", "")}
    audit(None, "push.refused", f"push {plain(commit)[:12]}", after=after)


def plain(text: str, limit: int = SUBJECT_CHARACTERS) -> str:
    """`text` on one line, without what a terminal would obey, cut to `limit`."""
    line = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _registered(commit: str, artifact: Artifact, pushed_by: str, subject: str, *, may_create_model: bool) -> Delivery:
    """The delivery of `commit`, new or the one that a killed hook left. Raises RefusedPush, the files being gone."""
    slug = artifact.manifest["slug"]
    if left := Delivery.objects.filter(commit=commit, version__state=State.REFUSED).first():
        withdraw(left, "refused by its check after the hook was killed")
    known = MLModel.objects.filter(slug=slug).first()
    if known is None and not may_create_model:
        registry.discard_files(artifact.manifest_sha256, artifact.weights_sha256)
        raise RefusedPush(f"There is no model {slug} here, and a push may not make one. An operator has to import it.")
    same = Q(model__slug=slug, manifest_sha256=artifact.manifest_sha256)
    is_there = ModelVersion.objects.filter(same).exclude(state=State.REFUSED).exists()
    brought = Brought.NOTHING if is_there else Brought.VERSION if known else Brought.MODEL
    try:
        with transaction.atomic():
            version = registry.register(artifact, by=None)
            brought = _inherited(version, commit) or brought
            facts = {"version": version, "pushed_by": pushed_by, "subject": subject, "brought": brought}
            return Delivery.objects.get_or_create(commit=commit, defaults=facts)[0]
    except RefusedArtifact as error:
        raise RefusedPush(str(error)) from None


def _inherited(version: ModelVersion, commit: str) -> Brought:
    """What a push of the same files brought that nobody finished judging: this one answers for it now."""
    unjudged = version.deliveries.filter(landed_at=None, done_at=None).exclude(evaluation__passed=True)
    left = unjudged.exclude(brought=Brought.NOTHING).exclude(commit=commit).first()
    if left is None:
        return Brought.NOTHING
    left.delete()
    return Brought(left.brought)


def _judge(delivery: Delivery, until: float, say: Say) -> None:
    """Wait for both verdicts. Raises RefusedPush."""
    version = delivery.version
    say(f"{version} is received; a worker loads it and checks that it answers its golden inputs …")
    patience.await_check(version, Patience(VersionCheck, until, say))
    live = _live(version)
    if live and live.pk == version.pk:
        say(f"{version} is live already.")
        _done(delivery, version.releases.order_by("-number").first(), f"{version} is live already.")
        return
    say(f"{version} is healthy. The gate compares it with {live or 'nothing: it would be the first'} …")
    evaluation = patience.await_gate(version, live, Patience(Evaluation, until, say))
    Delivery.objects.filter(pk=delivery.pk).update(evaluation=evaluation)
    if not evaluation.report:
        raise RefusedPush(f"The gate could not judge {version}: {evaluation.error or evaluation.status}")
    *lines, summary = gate.as_text(evaluation.report).splitlines()
    for line in lines:
        say(line)
    if not evaluation.passed:
        raise RefusedPush(summary)
    say(summary)
    audit(None, "push.accepted", version, after={"commit": delivery.commit, "pushed_by": delivery.pushed_by})


def withdraw(delivery: Delivery, reason: str) -> None:
    """Take away what the delivery brought: rows, with their jobs, and files; what was there before it stays."""
    version = ModelVersion.objects.select_related("model").get(pk=delivery.version_id)
    with transaction.atomic():
        record_refusal(delivery.commit, f"{version}: {reason}", delivery.pushed_by)
        delivery.delete()
        if delivery.brought:
            _delete(version, with_model=delivery.brought == Brought.MODEL)
    if delivery.brought:
        registry.discard_files(version.manifest_sha256, version.weights_sha256)


def _delete(version: ModelVersion, *, with_model: bool) -> None:
    """Unless somebody has made use of it meanwhile."""
    MLModel.objects.select_for_update().get(pk=version.model_id)
    if version.releases.exists() or version.deliveries.exists():
        return
    try:
        with transaction.atomic():
            version.delete()
        if with_model and not version.model.versions.exists():
            with transaction.atomic():
                version.model.delete()
    except ProtectedError:
        pass  # what refers to it keeps it


def _carry_out(delivery: Delivery) -> None:
    """Release or leave a candidate; a lost race and absent workers leave it as it was, for the next attempt."""
    version, failure = delivery.version, ""
    release = _release_of(delivery)
    if release is None and version.model.on_push == OnPush.CANDIDATE:
        _done(delivery, None, f"{version} waits as a candidate. {_how_to_release(version)}")
        return
    if release is None:
        try:
            _promote(delivery)
        except (releases.LostRace, NoWorker):
            return
        except releases.NotReleasable as error:
            failure = str(error)
        release = _release_of(delivery)
    if release:
        where = f"{settings.SITE_URL}/models/{version.model.slug}/"
        _done(delivery, release, f"{version} is live as release {release.number}: {where}")
    else:
        _done(delivery, None, f"{version} is not live. {failure} {_how_to_release(version)}")


def _promote(delivery: Delivery) -> None:
    """Raises NoWorker where what is live has changed and nobody is there to compare with that."""
    version = delivery.version
    _forget_killed_promotion(version)
    if version.state == State.HEALTHY:
        gate.verdict(version, _live(version), by=None, wait_s=GATE_AGAIN_S)
    reason = delivery.subject or f"pushed by {delivery.pushed_by}"
    releases.promote(version.model, version, by=None, reason=reason, wait_s=GATE_AGAIN_S)


def _live(version: ModelVersion) -> ModelVersion | None:
    return MLModel.objects.select_related("live_release__version__model").get(pk=version.model_id).live_version


def _forget_killed_promotion(version: ModelVersion) -> None:
    """A hook that was killed while workers warmed this version still announces it."""
    long_ago = timezone.now() - datetime.timedelta(seconds=1.5 * releases.WARM_S)
    announced = MLModel.objects.filter(pk=version.model_id, next_version=version, next_at__lt=long_ago)
    announced.update(next_version=None)


def _release_of(delivery: Delivery) -> Release | None:
    """The release that this delivery led to, whoever made it: it came after, and may have been rolled back since."""
    version = delivery.version
    made = version.releases.filter(at__gte=delivery.created_at).order_by("number").first()
    live = MLModel.objects.select_related("live_release").get(pk=version.model_id).live_release
    return made or (live if live and live.version_id == version.pk else None)


def _how_to_release(version: ModelVersion) -> str:
    return f"To release it: manage.py promote {version.model.slug} {version.number} --reason '…'"


def _done(delivery: Delivery, release: Release | None, outcome: str) -> None:
    waiting = Delivery.objects.filter(pk=delivery.pk, done_at=None)
    if waiting.update(done_at=timezone.now(), release=release, outcome=outcome) and release is None:
        audit(None, "push.candidate", delivery.version, after={"commit": delivery.commit, "outcome": outcome})


def _is_in_branch(commit: str) -> bool:
    """Whether this host has the repository and its branch holds the commit."""
    try:
        repository = Repository(settings.MODEL_REPOSITORY)
        tip = repository.tip(BRANCH.removeprefix("refs/heads/"))
        return bool(tip) and repository.is_ancestor(commit, tip)
    except OSError:
        return False
