"""`python -m tests.benchmarks.tables [NAME ...]`: how good models of tables are, beside scikit-learn on the same split.

Held-out accuracy, or R²: ours, then logistic (or linear) regression on scaled and one-hot columns, then histogram
gradient boosting, as scikit-learn sets them. A fifth is held out, at random; small tables are split several times.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn import datasets
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mlmodels.training import tables
from mlmodels.training.steps import one_thread

Array = np.ndarray[Any, Any]


class Source(NamedTuple):
    """Columns, a matrix with choices as numbers and NaN for what is absent, and targets."""

    columns: list[dict[str, Any]]
    x: Array
    y: Array
    classes: list[str]


def classes(data: tuple[Array, Array]) -> Source:
    names, y = np.unique(data[1], return_inverse=True)
    return Source(numbers(data[0]), data[0], y, [str(name) for name in names])


def estimates(data: tuple[Array, Array]) -> Source:
    return Source(numbers(data[0]), data[0], data[1].astype(np.float64), [])


def numbers(x: Array) -> list[dict[str, Any]]:
    return [{"name": f"x{at}", "kind": "number", "missing": bool(np.isnan(x[:, at]).any())} for at in range(x.shape[1])]


def moons_in_noise(n: int) -> Source:
    x, y = datasets.make_moons(n, noise=0.3, random_state=0)
    return classes((np.hstack([x, np.random.default_rng(0).normal(size=(n, 8))]), y))


def holes(source: Source) -> Source:
    x = np.where(np.random.default_rng(1).random(source.x.shape) < 0.1, np.nan, source.x)
    return Source(numbers(x), x, source.y, source.classes)


def incomes(n: int) -> Source:
    """Mixed columns with holes, skewed numbers, a rule with interactions, and noise."""
    rng = np.random.default_rng(0)
    age, hours = rng.integers(17, 90, n).astype(float), np.clip(rng.normal(40, 12, n).round(), 1, 99)
    sizes = {"school": 16, "work": 14, "family": 7, "land": 40}
    codes = {name: np.minimum(rng.geometric(0.15, n) - 1, size - 1) for name, size in sizes.items()}
    woman, gain = rng.integers(0, 2, n), np.where(rng.random(n) < 0.08, np.exp(rng.normal(8.5, 1, n)), 0).round()
    effect = rng.normal(0, 1, 14)[codes["work"]] + 0.5 * rng.normal(0, 1, 40)[codes["land"]]
    score = 0.22 * (codes["school"] - 4) + effect + 1.6 * (codes["family"] % 2) * (age > 28) + 3 * (gain > 5000)
    score += 0.6 * (1 - woman) * (hours > 45) - 0.002 * (age - 50) ** 2 * (codes["school"] > 3) - 1.5
    y = (rng.random(n) < 1 / (1 + np.exp(-1.5 * score))).astype(np.int64)
    age[rng.random(n) < 0.05] = np.nan
    columns: list[dict[str, Any]] = [{"name": "age", "kind": "number", "missing": True}]
    columns += [{"name": name, "kind": "number"} for name in ("hours", "gain")] + [{"name": "woman", "kind": "boolean"}]
    columns += [{"name": k, "kind": "choice", "values": [f"{k}{i}" for i in range(size)]} for k, size in sizes.items()]
    return Source(columns, np.stack([age, hours, gain, woman, *codes.values()], axis=1), y, ["less", "more"])


def squares_of_a_board(n: int) -> Source:
    """Choices alone: one of three values nine times, and a rule of triples."""
    x = np.random.default_rng(0).integers(0, 3, (n, 9)).astype(float)
    lines = [[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 3, 6], [2, 4, 6]]
    y = np.any([(x[:, line] == 0).all(axis=1) for line in lines], axis=0).astype(np.int64)
    columns = [{"name": f"square{at}", "kind": "choice", "values": ["o", "x", "-"]} for at in range(9)]
    return Source(columns, x, y, ["no", "yes"])


def heavy_tails(n: int) -> Source:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 10))
    x[:, :3] = np.exp(2 * x[:, :3])
    bent = 0.5 * x[:, 4] * (x[:, 5] > 0) + 0.4 * np.sin(2 * x[:, 6])
    return estimates((x, np.exp(0.6 * np.log(x[:, 0]) + bent + rng.normal(0, 0.5, n)) * 1000))


def houses(n: int) -> Source:
    """Prices by place, income and rooms, cut off at the top."""
    rng = np.random.default_rng(0)
    north, east = rng.uniform(32, 42, n), rng.uniform(-124, -114, n)
    income, rooms, age = np.exp(rng.normal(1.2, 0.45, n)), np.exp(rng.normal(1.6, 0.3, n)), rng.integers(1, 53, n)
    place = np.exp(-((north - 34) ** 2 + (east + 118) ** 2) / 1.5) + np.exp(-((north - 37.7) ** 2 + (east + 122) ** 2))
    price = 0.4 * income + 1.5 * place + 0.1 * np.log(rooms) * income + 0.004 * age
    x = np.stack([north, east, income, rooms, age], axis=1)
    return estimates((x, np.clip(price * np.exp(rng.normal(0, 0.22, n)), 0.15, 5)))


def clusters(n: int, columns: int, **shape: Any) -> Source:
    return classes(datasets.make_classification(n, columns, **{"random_state": 0} | shape))


SOURCES: dict[str, Callable[[], Source]] = {
    "iris": lambda: classes(datasets.load_iris(return_X_y=True)),
    "wine": lambda: classes(datasets.load_wine(return_X_y=True)),
    "breast cancer": lambda: classes(datasets.load_breast_cancer(return_X_y=True)),
    "digits": lambda: classes(datasets.load_digits(return_X_y=True)),
    "diabetes": lambda: estimates(datasets.load_diabetes(return_X_y=True)),
    "linear": lambda: estimates(datasets.make_regression(200, 15, n_informative=6, noise=40, random_state=0)),
    "board": lambda: squares_of_a_board(950),
    "clusters": lambda: clusters(1200, 10, n_informative=5),
    "moons in noise": lambda: moons_in_noise(2000),
    "hastie": lambda: classes(datasets.make_hastie_10_2(4000, random_state=0)),
    "quantiles": lambda: classes(datasets.make_gaussian_quantiles(n_samples=3000, n_features=6, random_state=0)),
    "friedman 1": lambda: estimates(datasets.make_friedman1(1000, noise=1, random_state=0)),
    "friedman 2": lambda: estimates(datasets.make_friedman2(3000, noise=100, random_state=0)),
    "friedman 3": lambda: estimates(datasets.make_friedman3(3000, noise=0.1, random_state=0)),
    "holes": lambda: holes(clusters(5000, 12, n_informative=8)),
    "five classes": lambda: clusters(8000, 30, n_informative=12, n_classes=5, n_clusters_per_class=3),
    "two in a hundred": lambda: clusters(10_000, 15, n_informative=6, weights=[0.98], flip_y=0.004, class_sep=0.7),
    "heavy tails": lambda: heavy_tails(10_000),
    "letters": lambda: clusters(12_000, 16, n_informative=12, n_classes=26, n_clusters_per_class=1, class_sep=1.6),
    "incomes": lambda: incomes(30_000),
    "houses": lambda: houses(20_000),
    "large": lambda: clusters(100_000, 20, n_informative=10, n_clusters_per_class=4, flip_y=0.02, class_sep=0.7),
    "large numbers": lambda: estimates(datasets.make_friedman1(100_000, 20, noise=1, random_state=0)),
}


def rows_of(source: Source) -> list[dict[str, Any]]:
    return [
        {
            column["name"]: column["values"][int(cell)] if column["kind"] == "choice" else cell
            for column, cell in zip(source.columns, cells, strict=True)
            if not np.isnan(cell)
        }
        for cells in source.x.tolist()
    ]


def others(source: Source, train: Array, held: Array) -> list[float]:
    """What scikit-learn's linear model and its boosting reach."""
    choices = [at for at, column in enumerate(source.columns) if column["kind"] == "choice"]
    rest = [at for at in range(len(source.columns)) if at not in choices]
    prepare = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), rest), (OneHotEncoder(handle_unknown="ignore"), choices)
    )
    linear = LogisticRegression(max_iter=1000) if source.classes else LinearRegression()
    kind = HistGradientBoostingClassifier if source.classes else HistGradientBoostingRegressor
    models = [make_pipeline(prepare, linear), kind(categorical_features=choices or None, random_state=0)]
    return [model.fit(source.x[train], source.y[train]).score(source.x[held], source.y[held]) for model in models]


