"""Recipe: ten measurements of a patient → how far diabetes has progressed in a year."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from sklearn.datasets import load_diabetes

from mlmodels.training import Report, describe, tables
from mlmodels.training.artifact import Trained


class Column(NamedTuple):
    """How one number of the data set is asked for."""

    source: str
    title: str
    low: float
    high: float
    unit: str = ""
    about: str = ""


NUMBERS = {
    "age": Column("age", "Age", 0, 120, "years"),
    "bmi": Column("bmi", "Body mass index", 10, 80, "kg/m²", "Weight over height squared."),
    "blood_pressure": Column("bp", "Average blood pressure", 30, 250, "mmHg"),
    "total_cholesterol": Column("s1", "Total cholesterol", 30, 700, "mg/dl", "In blood serum."),
    "ldl": Column("s2", "LDL cholesterol", 5, 600, "mg/dl", "Low-density lipoproteins."),
    "hdl": Column("s3", "HDL cholesterol", 5, 250, "mg/dl", "High-density lipoproteins."),
    "cholesterol_ratio": Column("s4", "Cholesterol ratio", 0.5, 25, "", "Total over HDL cholesterol."),
    "log_triglycerides": Column(
        "s5", "Triglycerides (logarithm)", 1, 9, "", "Natural logarithm, probably of mg/dl: 4.6 stands for 100."
    ),
    "glucose": Column("s6", "Blood sugar", 20, 600, "mg/dl", "Glucose in the blood."),
}
SEX = {
    "type": "string",
    "title": "Sex",
    "description": "The data set codes sex as 1 and 2 and does not say which is which.",
    "enum": ["1", "2"],
    "x-labels": {"1": "Category 1", "2": "Category 2"},
    "examples": ["1"],
}


def train(*, seed: int, epochs: int | None, progress: Report) -> Trained:
    """Fit, judge, and describe for a visitor."""
    data = load_diabetes(scaled=False)
    at = {str(name): index for index, name in enumerate(data.feature_names)}
    properties: dict[str, Any] = {
        name: describe.number(
            column.title,
            data.data[:, at[column.source]].tolist(),
            low=column.low,
            high=column.high,
            unit=column.unit,
            about=column.about,
        )
        for name, column in NUMBERS.items()
    }
    properties = {"age": properties.pop("age"), "sex": SEX} | properties
    rows = [_row(row.tolist(), at, properties) for row in data.data]
    columns: list[dict[str, Any]] = [
        {"name": name, "kind": "choice", "values": SEX["enum"]} if name == "sex" else {"name": name, "kind": "number"}
        for name in properties
    ]
    target = data.target.astype(np.float64)
    table = tables.Table(columns, rows, target, [])
    settings = tables.Settings(epochs=60, hidden=(16,), weight_decay=0.1)
    fitted = tables.fit(table, replace(settings, epochs=epochs or settings.epochs), seed=seed, progress=progress)
    examples = _examples(fitted, table)
    middle = {name: spec["examples"][0] for name, spec in properties.items()}
    return Trained(
        slug="diabetes-progression",
        title="Diabetes progression",
        description=(
            "Estimates how far diabetes will have progressed one year after ten measurements. "
            "A demonstration on 442 patients, not medical advice."
        ),
        task="regression",
        architecture="table-mlp",
        params=fitted.params,
        module=fitted.module,
        signature={
            "input": describe.table_input(properties, examples),
            "output": describe.number_output(
                "Progression after one year",
                target[fitted.split.train].tolist(),
                about="The study's own measure, without a unit: the higher, the further.",
            ),
            "tensors": describe.table_tensors(properties, 0),
        },
        golden=[example["input"] for example in examples] + [middle],
        metrics=fitted.metrics,
        parameters=fitted.parameters,
        dataset=describe.dataset(
            "diabetes",
            "Diabetes, 442 patients",
            "B. Efron, T. Hastie, I. Johnstone and R. Tibshirani, 2004; carried by scikit-learn",
            fitted.split,
            target.tolist(),
        ),
    )


def _row(values: list[float], at: dict[str, int], properties: dict[str, Any]) -> dict[str, Any]:
    return {
        name: str(int(values[at["sex"]])) if name == "sex" else values[at[NUMBERS[name].source]] for name in properties
    }


def _examples(fitted: tables.Fitted, table: tables.Table) -> list[dict[str, Any]]:
    """Patients who were held out: with little, middling and much progression."""
    held = sorted(fitted.split.held_out, key=lambda index: float(table.target[index]))
    places = (("Little", 0.1), ("Middling", 0.5), ("Strong", 0.9))
    chosen = [(word, held[int(share * len(held))]) for word, share in places]
    return [
        {"title": f"{word} progression (it was {table.target[index]:.0f})", "input": table.rows[index]}
        for word, index in chosen
    ]
