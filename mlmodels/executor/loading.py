"""From a manifest and a weights file to a module that is ready to run. Child side only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mlmodels.executor.memory import is_out_of_memory
from mlmodels.executor.outcomes import safe_text

NAMES_SHOWN = 3

Registry = Mapping[str, type[nn.Module]]


class Refused(Exception):
    """This version cannot be loaded; `message` is one sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def load(manifest: bytes, weights_path: str, registry: Registry, device: torch.device) -> nn.Module:
    """The module that `manifest` names with exactly the weights of the file, in evaluation mode.

    Raises Refused: every tensor must be there, expected, of the right shape and finite.
    """
    name, parameters = _wanted(manifest)
    if name not in registry:
        known = ", ".join(sorted(registry))
        raise Refused("unknown_architecture", f"There is no architecture {name!r}; known: {known}.")
    module = _build(name, registry[name], parameters)
    weights = _read(weights_path)
    _check_names_and_shapes(module.state_dict(), weights)
    check_finite(weights)
    module.load_state_dict(weights, strict=True)
    return module.eval().requires_grad_(requires_grad=False).to(device)


def _wanted(manifest: bytes) -> tuple[str, dict[str, Any]]:
    try:
        content = orjson.loads(manifest)
        name, parameters = content["architecture"], content.get("params", {})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused("bad_manifest", "The manifest names no architecture.") from error
    if not isinstance(name, str) or not isinstance(parameters, dict):
        raise Refused("bad_manifest", "The manifest's architecture or its params are malformed.")
    return name[:100], parameters


def _build(name: str, kind: type[nn.Module], parameters: dict[str, Any]) -> nn.Module:
    try:
        return kind(**parameters)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        reason = safe_text(f"{type(error).__name__}: {error}", 300)
        raise Refused("bad_parameters", f"The architecture {name!r} refused its params ({reason}).") from error


def _read(path: str) -> dict[str, Tensor]:
    if not Path(path).is_file():
        raise Refused("missing_file", "The weights file is missing or cannot be read.")
    try:
        return load_file(path)
    except SafetensorError as error:
        reason = safe_text(error, 300)
        raise Refused("bad_weights", f"The weights file is not valid safetensors ({reason}).") from error
    except OSError as error:
        raise Refused("missing_file", "The weights file is missing or cannot be read.") from error


def _check_names_and_shapes(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    problems = []
    if missing := [key for key in expected if key not in given]:
        problems.append(f"missing {_listed(missing)}")
    if unexpected := [key for key in given if key not in expected]:
        problems.append(f"unexpected {_listed(unexpected)}")
    wrong = [
        f"{key} is {tuple(given[key].shape)}, not {tuple(expected[key].shape)}"
        for key in expected
        if key in given and given[key].shape != expected[key].shape
    ]
    if wrong:
        problems.append(f"wrong shape: {_listed(wrong)}")
    if problems:
        raise Refused("bad_weights", f"The weights do not fit the architecture: {'; '.join(problems)}.")


def check_finite(weights: Mapping[str, Tensor]) -> None:
    """Raises Refused with the name of the first tensor that holds NaN or an infinite number."""
    for key, tensor in weights.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            name = safe_text(key, 100)
            raise Refused("not_finite", f"The tensor {name} holds NaN or infinite numbers.")


def _listed(names: list[str]) -> str:
    shown = ", ".join(safe_text(name, 100) for name in names[:NAMES_SHOWN])
    more = len(names) - NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
