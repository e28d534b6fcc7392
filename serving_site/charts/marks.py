"""Small charts that stand beside words: a bar, a value on its scale, a hundred dots."""

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from serving_site.charts.frame import percent_of

TRACK_TOP = 34
TRACK_HEIGHT = 12
DOTS_PER_ROW = 20


def meter(share: float) -> SafeString:
    """A bar filled to `share` (0 to 1); the number stands beside it in the table, so it is hidden from readers."""
    filled = percent_of(share)
    return format_html(
        '<svg class="meter" aria-hidden="true" focusable="false" preserveAspectRatio="none">'
        '<rect class="ground" width="100%" height="100%" rx="4"/>'
        '<rect class="amount" width="{}%" height="100%" rx="4"/></svg>',
        filled,
    )


def marked_range(
    value: float,
    minimum: float,
    maximum: float,
    *,
    texts: tuple[str, str, str],
    typical: tuple[float, float] | None = None,
) -> SafeString:
    """`value` marked between `minimum` and `maximum`, the typical part shaded.

    `texts` are the words for value, minimum and maximum. A value outside is marked at the end it passed.
    """
    low, high = min(minimum, value), max(maximum, value)
    at = _position(value, low, high)
    shade = SafeString("")
    if typical:
        start, end = _position(typical[0], low, high), _position(typical[1], low, high)
        shade = format_html(
            '<rect class="typical" x="{}%" y="{}" width="{}%" height="{}" rx="6"/>',
            start,
            TRACK_TOP,
            round(max(end - start, 0.5), 2),
            TRACK_HEIGHT,
        )
    here, least, most = texts
    return format_html(
        '<svg class="range" role="img" aria-label="{label}" focusable="false">'
        '<rect class="ground" y="{top}" width="100%" height="{height}" rx="6"/>{shade}'
        '<line class="mark-line" x1="{at}%" x2="{at}%" y1="{line_top}" y2="{line_end}"/>'
        '<circle class="mark" cx="{at}%" cy="{middle}" r="8"/>'
        '<text class="here" x="{at}%" y="18" text-anchor="{anchor}">{here}</text>'
        '<text x="0" y="{below}" text-anchor="start">{least}</text>'
        '<text x="100%" y="{below}" text-anchor="end">{most}</text></svg>',
        label=f"{here} on a scale from {least} to {most}",
        top=TRACK_TOP,
        height=TRACK_HEIGHT,
        shade=shade,
        at=at,
        line_top=TRACK_TOP - 8,
        line_end=TRACK_TOP + TRACK_HEIGHT + 6,
        middle=TRACK_TOP + TRACK_HEIGHT // 2,
        anchor=_anchor(at),
        here=here,
        below=TRACK_TOP + TRACK_HEIGHT + 26,
        least=least,
        most=most,
    )


def hundred_dots(right: int, label: str) -> SafeString:
    """A hundred dots, `right` of them filled: a share that nobody has to compute."""
    right = min(max(right, 0), 100)
    dots = format_html_join(
        "",
        '<circle class="{}" cx="{}" cy="{}" r="{}"/>',
        (
            (
                "yes" if n < right else "no",
                7 + 14 * (n % DOTS_PER_ROW),
                7 + 14 * (n // DOTS_PER_ROW),
                5 if n < right else 4,
            )
            for n in range(100)
        ),
    )
    return format_html(
        '<svg class="dots" role="img" aria-label="{}" viewBox="0 0 280 70" focusable="false">{}</svg>', label, dots
    )


def _position(value: float, low: float, high: float) -> float:
    return percent_of((value - low) / (high - low)) if high > low else 50.0


def _anchor(at: float) -> str:
    """Text near an end grows inwards, so that it never leaves the chart."""
    if at < 15:
        return "start"
    return "end" if at > 85 else "middle"
