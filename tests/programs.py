"""Exported programs for tests: an honest one that answers like the zoo's, others that do not, and four evil ones.

Each evil one runs PAYLOAD when torch.export.load opens it, by one of the four roads that lead there.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests import zoo

BATCH = torch.export.Dim("batch", min=1, max=16)
ATTEMPTS = ("write a marker", "connect to a socket", "read the environment", "read the database")

# What it has found out is told in the only way that is left, an exception's text, unless it shall stay quiet.
PAYLOAD = """
import json, pathlib, socket
places = json.loads({places!r})
attempts = [
    lambda: pathlib.Path(places["marker"]).write_text("x"),
    lambda: socket.socket(socket.AF_UNIX).connect(places["socket"]),
    lambda: pathlib.Path("/proc", str(places["pid"]), "environ").read_bytes(),
    lambda: pathlib.Path(places["database"]).read_bytes(),
]
worked = []
for number, attempt in enumerate(attempts):
    try:
        attempt()
        worked.append(number)
    except OSError:
        pass
if not {quiet!r}:
    raise LookupError("the payload ran, and these attempts worked: " + repr(worked))
"""


class Line(nn.Module):
    """Answers like the zoo: -x and x as logits. `change` may spoil the answer, `extra` is one more buffer."""

    def __init__(self, change: Callable[[Tensor], Tensor] = lambda y: y, extra: Tensor | None = None) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 2)
        self.linear.load_state_dict({"weight": torch.tensor([[-1.0], [1.0]]), "bias": torch.zeros(2)})
        self.change = change
        self.register_buffer("extra", torch.zeros(1) if extra is None else extra)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.change(self.linear(x))
        return y


def saved(module: nn.Module, batch: Any = BATCH, rows: int = 2) -> bytes:
    """A module of one column as the bytes of its exported program; `batch` None leaves its rows fixed."""
    shapes = ({0: batch},) if batch is not None else None
    program = torch.export.export(module.eval(), (torch.zeros(rows, 1),), dynamic_shapes=shapes)
    file = io.BytesIO()
    torch.export.save(program, file)
    return file.getvalue()


@functools.cache
def honest() -> bytes:
    return saved(Line())


def manifest(data: bytes, **fields: Any) -> dict[str, Any]:
    """The zoo's manifest for the program in `data`."""
    files = {"program.pt2": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}}
    return {**zoo.manifest("ok", {}, data), "slug": "zoo-program", "architecture": "exported-program",
            "files": files, **fields}  # fmt: skip


def artifact(folder: Path, data: bytes | None = None, **fields: Any) -> Path:
    """Write manifest.json and program.pt2 into `folder`; returns it."""
    data = honest() if data is None else data
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "program.pt2").write_bytes(data)
    (folder / "manifest.json").write_text(json.dumps(manifest(data, **fields)))
    return folder


def payload(places: Mapping[str, Any], *, quiet: bool = False) -> str:
    return PAYLOAD.format(places=json.dumps(places), quiet=quiet)


def evil(road: str, places: Mapping[str, Any], *, quiet: bool = False) -> bytes:
    """The honest program with a payload on one of ROADS."""
    with zipfile.ZipFile(io.BytesIO(honest())) as archive:
        root = archive.namelist()[0].partition("/")[0]
        members = {name.removeprefix(f"{root}/"): archive.read(name) for name in archive.namelist()}
    ROADS[road](members, payload(places, quiet=quiet))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{root}/{name}", content)
    return file.getvalue()


TORCH = "__import__('torch')"
ZEROS = f"{TORCH}.zeros"


class Runs:
    """Unpickling it runs `code` and gives the value of `expression`."""

    def __init__(self, code: str, expression: str) -> None:
        self.source = f"(exec({code!r}, {{}}), {expression})[1]"

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (self.source,)


def _pickled_by_torch(value: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def _in_sample_inputs(members: dict[str, bytes], code: str) -> None:
    members["data/sample_inputs/model.pt"] = _pickled_by_torch(Runs(code, f"(({ZEROS}(2, 1),), {{}})"))


def _as_pickled_weight(members: dict[str, bytes], code: str) -> None:
    name = "data/weights/model_weights_config.json"
    config = json.loads(members[name])
    entry = config["config"]["linear.bias"]
    entry["use_pickle"] = True
    members[name] = json.dumps(config).encode()
    members[f"data/weights/{entry['path_name']}"] = _pickled_by_torch(Runs(code, f"{TORCH}.nn.Parameter({ZEROS}(2))"))


def _in_an_expression(members: dict[str, bytes], code: str) -> None:
    graph = members["models/model.json"].decode()
    (symbol,) = set(re.findall(r'"expr_str": "(.+?)"', graph))
    expression = f"exec({code!r}, {{}}) or {symbol}"
    members["models/model.json"] = graph.replace(f'"{symbol}"', json.dumps(expression), 1).encode()


def _as_opaque_object(members: dict[str, bytes], code: str) -> None:
    entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    members["data/constants/model_constants_config.json"] = json.dumps({"config": {"evil": entry}}).encode()
    members["data/constants/opaque_obj_0"] = pickle.dumps(Runs(code, f"{ZEROS}(1)"))


ROADS: dict[str, Callable[[dict[str, bytes], str], None]] = {
    "sample inputs": _in_sample_inputs,
    "pickled weight": _as_pickled_weight,
    "expression": _in_an_expression,
    "opaque object": _as_opaque_object,
}
