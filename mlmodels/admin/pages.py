"""What admin's own pages have in common: levers, and the page on which one asks before it acts."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from mlmodels.admin.shown import address


@dataclass(frozen=True)
class Lever:
    """A button that leads to a page which asks; only who holds `permission` sees it."""

    title: str
    address: str
    permission: str


def levers(request: HttpRequest, *offered: Lever) -> list[Lever]:
    """Those of `offered` that this person may pull."""
    return [lever for lever in offered if request.user.has_perm(lever.permission)]


def require(request: HttpRequest, *permissions: str) -> None:
    """Raise PermissionDenied unless the person holds every one of them."""
    if not request.user.has_perms(permissions):
        raise PermissionDenied


class ReasonForm(forms.Form):
    reason = forms.CharField(
        max_length=500, widget=forms.Textarea(attrs={"rows": 3}), help_text="Kept with the release, for good."
    )


def ask(
    request: HttpRequest,
    title: str,
    form: forms.Form | None,
    *,
    back: Any = None,
    question: str = "",
    button: str = "",
    report: str = "",
    notes: Iterable[str] = (),
    status: int = 200,
) -> HttpResponse:
    """The page of a lever: its question, its form (None: it cannot act now), and a report where one is in its way.

    `back` is the row whose page it was opened from.
    """
    context = {
        **admin.site.each_context(request),
        "title": title,
        "form": form,
        "question": question,
        "button": button or title,
        "report": report,
        "notes": list(notes),
        "back": address(back) if back else "",
        "back_name": str(back or ""),
    }
    return render(request, "admin/mlmodels/ask.html", context, status=status)
