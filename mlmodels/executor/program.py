"""Any PyTorch module between items and answers, as the manifest's signature and params say. Child side and training.

How items become the module's inputs (`n` items at once, in the order of the signature's x-order):

| params                       | the module is called with                                                       |
|------------------------------|---------------------------------------------------------------------------------|
| (nothing), input: "matrix"   | one float32 matrix (n, width): numbers, integers and booleans one column each,   |
|                              | a choice one column for each of its values (one-hot)                            |
| input: "columns"             | one tensor (n, 1) for each field: int64 for integers, bool for booleans, float32 |
|                              | for numbers, int64 for a choice (its place in enum); a tensor of the same name   |
|                              | in signature.tensors.inputs says another dtype, or shape [-1] for (n,)          |
| picture: {"size": [h, w],    | one float32 tensor (n, channels, h, w): the middle of the picture, scaled, its   |
|  "channels": 3, "scale": 255,| values 0 to 255 divided by scale, then minus mean, divided by std (one number    |
|  "mean": [..], "std": [..]}  | for each channel; left out: 0 and 1); the only field is the picture             |
| missing: 0.0                 | what stands for a number that was left out (NaN unless given here; a column of   |
|                              | whole numbers or booleans needs it); a choice left out is all zeros, or -1      |

What the module returns, one tensor whose first dimension is n:

| params.output                | shape           | the answer                                                    |
|------------------------------|-----------------|---------------------------------------------------------------|
| "logits" (for classes)       | (n, n_classes)  | softmax; for two classes also (n,) or (n, 1): the second's      |
| "probabilities"              | the same        | as they are                                                   |
| "value" (for a number)       | (n,) or (n, 1)  | as it is                                                      |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from mlmodels.architectures import Item, Output, decode_classes
from mlmodels.executor.encoding import encoder_for
from mlmodels.executor.inference import BadOutput

KNOWN_PARAMS = frozenset(("input", "picture", "missing", "output"))


class Program(nn.Module):
    """Takes items and gives outputs like an architecture of this site; `module` knows tensors only."""

    def __init__(self, module: nn.Module, signature: Mapping[str, Any], params: Mapping[str, Any]) -> None:
        """Raises ValueError with a sentence where params and signature do not fit each other."""
        super().__init__()
        if unknown := sorted(set(params) - KNOWN_PARAMS):
            raise ValueError(f"params holds {unknown[0]!r}: known are {', '.join(sorted(KNOWN_PARAMS))}.")
        self.module = module
        self.encoder = encoder_for(signature, params)
        answer = signature["output"]["properties"]
        self.classes: list[str] = list(answer["label"]["enum"]) if "label" in answer else []
        possible = ("logits", "probabilities") if self.classes else ("value",)
        self.output = params.get("output", possible[0])
        if self.output not in possible:
            expected = " or ".join(f'"{name}"' for name in possible)
            raise ValueError(f"params.output is {self.output!r}: this signature needs {expected}.")

    @property
    def device(self) -> torch.device:
        """Where the module's tensors are; the CPU for one without any."""
        tensor = next(chain(self.module.parameters(), self.module.buffers()), None)
        return torch.device("cpu") if tensor is None else tensor.device

    def encode(self, items: Sequence[Item]) -> list[Tensor]:
        """Items that fit the signature → what the module is called with. Raises BadItem."""
        return self.encoder(items)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """→ (n, n_classes) or (n,). Raises BadOutput for anything else."""
        n, device = len(inputs[0]), self.device
        answer = self.module(*(tensor.to(device) for tensor in inputs))
        if isinstance(answer, tuple | list) and len(answer) == 1:
            answer = answer[0]
        if not isinstance(answer, Tensor):
            raise BadOutput(f"The program answered with {type(answer).__name__}, not with one tensor.")
        return self._checked(answer, n)

    def _checked(self, answer: Tensor, n: int) -> Tensor:
        width = len(self.classes)
        columns = answer.reshape(n, -1) if answer.shape in ((n,), (n, 1)) else answer  # (n, 1)
        if columns.shape == (n, width):
            return columns
        if columns.shape == (n, 1) and width in (0, 2):
            return self._of_two(columns) if width else columns[:, 0]
        wanted = f"{(n, width)}" if width else f"{(n,)} or {(n, 1)}"
        raise BadOutput(f"The program answered with shape {tuple(answer.shape)}; {wanted} was expected.")

    def _of_two(self, second: Tensor) -> Tensor:
        """(n, 1) of the second of two classes → (n, 2)."""
        first = 1 - second if self.output == "probabilities" else torch.zeros_like(second)
        return torch.cat([first, second], dim=1)

    def decode(self, y: Tensor) -> list[Output]:
        if not self.classes:
            return [{"value": value} for value in y.double().tolist()]
        if self.output == "logits":
            return decode_classes(self.classes, y)
        best = y.argmax(dim=1).tolist()
        return [
            {"label": self.classes[index], "probabilities": dict(zip(self.classes, row, strict=True))}
            for index, row in zip(best, y.double().tolist(), strict=True)
        ]

    @torch.inference_mode()
    def predict(self, items: Sequence[Item]) -> list[Output]:
        """The three steps at once."""
        outputs: list[Output] = self.decode(self(self.encode(items)))
        return outputs
