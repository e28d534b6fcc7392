"""A person's own predictions, newest first: literal search, filters, and pages by key.

The ids of a page come from one covering index (never from the rows with their JSON) and without counting.
Dates are compared with the ids themselves, which begin with the millisecond in which they were made.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.db.models import Q, QuerySet

from mlmodels.models import MLModel
from predictions.display import STATUS_WORDS
from predictions.models import Prediction
from serving_site.jobs.models import Status

PAGE = 25
LONGEST_SEARCH = 900
COLUMNS = (
    "id", "owner_id", "status", "model__slug", "model__title", "model__task",
    "rows", "label", "note", "file_name", "created_at", "completed_at", "error",
)  # fmt: skip


@dataclass(frozen=True)
class Query:
    """What the address asks for; anything that cannot be read is left out."""

    text: str = ""
    model: str = ""
    status: str = ""
    since: date | None = None
    until: date | None = None
    before: uuid.UUID | None = None
    after: uuid.UUID | None = None

    @property
    def is_filtered(self) -> bool:
        return bool(self.text or self.model or self.status or self.since or self.until)

    def address(self, **changes: str) -> str:
        """The query part of an address with these filters, and `changes` on top."""
        parts = {
            "q": self.text,
            "model": self.model,
            "status": self.status,
            "since": self.since.isoformat() if self.since else "",
            "until": self.until.isoformat() if self.until else "",
            **changes,
        }
        return "?" + urlencode({name: value for name, value in parts.items() if value})


@dataclass(frozen=True)
class Page:
    """One page of rows, and the addresses of its neighbours where there are any."""

    rows: list[Prediction]
    newer: str
    older: str


def parse(params: Mapping[str, str]) -> Query:
    """The query of an address; wrong values are ignored rather than answered with an error."""
    status = params.get("status", "")
    return Query(
        text=params.get("q", "").strip(),
        model=params.get("model", "")[:60],
        status=status if status in Status.values else "",
        since=_date(params.get("since", "")),
        until=_date(params.get("until", "")),
        before=_key(params.get("before", "")),
        after=_key(params.get("after", "")),
    )


def page(user: Any, query: Query) -> Page:
    """The page of `user`'s predictions that `query` asks for. Two queries, however many rows there are."""
    found = _matching(user, query).values_list("pk", flat=True)
    if query.after:
        ids = list(found.filter(pk__gt=query.after).order_by("pk")[: PAGE + 1])
        has_newer, has_older = len(ids) > PAGE, True
        ids = ids[:PAGE][::-1]
    else:
        if query.before:
            found = found.filter(pk__lt=query.before)
        ids = list(found.order_by("-pk")[: PAGE + 1])
        has_newer, has_older = query.before is not None, len(ids) > PAGE
        ids = ids[:PAGE]
    if not ids:
        return Page([], query.address() if query.before or query.after else "", "")
    return Page(
        rows=light(Prediction.objects.visible_to(user).filter(pk__in=ids)),
        newer=query.address(after=str(ids[0])) if has_newer else "",
        older=query.address(before=str(ids[-1])) if has_older else "",
    )


def newest(user: Any, count: int) -> QuerySet[Prediction]:
    """`user`'s last `count` predictions."""
    ids = Prediction.objects.visible_to(user).order_by("-pk").values_list("pk", flat=True)[:count]
    return Prediction.objects.visible_to(user).filter(pk__in=list(ids))


def light(found: QuerySet[Prediction]) -> list[Prediction]:
    """Rows of a list, newest first, without their inputs and outputs."""
    return list(found.select_related("model").only(*COLUMNS).order_by("-pk"))


def _matching(user: Any, query: Query) -> QuerySet[Prediction]:
    found = Prediction.objects.visible_to(user)
    if query.model:
        found = found.filter(model__in=MLModel.objects.filter(slug=query.model).values("pk"))
    if query.status:
        found = found.filter(status=query.status)
    if query.since:
        found = found.filter(pk__gte=_first_key(query.since))
    if query.until:
        found = found.filter(pk__lt=_first_key(query.until + timedelta(days=1)))
    return found.filter(_literal(query.text)) if query.text else found


def _literal(text: str) -> Q:
    """`text` anywhere in what is searched, as it stands: % and _ are letters (Django escapes them), case aside."""
    if len(text) > LONGEST_SEARCH or "\0" in text:
        return Q(pk__in=[])
    wanted = text.lower()
    statuses = [status for status, word in STATUS_WORDS.items() if wanted in status or wanted in word.lower()]
    found = Q(search_text__contains=wanted) | Q(label__icontains=text)
    return found | Q(status__in=statuses) if statuses else found


def _first_key(day: date) -> uuid.UUID:
    """The smallest key that can have been made on `day` (UTC)."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return uuid.UUID(int=max(0, int(start.timestamp() * 1000)) << 80)


def _date(text: str) -> date | None:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return None
    return found if 1970 < found.year < 9000 else None


def _key(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
