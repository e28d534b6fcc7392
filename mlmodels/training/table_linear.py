"""The linear part of a table model: logistic or ridge regression, its strength judged on rows left out."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge

from mlmodels.training.table_data import Array, Data, Part, losses

MOST_ROWS = 50_000  # a linear map learns little from more
STRENGTHS = (0.01, 0.1, 1.0, 10.0)
IMPOSSIBLE = -20.0  # the score of a class that no row has


def fit(data: Data) -> Part:
    """The strength that does best on the judged rows, fitted on all."""
    features, y = data.plain.numpy().astype(np.float64), data.y.numpy()
    strengths = STRENGTHS if len(y) <= MOST_ROWS // 5 else (1.0,)
    tried = {strength: _said(data, features, y, strength) for strength in strengths}
    judged = y[data.judged_rows]
    best = min(strengths, key=lambda strength: losses(tried[strength], judged).mean())
    weight, bias = _fit(features[:MOST_ROWS], y[:MOST_ROWS], data.n_classes, best)
    state = {"weight": torch.from_numpy(weight).float(), "bias": torch.from_numpy(bias).float()}
    return Part(None, state, tried[best])


def _said(data: Data, features: Array, y: Array, strength: float) -> Array:
    said = np.empty((len(y), data.n_classes) if data.n_classes else len(y))
    for inside, outside in data.sides():
        chosen = inside[:MOST_ROWS]
        weight, bias = _fit(features[chosen], y[chosen], data.n_classes, strength)
        scores = features[outside] @ weight.T + bias
        said[outside] = _log_softmax(scores) if data.n_classes else scores[:, 0]
    return said[data.judged_rows]


def _fit(features: Array, y: Array, n_classes: int, strength: float) -> tuple[Array, Array]:
    """(n_outputs, n_features) and (n_outputs,); `strength` is how freely it may fit."""
    if not n_classes:
        ridge = Ridge(alpha=1 / strength).fit(features, y)
        return ridge.coef_[None], np.array([ridge.intercept_])
    weight, bias = np.zeros((n_classes, features.shape[1])), np.full(n_classes, IMPOSSIBLE)
    seen = np.unique(y)
    bias[seen] = 0
    if len(seen) > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(C=strength, max_iter=200).fit(features, y)
        if len(seen) == 2:
            weight[seen[1]], bias[seen[1]] = model.coef_[0], model.intercept_[0]
        else:
            weight[seen], bias[seen] = model.coef_, model.intercept_
    return weight, bias


def _log_softmax(scores: Array) -> Array:
    shifted = scores - scores.max(axis=1, keepdims=True)
    logs: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logs
