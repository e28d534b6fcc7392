"""Your own table of numbers → a trained, described model, in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlmodels.training import Report, describe, ignore, tables
from mlmodels.training.artifact import Trained


def train(
    slug: str,
    *,
    title: str,
    columns: Mapping[str, Sequence[float]],
    target: Sequence[Any],
    classes: Sequence[str] = (),
    description: str = "",
    source: str = "own data",
    seed: int = 0,
    progress: Report = ignore,
) -> Trained:
    """Fit a `table-mlp` on `columns` (name to numbers, one per row) and describe it for a visitor.

    `target` holds indices into `classes`, or numbers where there are none. Bounds, typical ranges, examples and golden
    inputs come from the data: half a range beyond what was seen is accepted.
    """
    numbers = {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()}
    rows = [dict(zip(numbers, row, strict=True)) for row in np.stack(list(numbers.values()), axis=1).tolist()]
    answers = np.asarray(target, dtype=np.int64 if classes else np.float64)
    table = tables.Table([{"name": name, "kind": "number"} for name in numbers], rows, answers, list(classes))
    fitted = tables.fit(table, tables.Settings(), seed=seed, progress=progress)
    fields = {name: _field(name, values) for name, values in numbers.items()}
    held = fitted.split.held_out[:3]
    output = describe.class_output(title, list(classes)) if classes else describe.number_output(title, answers.tolist())
    examples = [{"title": f"Row {index + 1} of the data", "input": rows[index]} for index in held]
    return Trained(
        slug=slug,
        title=title,
        description=description or f"Learned from {len(rows):,} rows of {source}.",
        task="classification" if classes else "regression",
        architecture="table-mlp",
        params=fitted.params,
        module=fitted.module,
        signature={
            "input": describe.table_input(fields, examples),
            "output": output,
            "tensors": describe.table_tensors(fields, len(classes)),
        },
        golden=[rows[index] for index in held],
        metrics=fitted.metrics,
        parameters=fitted.parameters,
        dataset=describe.dataset(slug, title, source, fitted.split, answers.tolist()),
    )


def _field(name: str, values: np.ndarray[Any, Any]) -> dict[str, Any]:
    low, high = float(values.min()), float(values.max())
    spread = (high - low) / 2 or 1.0
    return describe.number(
        name.replace("_", " ").capitalize(),
        values.tolist(),
        low=describe.tidy(low - spread),
        high=describe.tidy(high + spread),
    )
