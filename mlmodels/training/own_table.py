"""Recipe: any table → a class or a number. The recipes of single tables differ in words and settings alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from mlmodels.datasets import Dataset
from mlmodels.training import Report, describe, tables
from mlmodels.training.artifact import Trained

Examples = list[dict[str, Any]]
Chooser = Callable[[tables.Fitted, Dataset], Examples]
MOST_EXAMPLES = 3
PLACES = (("Low", 0.1), ("Middling", 0.5), ("High", 0.9))


def train(dataset: Dataset, *, seed: int, epochs: int | None, progress: Report) -> Trained:
    """Fit on all rows, and describe for a visitor."""
    return fit(dataset, tables.Settings(), seed=seed, epochs=epochs, progress=progress)


def fit(
    dataset: Dataset,
    settings: tables.Settings,
    *,
    seed: int,
    epochs: int | None,
    progress: Report,
    examples: Chooser | None = None,
) -> Trained:
    """A model fitted with these settings; `examples` chooses among the rows that it was trained on."""
    schema, table = dataset.schema, table_of(dataset)
    fitted = tables.fit(table, replace(settings, epochs=epochs or settings.epochs), seed=seed, progress=progress)
    chosen = examples(fitted, dataset) if examples else _examples(dataset)
    signature = describe.signature(dataset, chosen)
    return Trained(
        slug=schema["slug"],
        title=schema["title"],
        description=schema["description"] or f"Learned from {len(dataset.rows):,} rows of {schema['source']}.",
        task=schema["task"],
        recipe=schema["recipe"],
        architecture=tables.ARCHITECTURE,
        params=fitted.params,
        module=fitted.module,
        signature=signature,
        golden=[example["input"] for example in chosen] + [_middle(signature), *_incomplete(dataset)],
        metrics=fitted.metrics,
        parameters=fitted.parameters,
        dataset=describe.dataset(dataset),
    )


def table_of(dataset: Dataset) -> tables.Table:
    """The same rows as arrays of targets and the columns of the architecture."""
    columns = [{key: column[key] for key in ("name", "kind", "values", "missing") if key in column}
               for column in dataset.schema["columns"]]  # fmt: skip
    place = {name: index for index, name in enumerate(dataset.classes)}
    target = (
        np.array([place[str(value)] for value in dataset.targets], np.int64)
        if place
        else np.array(dataset.targets, np.float64)
    )
    return tables.Table(columns, dataset.rows, target, dataset.classes)


def _examples(dataset: Dataset) -> Examples:
    """Rows that it was trained on: one of each of some classes, or of little, middling and much."""
    name = dataset.schema["target"]["title"]
    if dataset.classes:
        first = {target: index for index, target in reversed(list(enumerate(dataset.targets)))}
        known = [value for value in dataset.classes if value in first][:MOST_EXAMPLES]
        return [{"title": f"{name}: {value}", "input": dataset.rows[first[value]]} for value in known]
    order = sorted(range(len(dataset.rows)), key=lambda index: float(dataset.targets[index]))
    places = [(word, order[int(share * len(order))]) for word, share in PLACES]
    return [
        {"title": f"{word} (it was {describe.tidy(float(dataset.targets[index])):g})", "input": dataset.rows[index]}
        for word, index in places
    ]


def _middle(signature: dict[str, Any]) -> dict[str, Any]:
    """The median of every number and the most frequent of everything else."""
    return {name: spec["examples"][0] for name, spec in signature["input"]["properties"].items() if "examples" in spec}


def _incomplete(dataset: Dataset) -> list[dict[str, Any]]:
    """The row that lacks most, where rows lack anything: what the model does with holes must be reproduced too."""
    if not any(column.get("missing") for column in dataset.schema["columns"]):
        return []
    return [min(dataset.rows, key=len)]
