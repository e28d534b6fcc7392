"""The workers: alive, closed off, on one clock."""

from __future__ import annotations

import time
from collections.abc import Iterator

from django.conf import settings

from serving_site.jobs import sql
from serving_site.jobs.kinds import KINDS
from serving_site.jobs.models import Worker
from serving_site.jobs.sweep import ALIVE_S
from serving_site.keeping.doctor.findings import Finding, error, ok, warning

LEVELS = ("base", "base+namespaces")
SKEW_S, MUCH_SKEW_S = 2.0, 300.0


def are_alive() -> Iterator[Finding]:
    """Whether some worker hears each queue, and how well it closes off what it runs."""
    now = sql.now()
    rows = list(Worker.objects.order_by("host", "pid"))
    alive = [one for one in rows if (now - one.seen_at).total_seconds() <= ALIVE_S]
    start = "Start the site." if settings.EMBEDDED else "systemctl start the worker's unit, or `manage.py runworker`."
    if not alive:
        yield error(f"No worker has answered for {ALIVE_S} s: what people submit waits.", start)
    for one in rows:
        if one not in alive:
            silent_s = (now - one.seen_at).total_seconds()
            yield warning(f"The worker {one} is silent for {silent_s:,.0f} s.", "See its host's log.")
    heard = {queue for one in alive for queue in one.queues}
    for kind in KINDS.values() if alive else ():
        if kind.queue not in heard:
            yield warning(f"No living worker hears {kind.queue}.", start)
    for one in alive:
        yield from _closed_off(one)
    if alive:
        yield ok(f"{len(alive)} workers are alive, with {sum(one.slots for one in alive)} slots.")


def _closed_off(worker: Worker) -> Iterator[Finding]:
    level = str(worker.info.get("sandbox", "unknown"))
    if level not in (*LEVELS, "not started"):
        yield error(
            f"The worker {worker} runs models with the sandbox level “{level}”: less than base.",
            "Landlock and seccomp must be allowed there: Linux 5.13 or newer, and the shipped unit or container.",
        )


def clocks_agree() -> Iterator[Finding]:
    """Nothing is decided by them but what people read, certificates, and keys of buckets."""
    ahead = {"this host": time.time() - sql.now().timestamp()}
    for one in Worker.objects.all():
        if "clock_ahead_s" in one.info:
            ahead[str(one)] = float(one.info["clock_ahead_s"])
    wrong = {name: s for name, s in ahead.items() if abs(s) > SKEW_S}
    for name, seconds in wrong.items():
        kind = error if abs(seconds) > MUCH_SKEW_S else warning
        yield kind(
            f"The clock of {name} differs from the database's by {seconds:+,.0f} s.",
            "Run a time service there (systemd-timesyncd or chrony).",
        )
    if not wrong:
        yield ok("The clocks agree with the database's.")
