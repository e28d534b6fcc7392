"""A child of the executor server: close the sandbox, load one version, answer until told to stop.

It ends when its socket closes, when its server dies, or when it is killed.
"""

from __future__ import annotations

import socket
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mlmodels.executor import exported, frames, inference, loading, sandbox
from mlmodels.executor.memory import is_out_of_memory
from mlmodels.executor.outcomes import TRACE_CHARACTERS, Limits, safe_text

# The parent is trusted; these only keep a mistake from becoming an endless read.
FROM_PARENT = frames.Bounds(header=256 * 1024**2, blobs=1024 * 1024**2)
NVIDIA_CONTROL = Path("/dev/nvidiactl")
NO_MEMORY = "The model needs more memory than it may use."


def serve(connection: socket.socket, registry: loading.Registry, modules: Sequence[str]) -> None:
    """Load what the first frame names, then answer questions. Returns when the socket closes."""
    started = time.perf_counter()
    try:
        order = frames.receive(connection, FROM_PARENT)
        limits = Limits(**order.header["limits"])
        reached = close_sandbox(modules, limits, [order.header["weights"]])
        torch.set_num_threads(limits.threads)
        reply, module = _load(order, registry, reached)
        reply |= {"sandbox": reached.level, "missing": reached.missing}
        reply["load_ms"] = (time.perf_counter() - started) * 1000
        frames.send(connection, frames.pack(reply))
        while module is not None:
            question = frames.receive(connection, FROM_PARENT)
            frames.send(connection, _answered(module, question))
    except frames.Broken:
        return


def close_sandbox(modules: Sequence[str], limits: Limits, readable: Sequence[str]) -> sandbox.Reached:
    paths = [*sandbox.source_paths(modules), *readable]
    return sandbox.enter(paths, limits, cuda=has_cuda())


def has_cuda() -> bool:
    """Whether torch could use a GPU here, found without waking the CUDA driver."""
    return torch.version.cuda is not None and NVIDIA_CONTROL.exists()


def _load(
    order: frames.Frame, registry: loading.Registry, reached: sandbox.Reached
) -> tuple[dict[str, Any], nn.Module | None]:
    device = torch.device("cuda" if has_cuda() and torch.cuda.is_available() else "cpu")
    manifest, path = order.blobs[0], order.header["weights"]
    try:
        if exported.is_exported(manifest):
            program = exported.load(manifest, path, registry, reached.level, device)
            return {"loaded": program.device.type}, program
        module = loading.load(manifest, path, registry, device)
    except loading.Refused as refused:
        return {"refused": [refused.code, refused.message]}, None
    except Exception as error:  # noqa: BLE001 -- whatever loading raises refuses the version
        if is_out_of_memory(error):
            return {"refused": ["out_of_memory", NO_MEMORY]}, None
        return {"refused": ["bad_weights", _sentence(error)]}, None
    return {"loaded": device.type}, module


def _answered(module: nn.Module, question: frames.Frame) -> bytes:
    """The frame that answers `question`; whatever the model raises becomes part of it."""
    try:
        answer = inference.run(module, question)
    except inference.BadOutput as error:
        return _failed("bad_output", safe_text(error), traceback.format_exc())
    except Exception as error:  # noqa: BLE001 -- whatever a model raises is its outcome
        if is_out_of_memory(error):
            return _failed("out_of_memory", NO_MEMORY, traceback.format_exc())
        return _failed("raised", _sentence(error), traceback.format_exc())
    header = {
        "outcomes": answer.outcomes,
        "previews": answer.previews,
        "compute_ms": answer.compute_ms,
    }
    try:
        return frames.pack(header, answer.blobs)
    except (TypeError, RecursionError):
        return _failed("bad_output", "The model's output is not plain JSON.")


def _failed(kind: str, message: str, trace: str = "") -> bytes:
    shown = safe_text(trace[-TRACE_CHARACTERS:], TRACE_CHARACTERS)
    failure: Mapping[str, Any] = {"failed": kind, "message": message, "trace": shown}
    return frames.pack(failure)


def _sentence(error: Exception) -> str:
    return safe_text(f"{type(error).__name__}: {error}")
