"""Trees that scikit-learn has grown → tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlmodels.architectures.trees import LARGEST, Trees
from mlmodels.training.table_data import Array, Data
from mlmodels.training.table_linear import IMPOSSIBLE

State = dict[str, Tensor]


def as_tensors(
    model: Any, data: Data, coded: Array, codes: dict[int, Array], rounds: int
) -> tuple[dict[str, int], State]:
    """The first rounds of a fitted model of scikit-learn → parameters and state of `Trees`.

    `coded` are the rows that it was fitted on, `codes` by column the values of choices that it knows.
    scikit-learn shows its trees only from within, so that what they say is compared before they are used.
    """
    # scikit-learn puts the choices first.
    order = [*data.choices, *(at for at in range(data.x.shape[1]) if at not in data.choices)]
    writer = _Writer(order, codes, max(data.choices.values(), default=0), data.x.shape[1])
    n_outputs = 1 if data.n_classes in (0, 2) else data.n_classes
    scored = range(1) if n_outputs == 1 else model.classes_[-model.n_trees_per_iteration_ :]
    del model._predictors[rounds:]  # noqa: SLF001
    for trees in model._predictors:  # noqa: SLF001
        by_output = dict(zip(scored, trees, strict=True))
        for output in range(n_outputs):
            writer.add(by_output.get(output))
    base = torch.zeros(n_outputs)
    if n_outputs > 1:
        base.fill_(IMPOSSIBLE)[torch.from_numpy(model.classes_)] = 0.0
    start = np.asarray(model._baseline_prediction, np.float64)  # noqa: SLF001
    base[list(scored)] = torch.from_numpy(start).flatten().float()
    params, state = writer.params(), writer.state() | {"base": base}
    _check(model, data, coded, params, state)
    return params, state


class _Writer:
    """Collects trees node by node, siblings side by side."""

    def __init__(self, order: list[int], codes: dict[int, Array], values: int, n_columns: int) -> None:
        self.order, self.codes, self.values, self.n_columns = order, codes, values, n_columns
        self.roots: list[int] = []
        self.feature: list[int] = []
        self.threshold: list[float] = []
        self.child: list[int] = []
        self.value: list[float] = []
        self.lookup_column: list[int] = []
        self.lookup_right: list[Array] = []
        self.depth = 0

    def params(self) -> dict[str, int]:
        return {
            "count": len(self.roots),
            "nodes": len(self.child),
            "depth": self.depth,
            "lookups": len(self.lookup_column),
            "values": self.values if self.lookup_column else 0,
        }

    def state(self) -> State:
        state = {
            "root": torch.tensor(self.roots, dtype=torch.int32),
            "feature": torch.tensor(self.feature, dtype=torch.int32),
            "threshold": torch.tensor(self.threshold, dtype=torch.float64),
            "child": torch.tensor(self.child, dtype=torch.int32),
            "value": torch.tensor(self.value, dtype=torch.float32),
        }
        if self.lookup_column:
            state["lookup_column"] = torch.tensor(self.lookup_column)
            state["lookup_right"] = torch.from_numpy(np.concatenate(self.lookup_right))
        return state

    def add(self, tree: Any) -> None:
        """One tree; None stands for one that says nothing."""
        self.roots.append(len(self.child))
        self._leaf(0.0)
        if tree is None:
            return
        places = [(0, self.roots[-1])]
        for node, place in places:  # grows while it is walked
            record = tree.nodes[node]
            if record["is_leaf"]:
                self.value[place] = float(record["value"])
                continue
            self.child[place] = len(self.child)
            self._split(record, tree, place)
            self.depth = max(self.depth, int(record["depth"]) + 1)
            places += [(int(record["left"]), len(self.child)), (int(record["right"]), len(self.child) + 1)]
            self._leaf(0.0)
            self._leaf(0.0)

    def _leaf(self, value: float) -> None:
        self.feature.append(0)
        self.threshold.append(LARGEST)
        self.child.append(len(self.child))
        self.value.append(value)

    def _split(self, record: Any, tree: Any, place: int) -> None:
        column = self.order[int(record["feature_idx"])]
        missing_right = not record["missing_go_to_left"]
        if not record["is_categorical"]:
            self.feature[place] = column + self.n_columns * missing_right
            self.threshold[place] = min(float(record["num_threshold"]), LARGEST)
            return
        self.feature[place] = 2 * self.n_columns + len(self.lookup_column)
        self.threshold[place] = 0.5
        bits = tree.raw_left_cat_bitsets[int(record["bitset_idx"])]
        right = np.full(self.values + 1, missing_right, np.uint8)
        place_of = np.arange(len(self.codes[column]))
        right[self.codes[column].astype(np.int64)] = 1 - (bits[place_of // 32] >> (place_of % 32) & 1)
        self.lookup_column.append(column)
        self.lookup_right.append(right)


def _check(model: Any, data: Data, coded: Array, params: dict[str, int], state: State) -> None:
    """The tensors must say what scikit-learn says; its trees are read from within."""
    trees = Trees(len(state["base"]), **params)
    trees.load_state_dict(state)
    some = slice(0, 200)
    mine = trees(data.x[some]).numpy()
    theirs = model._raw_predict(coded[some])  # noqa: SLF001
    wanted = mine[:, model.classes_[-theirs.shape[1] :]] if mine.shape[1] > 1 else mine
    if not np.allclose(wanted, theirs, atol=1e-3):
        raise RuntimeError("The trees as tensors answer otherwise than scikit-learn's.")
