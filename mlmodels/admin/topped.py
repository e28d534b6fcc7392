"""A row's page with something above its fields: levers, and what a person wants to see first."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.safestring import SafeString

from mlmodels.admin.pages import Lever, levers
from serving_site.jobs.models import Job

SOON_S, LATE_S = 2, 30


class Topped(admin.ModelAdmin[Any]):
    """`offered` and `top` say what stands above the fields of a row."""

    change_form_template = "admin/mlmodels/topped.html"

    def offered(self, row: Any) -> list[Lever]:
        """Buttons; each is shown to those only who hold its permission."""
        return []

    def top(self, row: Any) -> SafeString:
        return SafeString("")

    def refresh_s(self, row: Any) -> int | None:
        """After how many seconds the page looks again by itself; None: it does not."""
        return None

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        if obj is not None:
            own = {
                "levers": levers(request, *self.offered(obj)),
                "top": self.top(obj),
                "refresh_s": self.refresh_s(obj),
            }
            context |= own
        return super().render_change_form(request, context, add, change, form_url, obj)


def until_final(job: Job) -> int | None:
    """How soon the page of a job looks again: often at first, then ever more rarely, and no more once it has ended."""
    if job.is_final:
        return None
    age_s = (timezone.now() - job.created_at).total_seconds()
    return round(min(max(age_s / 20, SOON_S), LATE_S))


def part(name: str, **context: Any) -> SafeString:
    """A part of a page, from its template."""
    return render_to_string(f"admin/mlmodels/{name}.html", context)
