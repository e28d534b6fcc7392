"""Template tags of every page: icons, and times."""

from datetime import UTC, datetime

from django import template
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()


@register.simple_tag
def icon(name: str, extra: str = "") -> SafeString:
    """A decorative icon of the sprite; the words beside it carry the meaning."""
    return format_html(
        '<svg class="icon {}" aria-hidden="true" focusable="false"><use href="{}#{}"/></svg>',
        extra,
        static("site/icons.svg"),
        name,
    )


@register.filter
def when(moment: datetime | None) -> SafeString:
    """A time that a script turns into "3 minutes ago"; without one, and in the tooltip, it is exact and in UTC."""
    if moment is None:
        return SafeString("")
    moment = moment.astimezone(UTC)
    exact = f"{moment.day} {moment:%B %Y, %H:%M} UTC"
    return format_html('<time datetime="{}" data-time="ago" title="{}">{}</time>', moment.isoformat(), exact, exact)


@register.filter
def day(moment: datetime | None) -> str:
    """A date as people write it."""
    return f"{moment.day} {moment:%B %Y}" if moment else ""
