"""Everything /metrics tells: totals that every process adds to, and how the site is now by the database's own rows."""

import itertools
from collections import Counter as Multiset
from collections.abc import Iterable, Iterator, Sequence

from django.conf import settings
from django.db.models import Count
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from mlmodels.models import ModelVersion, State
from serving_site import health
from serving_site.jobs import disks, sql, tally
from serving_site.jobs.kinds import KINDS, Kind
from serving_site.jobs.models import Counter, Status, Worker
from serving_site.jobs.sweep import ALIVE_S, live_slots

PREFIX = "serving_site_"
COUNTED = 100_000
"""Longer queues are not counted to their end, so that a scrape stays cheap just then."""
REPAIRS = {
    "leases_recovered": ("lease_recoveries", "Rows taken back from workers that vanished."),
    "fenced_writes": ("fenced_writes", "Results dropped because their row was no longer the worker's."),
}
Rows = Iterable[tuple[Sequence[str], float]]


class Site(Collector):
    """Reads the database anew for each scrape: every web process gives the same answer."""

    def collect(self) -> Iterator[Metric]:
        yield from _totals()
        yield from _repairs()
        yield from _queues()
        yield from _workers()
        states = dict(ModelVersion.objects.values_list("state").annotate(Count("pk")))
        rows = [([state.value], states.get(state.value, 0)) for state in State]
        yield _gauge("model_versions", "Versions of models, by their state.", ["state"], rows)
        yield _gauge("broker_up", "1 while the broker answers.", [], [([], health.degraded()["broker"] == "ok")])
        newest = max((path.stat().st_mtime for path in settings.BACKUP_DIR.glob("*.tar")), default=0)
        yield _gauge("backup_timestamp_seconds", "When the newest backup was made; 0: never.", [], [([], newest)])


def _totals() -> Iterator[Metric]:
    written = tally.written()
    for family in tally.FAMILIES.values():
        if isinstance(family, tally.Total):
            yield _counter(family.name, family.help, family.labels, written[family.name].items())
        else:
            yield _histogram(family, written[family.name])


def _histogram(family: tally.Times, written: dict[tuple[str, ...], float]) -> Metric:
    metric = HistogramMetricFamily(PREFIX + family.name, family.help, labels=family.labels)
    for values in sorted({key[:-1] for key in written}):
        below = itertools.accumulate(written.get((*values, bound), 0) for bound in tally.BOUNDS)
        total = written.get((*values, tally.SUM), 0)
        metric.add_metric(list(values), list(zip(tally.BOUNDS, below, strict=True)), total)
    return metric


def _repairs() -> Iterator[Metric]:
    counted = dict(Counter.objects.values_list("name", "value"))
    for name, (shown, text) in REPAIRS.items():
        yield _counter(shown, text, [], [([], counted.get(name, 0))])


def _queues() -> Iterator[Metric]:
    kinds = list(KINDS.values())
    jobs = [
        ([kind.queue, status.value], float(_rows(kind, status)))
        for kind in kinds
        for status in (Status.QUEUED, Status.RUNNING)
    ]
    text = f"Work that waits or runs; counted up to {COUNTED:,}."
    yield _gauge("queue_jobs", text, ["queue", "status"], jobs)
    ages = [([kind.queue], _oldest_s(kind)) for kind in kinds]
    yield _gauge("queue_oldest_seconds", "How long the oldest of what waits has waited.", ["queue"], ages)
    slots = [([kind.queue], float(live_slots(kind))) for kind in kinds]
    yield _gauge("worker_slots", "How much of it the living workers can run at once.", ["queue"], slots)


def _rows(kind: Kind, status: Status) -> int:
    rows = kind.model._default_manager.filter(status=status).order_by()
    return int(rows.values("pk")[:COUNTED].count())


def _oldest_s(kind: Kind) -> float:
    """Keys begin with their time, so the first by key is the oldest."""
    queued = kind.model._default_manager.filter(status=Status.QUEUED).order_by("pk")
    made = queued.values_list("created_at", flat=True).first()
    return max((sql.now() - made).total_seconds(), 0.0) if made else 0.0


def _workers() -> Iterator[Metric]:
    now = sql.now()
    states, sandboxes = Multiset(alive=0, silent=0), Multiset[str]()
    found = {disk[:2]: disk for disk in disks.here(data=settings.DATA_DIR, backups=settings.BACKUP_DIR)}
    for seen_at, info in Worker.objects.values_list("seen_at", "info"):
        is_alive = (now - seen_at).total_seconds() <= ALIVE_S
        states["alive" if is_alive else "silent"] += 1
        if is_alive:
            sandboxes[info.get("sandbox", "unknown")] += 1
            found |= {(host, area): (host, area, free, size) for host, area, free, size in info.get("disks", [])}
    rows: Rows = [([state], number) for state, number in states.items()]
    yield _gauge("workers", "Worker processes; a silent one ended without a word, in the last hour.", ["state"], rows)
    rows = [([level], number) for level, number in sandboxes.items()]
    yield _gauge("worker_sandboxes", "Living workers by the level of their executors' sandbox.", ["level"], rows)
    free = [([host, area], float(left)) for host, area, left, _ in found.values()]
    yield _gauge("disk_free_bytes", "What is free for the site on a host's disk.", ["host", "area"], free)
    size = [([host, area], float(whole)) for host, area, _, whole in found.values()]
    yield _gauge("disk_size_bytes", "The size of that disk.", ["host", "area"], size)


def _counter(name: str, text: str, labels: Sequence[str], rows: Rows) -> Metric:
    family = CounterMetricFamily(PREFIX + name, text, labels=labels)
    for values, value in rows:
        family.add_metric(list(values), value)
    return family


def _gauge(name: str, text: str, labels: Sequence[str], rows: Rows) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, text, labels=labels)
    for values, value in rows:
        family.add_metric(list(values), value)
    return family