def measure(source: Source, repeat: int, rows: list[dict[str, Any]]) -> list[float]:
    """Ours, the linear model's and the boosting's figure; and the seconds of CPU that ours took."""
    order = np.random.default_rng(repeat).permutation(len(rows))
    held, train = np.split(order, [len(order) // 5])
    table = tables.Table(source.columns, [rows[at] for at in train], source.y[train], source.classes)
    started = time.process_time()
    module = tables.fit(table, tables.Settings(), seed=repeat).module
    took = time.process_time() - started
    with torch.inference_mode():
        said = torch.cat(
            [module(module.encode([rows[at] for at in part])) for part in np.array_split(held, 50)]
        ).numpy()
    truth = source.y[held]
    error = ((said - truth) ** 2).mean() / truth.var() if not source.classes else (said.argmax(1) != truth).mean()
    return [1 - float(error), *others(source, train, held), took]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.tables", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *SOURCES], metavar="NAME", help="which tables (all)")
    warnings.simplefilter("ignore")
    print("| table | rows | ours | linear | boosting | seconds |\n|---|--:|--:|--:|--:|--:|")
    for name in parser.parse_args().names or SOURCES:
        source = SOURCES[name]()
        rows = rows_of(source)
        with one_thread():
            found = [measure(source, repeat, rows) for repeat in range(5 if len(rows) < 2000 else 1)]
        ours, linear, boosting, took = np.mean(found, axis=0)
        print(f"| {name} | {len(rows):,} | {ours:.4f} | {linear:.4f} | {boosting:.4f} | {took:.1f} |", flush=True)


if __name__ == "__main__":
    main()
