"""Models and all that becomes of them, for operators: logbooks, and a few levers that ask before they act.

A lever calls the one function that the command calls too, needs a permission of its own, and is not shown without it.
"""

from mlmodels.admin import deliveries, evaluations, models, releases, snapshots, training, versions  # noqa: F401
