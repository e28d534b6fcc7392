"""Charts as server-rendered SVG: no script, no style attribute, readable by screen readers, printable.

Positions are percentages and sizes of text are the page's, so a chart fits 320 px and 1280 px alike. What a chart draws
stands under it as a table too. The colours are those of `site/charts.css`, in light and dark, on site and admin.
"""

from serving_site.charts.confusion import confusion
from serving_site.charts.curves import Line, lines, versions
from serving_site.charts.judged import calibration, residual_histogram, residuals, roc
from serving_site.charts.marks import hundred_dots, marked_range, meter

__all__ = (
    "Line", "calibration", "confusion", "hundred_dots", "lines", "marked_range", "meter",
    "residual_histogram", "residuals", "roc", "versions",
)  # fmt: skip
