"""What cannot be loaded is refused with one sentence that names the trouble."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mlmodels.executor import ExecutorServer, Limits, LoadFailed
from tests import zoo


class Version:
    """An artifact on disk that a test may spoil before it is loaded."""

    def __init__(self, folder: Path, architecture: str = "ok", **params: Any) -> None:
        manifest, weights = zoo.artifact(folder, architecture, **params)
        self.manifest = json.loads(Path(manifest).read_text())
        self.weights = Path(weights)

    def change_weights(self, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
        tensors = load_file(self.weights)
        change(tensors)
        save_file(tensors, self.weights)

    def refusal(self, server: ExecutorServer) -> tuple[str, str]:
        with pytest.raises(LoadFailed) as caught:
            server.load(json.dumps(self.manifest).encode(), str(self.weights))
        return caught.value.code, caught.value.message


@pytest.fixture
def version(tmp_path: Path) -> Version:
    return Version(tmp_path)


def test_an_unknown_architecture_is_refused_and_the_known_ones_named(server: ExecutorServer, version: Version) -> None:
    version.manifest["architecture"] = "nothing"
    code, message = version.refusal(server)
    assert code == "unknown_architecture"
    assert message.startswith("There is no architecture 'nothing'; known: ")
    assert "ok, " in message


def test_params_that_do_not_fit_are_refused(server: ExecutorServer, version: Version) -> None:
    version.manifest |= {"architecture": "two_layers", "params": {"hidden": "many"}}
    code, message = version.refusal(server)
    assert code == "bad_parameters"
    assert message.startswith("The architecture 'two_layers' refused its params (TypeError")


def test_a_missing_tensor_is_named(server: ExecutorServer, version: Version) -> None:
    version.change_weights(lambda tensors: tensors.pop("linear.bias"))
    assert version.refusal(server) == (
        "bad_weights",
        "The weights do not fit the architecture: missing linear.bias.",
    )


def test_unexpected_tensors_are_named_and_counted(server: ExecutorServer, version: Version) -> None:
    version.change_weights(lambda tensors: tensors.update({f"more{n}": torch.zeros(1) for n in range(5)}))
    assert version.refusal(server) == (
        "bad_weights",
        "The weights do not fit the architecture: unexpected more0, more1, more2 and 2 more.",
    )


def test_a_wrong_shape_is_named(server: ExecutorServer, version: Version) -> None:
    version.change_weights(lambda tensors: tensors.update({"linear.bias": torch.zeros(3)}))
    assert version.refusal(server) == (
        "bad_weights",
        "The weights do not fit the architecture: wrong shape: linear.bias is (3,), not (2,).",
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_tensor_that_is_not_finite_is_named(server: ExecutorServer, version: Version, value: float) -> None:
    version.change_weights(lambda tensors: tensors["linear.bias"].fill_(value))
    assert version.refusal(server) == (
        "not_finite",
        "The tensor linear.bias holds NaN or infinite numbers.",
    )


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"\xff" * 64, (1 << 40).to_bytes(8, "little") + b"{}"])
def test_a_file_that_is_no_safetensors_is_refused(server: ExecutorServer, version: Version, content: bytes) -> None:
    version.weights.write_bytes(content)
    code, message = version.refusal(server)
    assert code == "bad_weights"
    assert message.startswith("The weights file is not valid safetensors (")


def test_a_missing_file_is_refused(server: ExecutorServer, version: Version) -> None:
    version.weights.unlink()
    assert version.refusal(server) == (
        "missing_file",
        "The weights file is missing or cannot be read.",
    )


@pytest.mark.parametrize("manifest", [b"", b"[]", b"{}", b'{"signature": 3}'])
def test_a_manifest_without_a_signature_is_refused(server: ExecutorServer, version: Version, manifest: bytes) -> None:
    with pytest.raises(LoadFailed) as caught:
        server.load(manifest, str(version.weights))
    assert caught.value.code == "bad_manifest"


@pytest.mark.parametrize(("how", "code"), [("hang", "timeout"), ("die", "died"), ("exhaust", "out_of_memory")])
def test_what_goes_wrong_while_building_is_told_too(tmp_path: Path, how: str, code: str) -> None:
    with ExecutorServer(["tests.zoo"], Limits(load_s=0.7, memory_bytes=256 * 1024**2)) as server:
        version = Version(tmp_path)
        version.manifest |= {"architecture": "builds_badly", "params": {"how": how}}
        assert version.refusal(server)[0] == code
