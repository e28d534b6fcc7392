"""One run inside the child: decode the pictures, encode, forward, decode. Child side only."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mlmodels.executor import pictures
from mlmodels.executor.frames import Frame
from mlmodels.executor.memory import is_out_of_memory
from mlmodels.executor.outcomes import safe_text

BAD_INPUT = "bad_input"


class BadOutput(Exception):
    """The model answered something that is no answer."""


@dataclass
class Answer:
    """What goes back: per item an output or an error, and the previews by item and field."""

    outcomes: list[dict[str, Any]]
    previews: list[tuple[int, str]] = field(default_factory=list)
    blobs: list[bytes] = field(default_factory=list)
    compute_ms: float = 0.0


def run(module: nn.Module, question: Frame) -> Answer:
    """Answer every item of `question`, or raise what the model raised, or BadOutput."""
    items: list[dict[str, Any]] = question.header["items"]
    answer = Answer(outcomes=[{} for _ in items])
    _insert_pictures(items, question, answer)
    started = time.perf_counter()
    outputs = _compute(module, items, answer)
    answer.compute_ms = (time.perf_counter() - started) * 1000
    for index, output in outputs.items():
        _check_finite(output)
        answer.outcomes[index] = {"output": output}
    return answer


def _insert_pictures(items: list[dict[str, Any]], question: Frame, answer: Answer) -> None:
    for (index, name), data in zip(question.header["pictures"], question.blobs, strict=True):
        try:
            picture = pictures.decode(data)
        except pictures.BadPicture as error:
            _refuse(answer, index, str(error))
            continue
        items[index][name] = picture
        answer.previews.append((index, name))
        answer.blobs.append(pictures.preview(picture))


def _refuse(answer: Answer, index: int, sentence: str) -> None:
    answer.outcomes[index] = {"error": [BAD_INPUT, safe_text(sentence, 500)]}


def _compute(module: nn.Module, items: list[dict[str, Any]], answer: Answer) -> dict[int, Any]:
    """Outputs by index of item. An item that the architecture finds bad fails by itself."""
    while good := [index for index in range(len(items)) if not answer.outcomes[index]]:
        try:
            with torch.inference_mode():
                outputs = _outputs(module, [items[index] for index in good])
        except Exception as error:
            at = _bad_item(error, len(good))
            if at is None:
                raise
            _refuse(answer, good[at], str(getattr(error, "message", error)))
            continue
        return dict(zip(good, outputs, strict=True))
    return {}


def _bad_item(error: Exception, count: int) -> int | None:
    """Which item an architecture's BadItem means; recognised by name, as any module may bring one."""
    index = getattr(error, "index", None)
    if type(error).__name__ == "BadItem" and type(index) is int and 0 <= index < count:
        return index
    return None


def _outputs(module: Any, items: list[Mapping[str, Any]]) -> list[Any]:
    encoded = module.encode(items)
    device = next((p.device for p in module.parameters()), None)
    if device is not None and device.type != "cpu" and isinstance(encoded, Tensor):
        encoded = encoded.to(device)
    y = module(encoded)
    if isinstance(y, Tensor) and (y.dim() == 0 or len(y) != len(items)):
        raise BadOutput(f"The model answered with shape {tuple(y.shape)} for {len(items)} items.")
    outputs = _decoded(module, y)
    if not isinstance(outputs, list) or len(outputs) != len(items):
        raise BadOutput(f"The model did not answer with one output for each of {len(items)} items.")
    return outputs


def _decoded(module: Any, y: object) -> Any:
    """Decoding only reads what forward answered, so when it fails the answer is to blame."""
    try:
        return module.decode(y)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        shape = f" of shape {tuple(y.shape)}" if isinstance(y, Tensor) else ""
        raise BadOutput(f"The model's answer{shape} cannot be read ({type(error).__name__}).") from error


def _check_finite(value: object) -> None:
    """Said here in plain words; without it JSON would turn a NaN into null on the way."""
    if isinstance(value, float) and not math.isfinite(value):
        raise BadOutput("The model answered with NaN or an infinite number.")
    inner = value.values() if isinstance(value, Mapping) else value
    if isinstance(inner, str) or not hasattr(inner, "__iter__"):
        return
    for part in inner:
        _check_finite(part)
