"""The trees of a table model: boosted by scikit-learn, then written as tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from mlmodels.training.table_data import Array, Data, Part, losses, score
from mlmodels.training.table_linear import IMPOSSIBLE
from mlmodels.training.tree_tensors import as_tensors

MOST_VALUES = 254  # of one choice; the rarest of more count as absent
MOST_TREES = 1500  # of all classes together; every row served walks down each
LEAST_ROUNDS = 40  # however much work
MOST_WORK = 2_000_000_000  # cells times rounds times classes of one fit: about 20 seconds
REPORTED_WORK = 300_000_000  # the same between two reports
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

    def affordable(self, n_cells: int, n_classes: int) -> Shape:
        """Fewer rounds, each counting for more, where a round is costly to grow or to serve."""
        per_round = n_classes if n_classes > 2 else 1
        worked = max(LEAST_ROUNDS, MOST_WORK // (n_cells * per_round))
        rounds = max(10, min(self.rounds, worked, MOST_TREES // per_round) // 10 * 10)
        step = max(10, min(self.step, REPORTED_WORK // (n_cells * per_round) // 10 * 10))
        return replace(self, rounds=rounds, step=step, rate=max(self.rate, min(0.3, 10 / rounds)))


def fit(data: Data, shape: Shape, seed: int, report: Report) -> Part:
    """Boost without each judged fold until its loss rises, then on all rows for as long on average.

    Where one fold alone is judged, the trees grown without it are kept: they cost as much again.
    """
    shape = shape.affordable(data.x.numel(), data.n_classes)
    coded, codes = _recode(data)
    y = data.y.numpy()
    said = np.empty((len(y), data.n_classes) if data.n_classes else len(y))
    counts = []
    for inside, outside in data.sides():
        model, count, said[outside] = _until_worse(data, coded, y, (inside, outside), shape, seed, report)
        counts.append(count)
    judged, truth = said[data.judged_rows], y[data.judged_rows]
    count = round(float(np.mean(counts)))
    if len(counts) > 1:
        model = _model(data, shape, seed)
        for reached in _steps(count, shape.step):
            model.set_params(max_iter=reached).fit(coded, y)
            if reached < count:
                report(float(losses(judged, truth).mean()), score(judged, truth))
    params, state = as_tensors(model, data, coded, codes, count)
    return Part(params, state, judged)


def _until_worse(
    data: Data, coded: Array, y: Array, sides: tuple[Array, Array], shape: Shape, seed: int, report: Report
) -> tuple[Any, int, Array]:
    """A model, the best number of its rounds for the rows outside, and what was said about them then."""
    inside, outside = sides
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
    return model, best, best_said


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
        categorical_features=list(data.choices) or None,
        early_stopping=False,
        warm_start=True,
        random_state=seed,
    )


def _recode(data: Data) -> tuple[Array, dict[int, Array]]:
    """Rows as scikit-learn takes them: the values of a choice that occur, without the rarest of very many.

    Also, for each choice, those values in order. A column that is absent from all rows of
    some side is the same in every row: nothing splits by it.
    """
    coded, kept = data.x.numpy().copy(), {}
    for column in data.choices:
        values, counts = np.unique(coded[coded[:, column] >= 0, column], return_counts=True)
        kept[column] = np.sort(values[np.argsort(-counts, kind="stable")[:MOST_VALUES]])
        coded[~np.isin(coded[:, column], kept[column]), column] = np.nan
    for inside, _ in data.sides():
        coded[:, np.isnan(coded[inside]).all(axis=0)] = 0.0
    return coded, kept
