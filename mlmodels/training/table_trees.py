"""The trees of a table model: boosted by scikit-learn, then written as tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from mlmodels.training.table_data import Array, Data, Part, losses, score
from mlmodels.training.table_linear import IMPOSSIBLE
from mlmodels.training.tree_tensors import as_tensors

MOST_VALUES = 254  # of one choice; the rarest of more count as absent
Report = Callable[[float, float], None]  # loss and metric on the rows left out


@dataclass(frozen=True)
class Shape:
    """How trees are grown: at most `rounds` of them per class, `step` between two reports."""

    rounds: int = 300
    step: int = 100
    patience: int = 30  # rounds without a better loss
    rate: float = 0.1
    leaves: int = 31
    least: int = 20  # rows in a leaf
    depth: int = 10
    l2: float = 0.0


def fit(data: Data, shape: Shape, seed: int, report: Report) -> Part:
    """Boost without each judged fold until its loss rises, then on all rows for as long on average."""
    coded, codes = _recode(data)
    y = data.y.numpy()
    said = np.empty((len(y), data.n_classes) if data.n_classes else len(y))
    rounds = []
    for inside, outside in data.sides():
        best, said[outside] = _until_worse(data, coded, y, inside, outside, shape, seed, report)
        rounds.append(best)
    count = round(float(np.mean(rounds)))
    model = _model(data, shape, seed)
    judged, truth = said[data.judged_rows], y[data.judged_rows]
    figures = float(losses(judged, truth).mean()), score(judged, truth)
    for reached in _steps(count, shape.step):
        model.set_params(max_iter=reached).fit(coded, y)
        if reached < count:
            report(*figures)
    params, state = as_tensors(model, data, coded, codes)
    return Part(params, state, judged)


def _until_worse(
    data: Data, coded: Array, y: Array, inside: Array, outside: Array, shape: Shape, seed: int, report: Report
) -> tuple[int, Array]:
    """The best number of rounds for the rows outside, and what was said about them then."""
    model = _model(data, shape, seed)
    best, best_loss, best_said = 0, np.inf, np.empty(0)
    for reached in _steps(shape.rounds, shape.step):
        model.set_params(max_iter=reached).fit(coded[inside], y[inside])
        for rounds, said in _stages(model, coded[outside], data.n_classes, reached - shape.step):
            loss = float(losses(said, y[outside]).mean())
            if loss < best_loss:
                best, best_loss, best_said = rounds, loss, said
        if reached < shape.rounds:
            report(best_loss, score(best_said, y[outside]))
        if reached - best >= shape.patience:
            break
    return best, best_said


def _steps(rounds: int, step: int) -> list[int]:
    return [*range(step, rounds, step), rounds]


def _stages(model: Any, coded: Array, n_classes: int, after: int) -> Iterator[tuple[int, Array]]:
    """What was said after every tenth round from `after` on: log-probabilities over all classes, or numbers."""
    said = model.staged_predict_proba(coded) if n_classes else model.staged_predict(coded)
    for rounds, answer in enumerate(said, 1):
        if rounds <= after or rounds % 10:
            continue
        if not n_classes:
            yield rounds, answer
            continue
        logs = np.full((len(coded), n_classes), IMPOSSIBLE)  # also of classes that the model has not seen
        logs[:, model.classes_] = np.log(answer.clip(np.exp(IMPOSSIBLE)))
        yield rounds, logs


def _model(data: Data, shape: Shape, seed: int) -> Any:
    kind = HistGradientBoostingClassifier if data.n_classes else HistGradientBoostingRegressor
    return kind(
        learning_rate=shape.rate,
        max_leaf_nodes=shape.leaves,
        min_samples_leaf=shape.least,
        max_depth=shape.depth,
        l2_regularization=shape.l2,
        categorical_features=list(data.choices) or None,
        early_stopping=False,
        warm_start=True,
        random_state=seed,
    )


def _recode(data: Data) -> tuple[Array, dict[int, Array]]:
    """Rows as scikit-learn takes them: the values of a choice that occur, without the rarest of very many.

    Also, for each choice, those values in order.
    """
    coded, kept = data.x.numpy().copy(), {}
    for column in data.choices:
        values, counts = np.unique(coded[coded[:, column] >= 0, column], return_counts=True)
        kept[column] = np.sort(values[np.argsort(-counts, kind="stable")[:MOST_VALUES]])
        coded[~np.isin(coded[:, column], kept[column]), column] = np.nan
    return coded, kept
