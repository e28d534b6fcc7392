"""Recipe: ten measurements of a patient → how far diabetes has progressed in a year."""

from __future__ import annotations

from typing import Any

from sklearn.datasets import load_diabetes

from mlmodels.datasets import Dataset
from mlmodels.training import Report, own_table, tables
from mlmodels.training.artifact import Trained

SETTINGS = tables.Settings(epochs=60, hidden=(16,), weight_decay=0.1)
PLACES = (("Little", 0.1), ("Middling", 0.5), ("Strong", 0.9))


def _number(source: str, name: str, title: str, low: float, high: float, unit: str = "", about: str = "") -> Any:
    """What the data set calls it, and how it is asked for."""
    column = {"name": name, "title": title, "kind": "number", "minimum": low, "maximum": high}
    column |= {"unit": unit} if unit else {}
    return source, column | ({"description": about} if about else {})


SEX = {
    "name": "sex",
    "title": "Sex",
    "kind": "choice",
    "description": "The data set codes sex as 1 and 2 and does not say which is which.",
    "values": ["1", "2"],
    "labels": {"1": "Category 1", "2": "Category 2"},
}
COLUMNS = [
    _number("age", "age", "Age", 0, 120, "years"),
    ("sex", SEX),
    _number("bmi", "bmi", "Body mass index", 10, 80, "kg/m²", "Weight over height squared."),
    _number("bp", "blood_pressure", "Average blood pressure", 30, 250, "mmHg"),
    _number("s1", "total_cholesterol", "Total cholesterol", 30, 700, "mg/dl", "In blood serum."),
    _number("s2", "ldl", "LDL cholesterol", 5, 600, "mg/dl", "Low-density lipoproteins."),
    _number("s3", "hdl", "HDL cholesterol", 5, 250, "mg/dl", "High-density lipoproteins."),
    _number("s4", "cholesterol_ratio", "Cholesterol ratio", 0.5, 25, "", "Total over HDL cholesterol."),
    _number(
        "s5", "log_triglycerides", "Triglycerides (logarithm)", 1, 9, "",
        "Natural logarithm, probably of mg/dl: 4.6 stands for 100.",
    ),
    _number("s6", "glucose", "Blood sugar", 20, 600, "mg/dl", "Glucose in the blood."),
]  # fmt: skip


def dataset() -> Dataset:
    """The 442 patients that scikit-learn carries, as measured."""
    data = load_diabetes(scaled=False)
    at = {str(name): index for index, name in enumerate(data.feature_names)}
    schema = {
        "slug": "diabetes-progression",
        "title": "Diabetes progression",
        "description": (
            "Estimates how far diabetes will have progressed one year after ten measurements. "
            "A demonstration on 442 patients, not medical advice."
        ),
        "task": "regression",
        "recipe": "diabetes-progression",
        "data_title": "Diabetes, 442 patients",
        "source": "B. Efron, T. Hastie, I. Johnstone and R. Tibshirani, 2004; carried by scikit-learn",
        "columns": [column for _, column in COLUMNS],
        "target": {
            "name": "progression",
            "title": "Progression after one year",
            "kind": "number",
            "description": "The study's own measure, without a unit: the higher, the further.",
        },
    }
    return Dataset(schema, [_row(values, at) for values in data.data.tolist()], data.target.tolist())


def _row(values: list[float], at: dict[str, int]) -> dict[str, Any]:
    row: dict[str, Any] = {column["name"]: values[at[source]] for source, column in COLUMNS}
    return row | {"sex": str(int(row["sex"]))}


def train(dataset: Dataset, *, seed: int, epochs: int | None, progress: Report) -> Trained:
    """Fit, and describe for a visitor."""
    return own_table.fit(dataset, SETTINGS, seed=seed, epochs=epochs, progress=progress, examples=_examples)


def _examples(_: tables.Fitted, dataset: Dataset) -> own_table.Examples:
    """Patients it learned from: with little, middling and much progression."""
    order = sorted(range(len(dataset.rows)), key=lambda index: float(dataset.targets[index]))
    chosen = [(word, order[int(share * len(order))]) for word, share in PLACES]
    return [
        {"title": f"{word} progression (it was {dataset.targets[index]:.0f})", "input": dataset.rows[index]}
        for word, index in chosen
    ]
