"""Figures for rows that a model has not been trained on."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def of_classes(probabilities: Array, labels: Array) -> dict[str, float]:
    """(n, n_classes) probabilities and (n,) class indices → accuracy and the like."""
    right = probabilities.argmax(axis=1) == labels
    per_class = [right[labels == label].mean() for label in np.unique(labels)]
    given = probabilities[np.arange(len(labels)), labels].clip(1e-12, 1)
    return {
        "accuracy": round(float(right.mean()), 4),
        "balanced_accuracy": round(float(np.mean(per_class)), 4),
        "log_loss": round(float(-np.log(given).mean()), 4),
        "rows": len(labels),
    }


def of_numbers(predicted: Array, target: Array) -> dict[str, float]:
    """(n,) predictions and targets → R², mean absolute and root mean square error."""
    error = predicted - target
    return {
        "r2": round(r2(predicted, target), 4),
        "mae": round(float(np.abs(error).mean()), 4),
        "rmse": round(float(np.sqrt((error**2).mean())), 4),
        "rows": len(target),
    }


def r2(predicted: Array, target: Array) -> float:
    """The share of the variance that is explained; 0 for a constant target."""
    spread = float(((target - target.mean()) ** 2).sum())
    return 1 - float(((predicted - target) ** 2).sum()) / spread if spread else 0.0
