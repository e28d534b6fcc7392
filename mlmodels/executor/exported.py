"""Artifacts of the second tier: from a `program.pt2` that torch.export.save wrote to a module that is ready to run.

Loading one runs whatever its author put into it (pickles, expressions, operators by name), and nothing here tries to
tell good programs from bad ones. So it happens only where the operator has allowed it, in a child whose sandbox has
reached its base level; what the code can do there is answer wrongly. Child side only.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import torch
from torch import Tensor, nn

from mlmodels.executor.loading import Refused, Registry, check_finite
from mlmodels.executor.memory import is_out_of_memory
from mlmodels.executor.outcomes import EXPORTED_PROGRAM, safe_text
from mlmodels.executor.program import Program

__all__ = ("Refused", "is_exported", "load", "opened", "prepare")

MARK = "archive_format"  # a member of every archive that torch.export.save writes
NOT_ALLOWED = (
    "This version is an exported program, which runs code when it is loaded, and this worker loads none: "
    "its setting ALLOW_EXECUTABLE_ARTIFACTS is off."
)
# What torch.export.load imports when first used: a second of every child's load, unless done before the fork.
IMPORTED_LATE = ("torch._export.serde.serialize", "torch.export.pt2_archive._package", "torch.export._trace")
FEWEST_ROWS = 2  # a range from 2 takes one row too: torch.export tells none from one, and one from more, apart


def prepare() -> None:
    """Import now what loading a program will need. Another torch may have moved it; then each child imports it.

    Some of it makes a folder for compiled code, which nothing here compiles and no child may write: let it have the
    root, which is there already.
    """
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.tempdir = "/"
    for name in IMPORTED_LATE:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def is_exported(manifest: bytes) -> bool:
    """Whether this manifest is of an exported program; a malformed one is for others to refuse."""
    try:
        return bool(orjson.loads(manifest)["architecture"] == EXPORTED_PROGRAM)
    except (ValueError, KeyError, TypeError):
        return False


def load(manifest: bytes, path: str, registry: Registry, level: str, device: torch.device) -> Program:
    """What `opened` gives, where programs are allowed (the registry says so) and the sandbox has reached `level` base.

    Raises Refused, before a byte of the file is read.
    """
    if EXPORTED_PROGRAM not in registry:
        raise Refused("not_allowed", NOT_ALLOWED)
    if not level.startswith("base"):
        sentence = f"An exported program is loaded only in a closed sandbox; this host reaches {level!r}, not 'base'."
        raise Refused("sandbox_needed", sentence)
    return opened(manifest, path, device)


def opened(manifest: bytes, path: str, device: torch.device) -> Program:
    """The program in the file at `path`, on `device` if it can run there. Runs the code in it. Raises Refused."""
    content = orjson.loads(manifest)
    _check_archive(path)
    exported = _loaded(path)
    for name, range_ in _batches(exported):
        _check_batch(name, range_, content.get("max_batch", 1))
    check_finite(dict(exported.named_parameters()))
    _check_numbers(exported)
    try:
        return Program(_placed(exported, path, device), content["signature"], content.get("params", {}))
    except ValueError as error:
        raise Refused("bad_parameters", f"The manifest does not fit: {safe_text(error, 500)}") from error


def _check_archive(path: str) -> None:
    if not Path(path).is_file():
        raise Refused("missing_file", "The program's file is missing or cannot be read.")
    try:
        with zipfile.ZipFile(path) as archive:
            is_program = any(name.rpartition("/")[2] == MARK for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        is_program = False
    if not is_program:
        raise Refused("bad_program", "The file is not an exported program: save it with torch.export.save.")


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Whatever torch, or the program's own code, raises becomes one sentence."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise
        reason = safe_text(f"{type(error).__name__}: {error}", 500)
        raise Refused("bad_program", f"torch {torch.__version__} cannot load the program ({reason}).") from error


def _loaded(path: str) -> torch.export.ExportedProgram:
    with _told(), Path(path).open("rb") as file:
        return torch.export.load(file)


def _on_cpu(exported: torch.export.ExportedProgram) -> nn.Module:
    with _told():
        return exported.module()


def _batches(exported: torch.export.ExportedProgram) -> list[tuple[str, tuple[Any, Any]]]:
    """For each input its name, and the fewest and most rows that its first dimension takes."""
    found = []
    for node in exported.graph.nodes:
        if node.op != "placeholder" or node.name not in exported.graph_signature.user_inputs:
            continue
        value: Any = node.meta.get("val")
        if not isinstance(value, Tensor) or value.dim() == 0:
            raise Refused("bad_program", f"The program's input {safe_text(node.name, 100)} is no tensor of rows.")
        rows: Any = value.shape[0]  # an int, or a symbol that torch knows a range of
        if isinstance(rows, int):
            found.append((node.name, (rows, rows)))
            continue
        expression = rows.node.expr
        range_ = exported.range_constraints.get(expression)
        if range_ is None or not expression.is_Symbol:  # such as 2 * batch
            raise Refused("bad_batch", f"The first dimension of the program's input {node.name} is not free.")
        found.append((node.name, (range_.lower, range_.upper)))
    if not found:
        raise Refused("bad_program", "The program has no inputs.")
    return found


def _check_batch(name: str, range_: tuple[Any, Any], max_batch: int) -> None:
    fewest, most = range_
    if bool(fewest <= FEWEST_ROWS) and bool(most >= max_batch) and not bool(1 < fewest == most):
        return
    takes = f"only {fewest} rows" if bool(fewest == most) else f"{fewest} to {most} rows"
    raise Refused(
        "bad_batch",
        f"The program's input {safe_text(name, 100)} takes {takes} at once, but max_batch is {max_batch}: export it "
        "with a first dimension that takes 1 to max_batch rows, or for exactly 1 with max_batch 1.",
    )


def _check_numbers(exported: torch.export.ExportedProgram) -> None:
    """No NaN in buffers and constants. Infinity is allowed there: masks are made of it."""
    constants: Mapping[str, Any] = exported.constants
    for name, tensor in (*exported.named_buffers(), *constants.items()):
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and bool(torch.isnan(tensor).any()):
            raise Refused("not_finite", f"The tensor {safe_text(name, 100)} holds NaN.")


def _placed(exported: torch.export.ExportedProgram, path: str, device: torch.device) -> nn.Module:
    """As a module on `device`, or on the CPU where it does not run elsewhere (its code may name a device)."""
    if device.type == "cpu":
        return _on_cpu(exported)
    from torch.export.passes import move_to_device_pass  # imports much, and only GPUs need it

    try:
        module = move_to_device_pass(exported, device).module()
        inputs, named = exported.example_inputs or ((), {})
        if inputs:
            module(*(one.to(device) if isinstance(one, Tensor) else one for one in inputs), **named)
    except Exception:  # noqa: BLE001 -- whatever it is, the CPU is left, and the admission check judges there
        return _on_cpu(_loaded(path))
    return module
