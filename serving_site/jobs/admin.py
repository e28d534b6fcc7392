"""Workers and queues, for operators: who is alive, what waits, and what had to be repaired."""

from typing import Any

from django.contrib import admin
from django.db.models import Min
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django_dramatiq.models import Task

from serving_site.jobs import ring, sql
from serving_site.jobs.kinds import KINDS
from serving_site.jobs.models import Counter, Status, Worker
from serving_site.jobs.sweep import ALIVE_S, live_slots

COUNTED = 1000

# The library's own table of messages: we never fill it, because our rows are the record.
admin.site.unregister(Task)


@admin.register(Worker)
class WorkerAdmin(admin.ModelAdmin[Worker]):
    """Heartbeats, with the queues above them."""

    change_list_template = "admin/jobs/worker/change_list.html"
    list_display = ("host", "pid", "state", "slots", "sandbox", "loaded", "hears", "started_at", "seen_at")
    list_display_links = None
    ordering = ("-seen_at",)

    @admin.display(description="state")
    def state(self, worker: Worker) -> str:
        age_s = (sql.now() - worker.seen_at).total_seconds()
        if age_s <= ALIVE_S:
            return format_html('<span class="state-good">{}</span>', "alive")
        return format_html('<strong class="state-bad">silent for {} s</strong>', f"{age_s:,.0f}")

    @admin.display(description="sandbox level")
    def sandbox(self, worker: Worker) -> str:
        return str(worker.info.get("sandbox", "unknown"))

    @admin.display(description="queues")
    def hears(self, worker: Worker) -> str:
        return ", ".join(worker.queues)

    @admin.display(description="loaded versions")
    def loaded(self, worker: Worker) -> int:
        return len(worker.info.get("loaded", []))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        more = {"queues": queue_facts(), "counters": Counter.objects.order_by("name"), "title": "Workers and queues"}
        return super().changelist_view(request, {**more, **(extra_context or {})})

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Worker | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Worker | None = None) -> bool:
        return False


def queue_facts() -> list[dict[str, Any]]:
    """Per queue: rows queued and running (counted up to 1,000), the oldest one's age in seconds, rings, slots alive."""
    facts = []
    for kind in KINDS.values():
        rows = kind.model._default_manager
        oldest = rows.filter(status=Status.QUEUED).aggregate(at=Min("created_at"))["at"]
        facts.append(
            {
                "queue": kind.queue,
                "queued": _counted(rows.filter(status=Status.QUEUED)),
                "running": _counted(rows.filter(status=Status.RUNNING)),
                "oldest_s": round((sql.now() - oldest).total_seconds()) if oldest else None,
                "rings": ring.depth(kind),
                "slots": live_slots(kind),
            }
        )
    return facts


def _counted(rows: Any) -> str:
    count = rows.order_by().values("pk")[: COUNTED + 1].count()
    return str(count) if count <= COUNTED else f"more than {COUNTED:,}"
