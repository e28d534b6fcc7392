"""Which class was taken for which: a table whose cells say it in numbers, and by their ground."""

from collections.abc import Mapping, Sequence

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from serving_site.charts import frame
from serving_site.words import percent

MOST_CLASSES = 12
"""A larger table is folded under a list of the commonest mistakes."""
MOST_MISTAKES = 10


def confusion(
    classes: Sequence[str], counts: Sequence[Sequence[int]], titles: Mapping[str, str] | None = None
) -> SafeString:
    """`counts[i][j]`: how many of class i were taken for class j, and what share of class i that is."""
    names = [(titles or {}).get(name, str(name)) for name in classes]
    if not names:
        return SafeString("")
    whole = _matrix(names, counts)
    if len(names) > MOST_CLASSES:
        whole = format_html(
            '{}<details class="numbers"><summary>All {} classes</summary>{}</details>',
            _mistakes(names, counts), len(names), whole,
        )  # fmt: skip
    return frame.figure("What was taken for what", whole)


def _matrix(names: Sequence[str], counts: Sequence[Sequence[int]]) -> SafeString:
    return format_html(
        '<div class="scroll" role="region" aria-label="What was taken for what" tabindex="0"><table class="confusion">'
        '<thead><tr><th scope="col">actually ↓ said →</th>{}</tr></thead><tbody>{}</tbody></table></div>',
        format_html_join("", '<th scope="col">{}</th>', ((name,) for name in names)),
        format_html_join(
            "",
            '<tr><th scope="row">{}</th>{}</tr>',
            ((name, _cells(place, row)) for place, (name, row) in enumerate(zip(names, counts, strict=True))),
        ),
    )


def _cells(place: int, row: Sequence[int]) -> SafeString:
    total = sum(row)
    return format_html_join(
        "",
        '<td class="{} heat-{}"><b>{}</b> <span>{}</span></td>',
        (
            (
                "right" if column == place else "wrong",
                round(10 * n / total) if total else 0,
                f"{n:,}",
                percent(n / total) if total else "",
            )
            for column, n in enumerate(row)
        ),
    )


def _mistakes(names: Sequence[str], counts: Sequence[Sequence[int]]) -> SafeString:
    found = [(n, i, j) for i, row in enumerate(counts) for j, n in enumerate(row) if n and i != j]
    worst = sorted(found, key=lambda mistake: (-mistake[0], mistake[1:]))[:MOST_MISTAKES]
    if not worst:
        return format_html("<p>{}</p>", "Nothing was taken for anything else.")
    rows = [(f"{names[i]} → {names[j]}", f"{n:,}", percent(n / sum(counts[i]))) for n, i, j in worst]
    return frame.table(["actually → said", "cases", "of its class"], rows)
