"""/livez and /readyz: is the process alive, can the site accept and store, and does everything behind it answer."""

import os
import threading
import time
from typing import Any

import dramatiq
from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.core.cache import cache
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse

from serving_site.jobs import ring, sql
from serving_site.jobs.kinds import KINDS
from serving_site.jobs.models import Worker
from serving_site.jobs.sweep import ALIVE_S

DEGRADED_S = 2
"""How long the answer about broker and workers is reused, so that pages may ask often."""


@login_not_required
def livez(request: HttpRequest) -> HttpResponse:
    """200 while the process answers; touches nothing else."""
    return HttpResponse("ok\n", content_type="text/plain")


@login_not_required
def readyz(request: HttpRequest) -> JsonResponse:
    """200 while the site can accept and store. With ?full also broker and a worker must answer, else 503."""
    checks = {"database": _tried(_database), "migrations": _tried(_migrations)}
    behind = degraded(fresh=True) if checks["database"] == "ok" else {"broker": "unknown", "workers": "unknown"}
    everything = {**checks, **behind} if "full" in request.GET else checks
    is_ready = all(answer == "ok" for answer in everything.values())
    body: dict[str, Any] = {"status": "ok" if is_ready else "unavailable", "checks": checks, "behind": behind}
    body["degraded"] = any(answer != "ok" for answer in behind.values())
    return JsonResponse(body, status=200 if is_ready else 503, headers={"Cache-Control": "no-store"})


def degraded(*, fresh: bool = False) -> dict[str, str]:
    """Give "ok" or a sentence for `broker` and `workers`; remembered for 2 s unless `fresh`.

    Only `fresh` waits for the broker, which may hang: pages get what the watch saw last.
    """
    known = None if fresh else cache.get("degraded")
    if known is None:
        known = {"broker": _tried(_broker) if fresh else _seen_broker(), "workers": _tried(_workers)}
        cache.set("degraded", known, DEGRADED_S)
    return dict(known)


class BrokerWatch:
    """Looks at the broker on a thread of its own, whenever somebody has asked since it last looked."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.seen = "ok"
        self.has_looked, self.asked = threading.Event(), threading.Event()
        threading.Thread(target=self._run, name="broker-watch", daemon=True).start()

    def ask(self) -> str:
        """Give what was seen last; the first to ask waits for a quarter of a second at most."""
        self.asked.set()
        self.has_looked.wait(0.25)
        return self.seen

    def _run(self) -> None:
        while True:
            self.asked.wait()
            self.asked.clear()
            self.seen = _tried(_broker)
            self.has_looked.set()


_watch: BrokerWatch | None = None
_starting = threading.Lock()


def _seen_broker() -> str:
    global _watch  # noqa: PLW0603 - one per process, started after fork
    if settings.EMBEDDED:
        return "ok"
    with _starting:
        if _watch is None or _watch.pid != os.getpid():
            _watch = BrokerWatch()
    return _watch.ask()


def _tried(check: Any) -> str:
    started = time.monotonic()
    try:
        problem: str | None = check()
    except Exception as error:  # noqa: BLE001 - whatever it raises is the answer
        return f"{type(error).__name__} after {time.monotonic() - started:.1f} s"
    return problem or "ok"


def _database() -> str | None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return None


def _migrations() -> str | None:
    executor = MigrationExecutor(connection)
    waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return f"{len(waiting)} not applied" if waiting else None


def _broker() -> str | None:
    if settings.EMBEDDED:
        return None
    broker: Any = dramatiq.get_broker()
    unanswered = [kind.queue for kind in KINDS.values() if ring.depth(kind) is None]
    return f"{len(unanswered)} of {len(broker.queues)} queues unreachable" if unanswered else None


def _workers() -> str | None:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {Worker._meta.db_table} WHERE seen_at > {sql.clock(-ALIVE_S)}")
        return None if cursor.fetchone()[0] else f"no worker has answered for {ALIVE_S} s"
