"""The networks of a table model: an ensemble whose members each stop by rows they leave out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mlmodels.architectures.table_blend import Networks
from mlmodels.training.steps import AdamW, batches
from mlmodels.training.table_data import Data, Part, score

CHUNK = 16_384
Report = Callable[[int, float, float], None]  # epoch, training loss, metric on the rows left out


@dataclass(frozen=True)
class Course:
    """How one ensemble learns."""

    epochs: int
    patience: int
    batch: int
    lr: float
    weight_decay: float


def fit(data: Data, params: dict[str, Any], course: Course, seed: int, report: Report) -> Part:
    """Member m leaves out the judged fold m (of so many)."""
    torch.manual_seed(seed)
    networks = Networks(data.rich.shape[1], data.n_classes or 1, **params)
    member = torch.arange(networks.members)[:, None] % data.judged
    left_out = data.fold[None] == member  # (members, n)
    judged = torch.from_numpy(data.judged_rows)
    optimizer = AdamW(networks, course.weight_decay)
    best = torch.full((networks.members,), torch.inf)
    best_state = {name: value.detach().clone() for name, value in networks.named_parameters()}
    since = 0
    for epoch in range(course.epochs):
        loss = _epoch(networks, optimizer, data, left_out, course, epoch)
        now, metric = _judge(networks, data, left_out, judged)
        better = now < best
        best = torch.where(better, now, best)
        with torch.no_grad():
            for name, value in networks.named_parameters():
                best_state[name][better] = value[better]
        report(epoch + 1, loss, metric)
        since = 0 if better.any() else since + 1
        if since >= course.patience:
            break
    networks.load_state_dict(best_state)
    said = _said(_outputs(networks.eval(), data, judged), left_out[:, judged], data)
    return Part(params, best_state, said.numpy())


def _epoch(networks: Networks, optimizer: AdamW, data: Data, left_out: Tensor, course: Course, epoch: int) -> float:
    """One pass over the rows in random order; the mean loss."""
    networks.train()
    total, steps = 0.0, math.ceil(len(data.y) / course.batch)
    for step, chosen in enumerate(batches(len(data.y), course.batch)):
        weights = (~left_out[:, chosen]).float()
        losses = _losses(networks(data.rich[chosen]), data.y[chosen], data.n_classes) * weights
        loss = losses.sum() / weights.sum().clamp(min=1)
        # Members share nothing: summed over them, each steps as if it were alone.
        (loss * len(weights)).backward()  # type: ignore[no-untyped-call]
        optimizer.step(_rate(course, epoch + step / steps))
        total += float(loss.detach()) * len(chosen)
    return total / len(data.y)


def _rate(course: Course, epoch: float) -> float:
    """Rises over the first epoch, then falls along a cosine to a fiftieth."""
    fall = 0.02 + 0.98 * (1 + math.cos(math.pi * epoch / course.epochs)) / 2
    return course.lr * fall * min(1.0, 0.1 + epoch)


def _losses(outputs: Tensor, y: Tensor, n_classes: int) -> Tensor:
    """(members, n): cross entropy, or the squared error."""
    if n_classes:
        each = y.expand(len(outputs), -1)
        return functional.cross_entropy(outputs.flatten(0, 1), each.flatten(), reduction="none").view(each.shape)
    return (outputs[:, :, 0] - y.float()).square()


@torch.no_grad()
def _judge(networks: Networks, data: Data, left_out: Tensor, judged: Tensor) -> tuple[Tensor, float]:
    """(members,) loss of each on the rows it left out; and the metric of all on these rows."""
    outputs = _outputs(networks.eval(), data, judged)
    out = left_out[:, judged]
    y = data.y[judged]
    each = (_losses(outputs, y, data.n_classes) * out).sum(dim=1)
    # A member that leaves nothing out, of very few rows, goes by what the others do.
    losses = torch.where(out.any(dim=1), each / out.sum(dim=1).clamp(min=1), each.sum() / out.sum())
    return losses, score(_said(outputs, out, data).numpy(), y.numpy())


@torch.no_grad()
def _outputs(networks: Networks, data: Data, rows: Tensor) -> Tensor:
    """(members, n, n_outputs), some rows at a time."""
    return torch.cat([networks(data.rich[chosen]) for chosen in torch.split(rows, CHUNK)], dim=1)


def _said(outputs: Tensor, left_out: Tensor, data: Data) -> Tensor:
    """What the members that left a row out say of it together."""
    out = left_out.double()
    if not data.n_classes:
        return (outputs[:, :, 0] * out).sum(dim=0) / out.sum(dim=0)
    logs = outputs.double().log_softmax(dim=2) + out.log()[:, :, None]
    return logs.logsumexp(dim=0) - out.sum(dim=0).log()[:, None]
