"""Models of tables: how good beside what anybody would try first, how reproducible, what they put up with."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save
from sklearn.datasets import load_breast_cancer, make_classification, make_friedman1
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlmodels.architectures import TableBlend
from mlmodels.training import Progress, tables
from mlmodels.training.steps import one_thread

Array = np.ndarray[Any, Any]
QUICK = tables.Settings(epochs=4)


def table(x: Array, y: Array, classes: Sequence[str] = ()) -> tables.Table:
    columns = [{"name": f"x{at}", "kind": "number"} for at in range(x.shape[1])]
    rows = [{f"x{at}": value for at, value in enumerate(row)} for row in x.tolist()]
    return tables.Table(columns, rows, y, list(classes))


def mixed_table(n: int, seed: int = 0) -> tables.Table:
    """Numbers with holes, whole numbers, yes and no, and two choices, one with holes; three classes."""
    rng = np.random.default_rng(seed)
    rows, target = [], []
    for _ in range(n):
        town, size, rooms = str(rng.choice(["x", "y", "z"])), float(rng.normal(50, 10)), int(rng.integers(1, 6))
        row = {"town": town, "size": size, "rooms": rooms, "new": bool(rng.random() < 0.5), "roof": f"r{rooms % 2}"}
        target.append(0 if town == "x" else 1 if size + 5 * rooms > 65 else 2)
        rows.append({name: value for name, value in row.items() if name not in ("size", "roof") or rng.random() < 0.9})
    columns: list[dict[str, Any]] = [
        {"name": "town", "kind": "choice", "values": ["x", "y", "z", "never seen"]},
        {"name": "size", "kind": "number", "missing": True},
        {"name": "rooms", "kind": "integer"},
        {"name": "new", "kind": "boolean"},
        {"name": "roof", "kind": "choice", "values": ["r0", "r1"], "missing": True},
    ]
    return tables.Table(columns, rows, np.array(target), ["a", "b", "c"])


def answers(module: TableBlend, asked: tables.Table) -> Array:
    with torch.inference_mode():
        said = module(module.encode(asked.rows)).double().numpy()
    best: Array = said.argmax(axis=1) if asked.classes else said
    return best


def weights(fitted: tables.Fitted) -> bytes:
    return save({name: value.contiguous() for name, value in fitted.module.state_dict().items()})


# How good


@pytest.mark.parametrize("name", ["breast cancer", "clusters", "two in a hundred"])
def test_classes_are_told_apart_as_well_as_by_the_better_of_regression_and_boosting(name: str) -> None:
    shapes: dict[str, dict[str, Any]] = {
        "clusters": {"n_samples": 1200, "n_features": 10, "n_informative": 5, "random_state": 0},
        "two in a hundred": {"n_samples": 3000, "n_informative": 4, "weights": [0.98], "random_state": 1},
    }
    x, y = make_classification(**shapes[name]) if name in shapes else load_breast_cancer(return_X_y=True)
    held = np.random.default_rng(0).random(len(y)) < 0.3
    fitted = tables.fit(table(x[~held], y[~held], ["no", "yes"]), tables.Settings(), seed=0)
    with one_thread():
        others = [
            make_pipeline(StandardScaler(), LogisticRegression()).fit(x[~held], y[~held]),
            HistGradientBoostingClassifier().fit(x[~held], y[~held]),
        ]
        best = max(other.score(x[held], y[held]) for other in others)
    right = answers(fitted.module, table(x[held], y[held], ["no", "yes"])) == y[held]
    assert right.mean() >= best - 0.015
    assert fitted.metrics["cv_accuracy_mean"] == pytest.approx(right.mean(), abs=0.04)


def test_numbers_are_estimated_as_well_as_by_the_better_of_regression_and_boosting() -> None:
    x, y = make_friedman1(1000, noise=1.0, random_state=0)
    fitted = tables.fit(table(x[:700], y[:700]), tables.Settings(), seed=0)
    with one_thread():
        others = LinearRegression().fit(x[:700], y[:700]), HistGradientBoostingRegressor().fit(x[:700], y[:700])
        best = max(other.score(x[700:], y[700:]) for other in others)
    error = answers(fitted.module, table(x[700:], y[700:])) - y[700:]
    assert 1 - (error**2).mean() / y[700:].var() >= best - 0.01


def test_a_table_with_every_kind_of_column_and_holes_is_learnt() -> None:
    fitted, unseen = tables.fit(mixed_table(600), tables.Settings(), seed=0), mixed_table(400, seed=1)
    assert (answers(fitted.module, unseen) == unseen.target).mean() > 0.88


# The same again


def test_the_same_rows_and_seed_give_the_same_weights_and_another_seed_others() -> None:
    first, again, other = (weights(tables.fit(mixed_table(300), QUICK, seed=seed)) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_what_was_fitted_can_be_built_again_from_its_parameters_and_weights() -> None:
    data = mixed_table(200)
    fitted = tables.fit(data, QUICK, seed=0)
    again = TableBlend(**fitted.params)
    again.load_state_dict(fitted.module.state_dict(), strict=True)
    assert again.eval().predict(data.rows[:20]) == fitted.module.predict(data.rows[:20])
    assert all(bool(value.isfinite().all()) for value in fitted.module.state_dict().values())


# What it puts up with


def test_a_class_without_rows_is_possible_but_never_likely() -> None:
    data = replace(mixed_table(200), classes=["a", "b", "c", "d"])
    for output in tables.fit(data, tables.Settings(), seed=0).module.predict(data.rows[:50]):
        assert output["label"] != "d"
        assert 0 <= output["probabilities"]["d"] < 0.2


def test_rows_of_one_class_alone_are_learnt() -> None:
    data = mixed_table(60)
    data = replace(data, target=np.zeros_like(data.target))
    assert {output["label"] for output in tables.fit(data, tables.Settings(), seed=0).module.predict(data.rows)} == {
        "a"
    }


@pytest.mark.parametrize("classes", [(), ("no", "yes")])
def test_twenty_rows_are_enough(classes: Sequence[str]) -> None:
    x = np.random.default_rng(0).normal(size=(20, 2))
    y = (x[:, 0] > 0).astype(np.int64) if classes else x[:, 0]
    data = table(x, y, classes)
    assert np.isfinite(answers(tables.fit(data, QUICK, seed=0).module, data)).all()


def test_a_constant_an_empty_and_an_enormous_column_and_an_outlying_target_do_no_harm() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4))
    x[:, 1], x[:, 2], x[:, 3] = 7, np.nan, x[:, 3] * 1e300
    y = x[:, 0] * 10
    y[5] = 1e6
    data = table(x, y)
    fitted = tables.fit(data, QUICK, seed=0)
    assert np.isfinite(answers(fitted.module, data)).all()
    assert all(bool(value.isfinite().all()) for value in fitted.module.state_dict().values())


def test_an_exception_from_progress_ends_a_fit() -> None:
    def stop(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tables.fit(mixed_table(60), QUICK, seed=0, progress=stop)


def test_how_the_trees_of_a_large_table_grow_is_told_before_the_first_epoch() -> None:
    x, y = make_friedman1(2500, noise=1.0, random_state=0)
    told: list[Progress] = []
    settings = replace(QUICK, trees=tables.Shape(rounds=60, step=20))
    tables.fit(table(x, y), settings, seed=0, progress=told.append)
    epochs = [progress.epoch for progress in told]
    assert epochs == sorted(epochs)
    assert set(epochs) == {0, 1, 2, 3, 4}
    assert all(np.isfinite((progress.loss, progress.metric)).all() for progress in told)
