"""What is live, and the only ways to change that: promote through the gate, roll back, quarantine."""

import datetime
import time
from collections.abc import Callable
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import Min, Q
from django.http import HttpRequest
from django.utils import timezone

from mlmodels import gate, release_gate, signature
from mlmodels.models import MLModel, ModelVersion, Release, State
from mlmodels.release_gate import GateRefused, NotBetter, NotReleasable
from serving_site.accounts.models import User, audit
from serving_site.jobs import sql
from serving_site.jobs.models import Worker
from serving_site.jobs.sweep import ALIVE_S

__all__ = (
    "GateRefused", "LostRace", "NotBetter", "NotReleasable", "Unavailable", "earlier_healthy", "evacuate_unhealthy",
    "live_at", "movers", "promote", "quarantine", "replacement", "rollback", "version_for",
)  # fmt: skip

WARM_S = 10.0
"""So long a promotion waits for the living workers to load the next version."""
FORGOTTEN_S = 60
"""A promotion that was announced so long ago has died."""


class Unavailable(Exception):
    """The model cannot answer now; the message is a sentence for the person who asked."""


class LostRace(Exception):
    """Somebody else released first; the message says who is live now."""


Mover = Callable[[ModelVersion, ModelVersion | None, str], None]
movers: list[Mover] = []
"""Each is called with (from, to, sentence) in the transaction that takes a version out of service: it moves the queued
rows that are not pinned to `to`, or fails them with the sentence where there is no version that fits."""


def version_for(model: MLModel, user: Any) -> ModelVersion:
    """The version that answers `user` now. Raises Unavailable."""
    version = model.live_version
    if version is None:
        raise Unavailable(f"{model.title} has no live version yet. An operator has to release one.")
    if version.state != State.HEALTHY:
        raise Unavailable(f"{model.title} is out of service: its live version failed a check. Operators can see why.")
    return version


def promote(
    model: MLModel,
    version: ModelVersion,
    *,
    by: User | None,
    reason: str,
    override: str = "",
    only_better: bool = False,
    request: HttpRequest | None = None,
    warm_s: float = WARM_S,
    wait_s: float = gate.WAIT_S,
) -> Release:
    """Make `version` live, if the gate lets it pass: announce it, so that workers warm it, then flip.

    Waits for the gate's verdict at most `wait_s`, then until every living worker holds the version, at most `warm_s`.
    `override` is the reason why a refusal does not count, from somebody with the permission mlmodels.override_gate (or
    from the shell: `by` None); it is kept with the release. With `only_better` a version that is no better than the
    live one is refused too. Raises GateRefused, NotBetter, NotReleasable or LostRace; no request fails.
    """
    if version.model_id != model.pk:
        raise NotReleasable(f"{version} is not a version of {model}.")
    if not reason.strip():
        raise NotReleasable("Give a reason: it is kept with the release.")
    expected = MLModel.objects.select_related("live_release__version__model").get(pk=model.pk).live_release
    _judge(version, expected)
    evidence = release_gate.evidence(
        version, expected, by=by, override=override.strip(), only_better=only_better, wait_s=wait_s
    )
    return _release(model, version, expected, by=by, reason=reason, evidence=evidence, request=request, warm_s=warm_s)


def _release(
    model: MLModel,
    version: ModelVersion,
    expected: Release | None,
    *,
    warm_s: float = WARM_S,
    move_queued: bool = False,
    **context: Any,
) -> Release:
    """The two steps. With `move_queued` the unpinned queued rows of the version that was live move along."""
    _announce(model, version)
    try:
        _wait_until_warm(version, warm_s)
        return _flip(model, version, expected, move_queued=move_queued, **context)
    finally:
        MLModel.objects.filter(pk=model.pk, next_version=version).update(next_version=None)


def rollback(model: MLModel, *, by: User | None, reason: str, request: HttpRequest | None = None) -> Release:
    """A new release of the healthy version that came before the live one; again, and it goes one further back.

    It has passed the gate before, so nothing is judged anew. Raises NotReleasable or LostRace.
    """
    if not reason.strip():
        raise NotReleasable("Give a reason: it is kept with the release.")
    live = MLModel.objects.select_related("live_release__version").get(pk=model.pk).live_release
    target = earlier_healthy(model, live.version) if live else None
    if live is None or target is None:
        raise NotReleasable(f"{model} has no earlier healthy version to go back to.")
    _judge(target, live)
    evidence = {"rollback_of": live.number, **release_gate.earlier_evidence(target)}
    return _release(model, target, live, by=by, reason=reason, request=request, evidence=evidence, move_queued=True)


def earlier_healthy(model: MLModel, version: ModelVersion) -> ModelVersion | None:
    """The healthy version that was first released last before `version` was."""
    versions = model.versions.select_related("model").annotate(first=Min("releases__number"))
    first = versions.get(pk=version.pk).first
    if first is None:
        return None
    return versions.filter(state=State.HEALTHY, first__lt=first).order_by("-first").first()


def replacement(model: MLModel, version: ModelVersion) -> ModelVersion | None:
    """What answers in place of `version`: the live one, else the one before it, else any that was ever released."""
    live = model.live_version
    if live and live.pk != version.pk and live.state == State.HEALTHY:
        return live
    others = model.releases.select_related("version__model").filter(version__state=State.HEALTHY)
    latest = others.exclude(version=version).order_by("-number").first()
    return earlier_healthy(model, version) or (latest.version if latest else None)


