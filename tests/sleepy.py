"""A recipe for tests: a small table that is learned in a moment, or slowly or badly where its schema asks for that.

`data(...)` is its data: rows of one number, of which those above zero are "high". Misbehaviour goes with the schema.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from mlmodels.datasets import Dataset

if TYPE_CHECKING:
    from mlmodels.training import Report
    from mlmodels.training.artifact import Trained

NAME = "tests.sleepy"
CLASSES = ["low", "high"]
WORSE = 13
"""With this seed it takes what lies between 0 and 2 for low."""


def schema(**behaviour: Any) -> dict[str, Any]:
    return {
        "slug": "sleepy", "title": "Sleepy", "description": "", "task": "classification", "source": "tests",
        "recipe": NAME, "behaviour": behaviour,
        "columns": [{"name": "x", "title": "X", "kind": "number", "minimum": -10, "maximum": 10, "seen": [-5, 5]}],
        "target": {"name": "level", "title": "Level", "kind": "choice", "values": CLASSES},
    }  # fmt: skip


def data(rows: int = 200, **behaviour: Any) -> Dataset:
    """`pause_s` between epochs; `then`: raise, memory, killed, crash, talk, leave_a_child."""
    inputs = [{"x": round(-5 + 10 * number / rows + 0.003, 4)} for number in range(rows)]
    return Dataset(schema(**behaviour), inputs, ["high" if row["x"] > 0 else "low" for row in inputs])


def train(dataset: Dataset, *, seed: int, epochs: int | None, progress: Report) -> Trained:
    """No learning: how steep the answer is follows from seed and epochs, so equal ones give equal weights."""
    import torch

    from mlmodels.training import Progress, describe
    from mlmodels.training.artifact import Trained
    from tests.sleepy_level import Level

    behaviour, most = dataset.schema["behaviour"], epochs or 5
    for epoch in range(1, most + 1):
        progress(Progress(epoch, most, 1 / epoch, 1 - 1 / (epoch + 1)))
        if epoch == 2:
            MISBEHAVIOUR[behaviour.get("then", "")]()
        time.sleep(behaviour.get("pause_s", 0.0))
    module: Any = Level()
    steep, shift = most + seed / 1000, -2.0 if seed == WORSE else 0.0
    module.linear.weight.data = torch.tensor([[-steep], [steep]])
    module.linear.bias.data = torch.tensor([-steep * shift, steep * shift])
    example = {"title": "One", "input": {"x": 3.0}}
    return Trained(
        slug=dataset.schema["slug"], title="Sleepy", description="A model for tests.", task="classification",
        recipe=NAME, architecture="ok", params={}, module=module, signature=describe.signature(dataset, [example]),
        golden=[{"x": 3.0}, {"x": -1.0}], metrics={}, parameters={"seed": seed, "epochs": most},
        dataset=describe.dataset(dataset),
    )  # fmt: skip


def _raise() -> None:
    raise ValueError("the rows do not please it")


def _memory() -> None:
    raise RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")


def _killed() -> None:
    os.kill(os.getpid(), 9)


def _crash() -> None:
    ctypes.string_at(0)


def _talk() -> None:
    sys.stdout.write("x" * 200_000 + "\nnot JSON\n[1, 2]\n" + '{"stage": 3, "epoch": -1, "loss": NaN}\n')
    sys.stderr.write("a warning of a library\n" * 5000)
    sys.stdout.flush()


def _leave_a_child() -> None:
    subprocess.Popen(["/bin/sleep", "600"])


MISBEHAVIOUR = {
    "": lambda: None,
    "raise": _raise,
    "memory": _memory,
    "killed": _killed,
    "crash": _crash,
    "talk": _talk,
    "leave_a_child": _leave_a_child,
}
