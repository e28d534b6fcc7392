"""Rows that should have moved on, and versions that nothing here can load."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec

from django.conf import settings
from django.db.models import Min

from mlmodels.executor.outcomes import EXPORTED_PROGRAM
from mlmodels.models import MLModel, ModelVersion, State
from serving_site.jobs import sql
from serving_site.jobs.kinds import KINDS, Kind
from serving_site.jobs.models import Status
from serving_site.jobs.sweep import live_slots
from serving_site.keeping.doctor.findings import Finding, error, note, ok, warning

EXPIRED_S = 60
WAITING_S = 600
NAMES = """
import importlib, json, sys
names = {name for module in json.loads(sys.argv[1]) for name in importlib.import_module(module).REGISTRY}
print(json.dumps(sorted(names)))
"""


def nothing_is_stuck() -> Iterator[Finding]:
    """Leases that nobody freed, rows that wait while workers are there, checks and promotions that never ended."""
    found = [finding for kind in KINDS.values() for finding in _stuck(kind)]
    ago = sql.now() - datetime.timedelta(seconds=WAITING_S)
    versions = ModelVersion.objects.select_related("model")
    found += [
        warning(f"{one} is being checked since {one.created_at:%F %H:%M}.", _START)
        for one in versions.filter(state=State.CHECKING, created_at__lt=ago)[:5]
    ]
    found += [
        warning(f"{one} is being promoted since {one.next_at:%F %H:%M}.", "Promote again.")
        for one in MLModel.objects.filter(next_at__lt=ago).exclude(next_version=None)[:5]
    ]
    found += [
        warning(f"{one} is quarantined: {one.state_reason}", "Import its files again, or leave it so.")
        for one in versions.filter(state=State.QUARANTINED)[:5]
    ]
    yield from found or [ok("No row is stuck.")]


_START = "See that a worker is alive and what its log says."


def _stuck(kind: Kind) -> Iterator[Finding]:
    now, rows = sql.now(), kind.model._default_manager
    expired = rows.filter(status=Status.RUNNING, lease_until__lt=now - datetime.timedelta(seconds=EXPIRED_S)).count()
    if expired:
        yield error(f"{expired:,} rows of {kind.queue} run under leases that ended long ago.", "manage.py sweep --once")
    oldest = rows.filter(status=Status.QUEUED).aggregate(at=Min("created_at"))["at"]
    if oldest and (now - oldest).total_seconds() > WAITING_S and live_slots(kind):
        yield warning(f"The oldest row of {kind.queue} waits since {oldest:%F %H:%M}.", f"Add workers. {_START}")


def architectures_are_known() -> Iterator[Finding]:
    """Whether this host could load what is live; a host without torch runs no models and cannot say."""
    if find_spec("torch") is None:
        yield note("This host runs no models: the workers' hosts say whether they know every architecture.")
        return
    wanted = dict(
        MLModel.objects.exclude(live_release=None).values_list("slug", "live_release__version__manifest__architecture")
    )
    call = [sys.executable, "-c", NAMES, json.dumps(settings.MODEL_ARCHITECTURES)]
    done = subprocess.run(call, cwd=settings.BASE_DIR, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        told = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        yield error(f"MODEL_ARCHITECTURES cannot be loaded: {told}", "Install the package, or correct the setting.")
        return
    known = {*json.loads(done.stdout), *([EXPORTED_PROGRAM] if settings.ALLOW_EXECUTABLE_ARTIFACTS else [])}
    strangers = {slug: name for slug, name in wanted.items() if name not in known}
    for slug, name in sorted(strangers.items()):
        advice = (
            "Set ALLOW_EXECUTABLE_ARTIFACTS=true, or release another version."
            if name == EXPORTED_PROGRAM
            else "Install the package that has it, and name its module in MODEL_ARCHITECTURES."
        )
        yield error(f"What is live of {slug} has the architecture {name!r}, which is not known here.", advice)
    if not strangers:
        yield ok(f"The architectures of {len(wanted)} live versions are known here.")