def quarantine(version: ModelVersion, reason: str) -> bool:
    """Take a healthy version out of service; if it was live, the previous healthy version is released in its place.

    In the same transaction its unpinned queued rows move there when the signatures are equal, else they fail. Returns
    whether this call did it.
    """
    with transaction.atomic():
        model = _locked(version.model_id)
        if not ModelVersion.objects.filter(pk=version.pk, state=State.HEALTHY).update(
            state=State.QUARANTINED, state_reason=reason
        ):
            return False
        audit(None, "version.quarantine", version, before={"state": "healthy"}, after={"reason": reason})
        target = replacement(model, version)
        live = model.live_release
        if live and live.version_id == version.pk and target:
            evidence = {"quarantine_of": live.number, **release_gate.earlier_evidence(target)}
            why = f"{version} was quarantined: {reason}"
            _insert(model, target, live, by=None, reason=why, evidence=evidence, request=None)
        _move(version, target)
    return True


def evacuate_unhealthy(version: ModelVersion) -> None:
    """Rows that reached the queue of a version after it was taken out of service follow the others."""
    if not ModelVersion.objects.filter(pk=version.pk, state=State.HEALTHY).exists():
        _move(version, replacement(version.model, version))


def live_at(model: MLModel, at: Any = None) -> Release | None:
    """What was live at a time (default: now)."""
    return model.releases.filter(at__lte=at or timezone.now()).order_by("-number").first()


def _locked(key: Any) -> MLModel:
    """The model, which nobody else releases or takes out of service until the transaction ends."""
    return MLModel.objects.select_for_update(of=("self",)).select_related("live_release__version").get(pk=key)


def _judge(version: ModelVersion, live: Release | None) -> None:
    version.refresh_from_db(fields=["state", "state_reason"])
    if version.state != State.HEALTHY:
        because = f": {version.state_reason}" if version.state_reason else ""
        raise NotReleasable(f"{version} is {version.state}{because}. Only a healthy version can go live.")
    if live and live.version_id == version.pk:
        raise NotReleasable(f"{version} is live already.")


def _announce(model: MLModel, version: ModelVersion) -> None:
    """Compare and swap: one promotion of a model at a time; one that a crash left behind is overwritten."""
    now = timezone.now()
    forgotten = Q(next_at__lt=now - datetime.timedelta(seconds=FORGOTTEN_S))
    free = MLModel.objects.filter(Q(next_version=None) | forgotten, pk=model.pk)
    if not free.update(next_version=version, next_at=now):
        raise LostRace(f"Another release of {model} is under way. Look what it brings, then try again.")


def _wait_until_warm(version: ModelVersion, warm_s: float) -> None:
    """Returns when every worker holds it or time is up. Raises NotReleasable when loading it showed a broken file."""
    until = time.monotonic() + warm_s
    while time.monotonic() < until and not _is_warm(version):
        _judge(version, None)
        time.sleep(0.05)


def _is_warm(version: ModelVersion) -> bool:
    """Whether every living worker holds `version`; true where none lives, because waiting would not help."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id FROM {Worker._meta.db_table} WHERE seen_at > {sql.clock(-ALIVE_S)}")
        keys = [Worker._meta.pk.to_python(row[0]) for row in cursor.fetchall()]
    loaded = Worker.objects.filter(pk__in=keys).values_list("info", flat=True)
    return all(str(version.pk) in info.get("loaded", []) for info in loaded)


def _flip(
    model: MLModel, version: ModelVersion, expected: Release | None, *, move_queued: bool, **context: Any
) -> Release:
    try:
        with transaction.atomic():
            _locked(model.pk)
            _judge(version, None)
            release = _insert(model, version, expected, **context)
            if move_queued and expected:
                _move(expected.version, version)
            return release
    except IntegrityError:
        live = MLModel.objects.select_related("live_release__version__model").get(pk=model.pk).live_release
        raise LostRace(f"{model} changed meanwhile: {live.version if live else 'nothing'} is live now.") from None


def _insert(
    model: MLModel,
    version: ModelVersion,
    expected: Release | None,
    *,
    by: User | None,
    reason: str,
    evidence: dict[str, Any] | None,
    request: HttpRequest | None,
) -> Release:
    """The release row, the flip and the audit event; a unique violation is the lost race."""
    number = expected.number + 1 if expected else 1
    release = Release.objects.create(
        model=model, number=number, version=version, by=by, reason=reason.strip(), evidence=evidence or {}
    )
    MLModel.objects.filter(pk=model.pk).update(live_release=release, next_version=None)
    after = {"version": str(version), "release": number, "reason": reason.strip()}
    if override := release.evidence.get("override"):
        after["gate overridden"] = override
    before = {"version": str(expected.version) if expected else None}
    audit(by, "model.release", model, before=before, after=after, request=request)
    return release


def _move(old: ModelVersion, new: ModelVersion | None) -> None:
    fits = new is not None and signature.same(old.signature, new.signature)
    for mover in movers:
        mover(old, new if fits else None, _no_other(old))


def _no_other(old: ModelVersion) -> str:
    return f"Version {old.number} of {old.model.title} was taken out of service and no other version fits this input."
