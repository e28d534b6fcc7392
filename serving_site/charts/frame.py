"""What charts have in common: axes with round numbers, the plot itself, a legend, and the numbers as a table.

Lines live in a nested picture of a hundred by a hundred units that is stretched to the plot (their width is not);
everything that must keep its shape, points and words, is placed by percentages in the outer one.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

Point = tuple[float, float]
STEPS = (1, 2, 2.5, 5, 10)
MOST_TABLE_ROWS = 60


@dataclass(frozen=True)
class Axis:
    """A range of values with its round marks and what it measures."""

    title: str
    low: float
    high: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """Where `value` lies on it, in percent of its length; what is outside stands at the end it passed."""
        return percent_of((value - self.low) / (self.high - self.low))

    def text(self, tick: float) -> str:
        """A mark as words, every mark of an axis with as many decimals."""
        step = self.ticks[1] - self.ticks[0] if len(self.ticks) > 1 else 1.0
        decimals = 0
        while decimals < 6 and abs(round(step, decimals) - step) > step / 1000:
            decimals += 1
        return f"{tick:,.{decimals}f}" if step < 1e6 else f"{tick:.3g}"


def axis(title: str, values: Iterable[float], *, wanted: int = 4, whole: bool = False, loose: bool = True) -> Axis:
    """An axis that holds all `values`; `whole` marks whole numbers only, `loose` ends at a mark."""
    found = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(found), max(found)
    if high - low <= abs(high) * 1e-9:
        room = max(abs(high) * 0.1, 1e-6) if not whole else 1.0
        is_share = 0 <= low <= high <= 1
        low, high = low - room, min(high + room, 1.0) if is_share else high + room
    step = _round_step((high - low) / wanted, whole=whole)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if loose:
        low, high = first * step, last * step
    inside = (round(number * step, 10) for number in range(first, last + 1))
    return Axis(title, low, high, tuple(tick for tick in inside if low - step / 1e6 <= tick <= high + step / 1e6))


def share_axis(title: str) -> Axis:
    """From 0 to 1."""
    return Axis(title, 0.0, 1.0, (0.0, 0.25, 0.5, 0.75, 1.0))


def _round_step(step: float, *, whole: bool) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    rounded = next(times * power for times in STEPS if times * power >= step * 0.999)
    return float(max(1, math.ceil(rounded))) if whole else rounded


def plot(x: Axis, y: Axis, label: str, *parts: SafeString, css: str = "") -> SafeString:
    """The picture: grid, marks and titles of both axes, and `parts` in front of them. `label` is what it says."""
    return format_html(
        '<svg class="plot {}" role="img" aria-label="{}" focusable="false">{}{}{}'
        '<text class="axis" x="0" y="0" dx="-8" dy="-14" text-anchor="start">{}</text>'
        '<text class="axis" x="100%" y="100%" dy="36" text-anchor="end">{}</text></svg>',
        css, label, _rows(y), _columns(x), joined(parts), y.title, x.title,
    )  # fmt: skip


def _rows(y: Axis) -> SafeString:
    return format_html_join(
        "",
        '<line class="grid" x1="0" x2="100%" y1="{0}%" y2="{0}%"/>'
        '<text class="tick" x="0" y="{0}%" dx="-8" dy="4" text-anchor="end">{1}</text>',
        ((_from_top(y.at(tick)), y.text(tick)) for tick in y.ticks),
    )


def _columns(x: Axis) -> SafeString:
    return format_html_join(
        "",
        '<line class="grid faint" y1="0" y2="100%" x1="{0}%" x2="{0}%"/>'
        '<text class="tick" x="{0}%" y="100%" dy="18" text-anchor="middle">{1}</text>',
        ((x.at(tick), x.text(tick)) for tick in x.ticks),
    )


def stretched(*paths: SafeString) -> SafeString:
    """Lines in units of a hundred by a hundred, stretched to the plot."""
    return format_html(
        '<svg class="lines" viewBox="0 0 100 100" preserveAspectRatio="none" width="100%" height="100%">{}</svg>',
        joined(paths),
    )


def line(x: Axis, y: Axis, points: Iterable[Point], css: str) -> SafeString:
    """One line through `points`, for `stretched`."""
    text = " ".join(f"{x.at(across)},{_from_top(y.at(up))}" for across, up in points)
    return format_html('<polyline class="{}" points="{}" vector-effect="non-scaling-stroke"/>', css, text)


def dots(x: Axis, y: Axis, points: Iterable[tuple[float, float, str]], css: str, radius: float = 4) -> SafeString:
    """Round points; the third part of each is said when a pointer rests on it."""
    return format_html_join(
        "",
        '<circle class="{}" cx="{}%" cy="{}%" r="{}"><title>{}</title></circle>',
        ((css, x.at(across), _from_top(y.at(up)), radius, words) for across, up, words in points),
    )


def bar(x: Axis, y: Axis, low: float, high: float, amount: float, css: str, words: str) -> SafeString:
    """A bar that stands on the lower end of `y`."""
    left, right, top = x.at(low), x.at(high), y.at(amount)
    return format_html(
        '<rect class="{}" x="{}%" y="{}%" width="{}%" height="{}%"><title>{}</title></rect>',
        css, left, _from_top(top), round(max(right - left, 0.2), 2), top, words,
    )  # fmt: skip


def figure(title: str, picture: SafeString, *beside: SafeString) -> SafeString:
    """A chart with its heading, and its legend and table under it."""
    return format_html('<figure class="chart"><figcaption>{}</figcaption>{}{}</figure>', title, picture, joined(beside))


def legend(entries: Sequence[tuple[str, str, str]]) -> SafeString:
    """(class of the line, name, address or "") for each line that is drawn."""
    return format_html(
        '<ul class="legend">{}</ul>',
        format_html_join(
            "",
            '<li><svg class="swatch" aria-hidden="true" focusable="false">'
            '<line class="{}" x1="0" x2="100%" y1="50%" y2="50%"/></svg>{}</li>',
            ((css, format_html('<a href="{}">{}</a>', to, name) if to else name) for css, name, to in entries),
        ),
    )


def numbers(head: Sequence[str], rows: Sequence[Sequence[object]], summary: str = "The numbers") -> SafeString:
    """What was drawn as a table, folded; of very many rows every so-many-th, the last one always."""
    return format_html('<details class="numbers"><summary>{}</summary>{}</details>', summary, table(head, thin(rows)))


def table(head: Sequence[str], rows: Sequence[Sequence[object]], css: str = "") -> SafeString:
    """A table whose first column names the rows; it scrolls by itself where it is wider than the page.

    Of class `words` its cells are read from the left, not compared as numbers.
    """
    return format_html(
        '<div class="scroll" role="region" aria-label="Table" tabindex="0"><table class="figures {}"><thead><tr>{}</tr>'
        "</thead><tbody>{}</tbody></table></div>",
        css,
        format_html_join("", '<th scope="col">{}</th>', ((each,) for each in head)),
        format_html_join(
            "",
            '<tr><th scope="row">{}</th>{}</tr>',
            ((row[0], format_html_join("", "<td>{}</td>", ((each,) for each in row[1:]))) for row in rows),
        ),
    )


def thin(rows: Sequence[Sequence[object]]) -> Sequence[Sequence[object]]:
    """At most MOST_TABLE_ROWS of them, evenly chosen, with the first and the last."""
    if len(rows) <= MOST_TABLE_ROWS:
        return rows
    step = (len(rows) - 1) / (MOST_TABLE_ROWS - 1)
    return [rows[round(number * step)] for number in range(MOST_TABLE_ROWS)]


def joined(parts: Iterable[SafeString]) -> SafeString:
    return format_html_join("", "{}", ((part,) for part in parts))


def percent_of(share: float) -> float:
    return round(min(max(share, 0.0), 1.0) * 100, 2)


def _from_top(percent: float) -> float:
    return round(100 - percent, 2)
