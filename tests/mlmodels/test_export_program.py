"""Any module becomes an artifact that the site takes, and that answers as the module does."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from django.test import override_settings
from PIL import Image
from torch import Tensor, nn

from mlmodels import artifacts, registry, runtime
from mlmodels.executor import ExecutorServer, Item, ItemOutput, check
from mlmodels.models import ModelVersion, State, VersionCheck
from mlmodels.training.program import export_program, signature_of_numbers, signature_of_pictures
from serving_site.jobs.drain import drain, stopping
from serving_site.jobs.kinds import KINDS
from tests.mlmodels.test_artifacts import Stored
from tests.session import REPOSITORY

COLUMNS = {"width": [0.5, 1.0, 2.0, 4.0], "height": [3.0, 1.0, 0.0, -1.0]}


@pytest.fixture(scope="module")
def server() -> Iterator[ExecutorServer]:
    with ExecutorServer(exported_programs=True) as started:
        yield started


def answers(server: ExecutorServer, folder: Path, items: Sequence[Item]) -> list[dict[str, Any]]:
    """What the artifact answers, after it has passed its check."""
    manifest, path = (folder / "manifest.json").read_bytes(), str(folder / "program.pt2")
    check(server, manifest, path)
    executor = server.load(manifest, path)
    outcomes = executor.predict(items, 10).outcomes
    executor.close()
    assert all(isinstance(outcome, ItemOutput) for outcome in outcomes)
    return [outcome.output for outcome in outcomes if isinstance(outcome, ItemOutput)]


class Attentive(nn.Module):
    """Weighs the columns against each other: nothing that this site has an architecture for."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(1, 12)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.read(x[:, :, None]).chunk(3, dim=2)  # (n, columns, 4)
        weights = (query @ key.transpose(1, 2)).softmax(dim=2)
        y: Tensor = self.dropout(weights @ value).sum(dim=(1, 2))
        return y  # (n,)


def test_a_module_of_one_s_own_answers_on_the_site_as_it_does_at_home(server: ExecutorServer, tmp_path: Path) -> None:
    module = Attentive()
    signature = signature_of_numbers(COLUMNS, "Weight")
    folder = export_program(module, tmp_path, slug="own", title="Own", signature=signature)
    items = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)]
    told = [output["value"] for output in answers(server, folder, items)]
    assert module.training  # the caller's module is left as it was
    with torch.no_grad():
        expected = module.eval()(torch.tensor([list(item.values()) for item in items]))
    assert told == pytest.approx(expected.tolist(), rel=1e-6)


def test_a_module_for_pictures_takes_pictures(server: ExecutorServer, tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    seen = [Image.new("RGB", (12, 9), colour) for colour in ("red", "green", "white")]
    params = {"picture": {"size": [8, 8], "channels": 3, "mean": [0.5] * 3, "std": [0.25] * 3}}
    folder = export_program(
        module, tmp_path, slug="own", title="Own", params=params, max_batch=8, description="Colours.",
        signature=signature_of_pictures(seen, "Colour", ["red", "green", "white"]),
    )  # fmt: skip
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["description"], len(manifest["golden"])) == ("Colours.", 3)
    check(server, (folder / "manifest.json").read_bytes(), str(folder / "program.pt2"))
    with torch.no_grad():
        x = torch.tensor([1.0, 0.0, 0.0])[None, :, None, None].expand(1, 3, 8, 8)
        expected = module((x - 0.5) / 0.25).softmax(dim=1)[0].tolist()
    told = manifest["golden"][0]["output"]["probabilities"]
    assert list(told.values()) == pytest.approx(expected, rel=1e-5)


class EvenRows(nn.Module):
    """Can work only with the number of rows that it was exported with."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0] + x[:, 1] * x.sum().item() * 0 if len(x) > 1 else x[:, 0]


def test_a_module_for_one_row_at_a_time_is_exported_with_max_batch_1(server: ExecutorServer, tmp_path: Path) -> None:
    signature = signature_of_numbers(COLUMNS, "Weight")
    with pytest.raises(Exception, match="batch"):  # in the words of torch, which names what was fixed
        export_program(EvenRows(), tmp_path, slug="own", title="Own", signature=signature)
    assert list(tmp_path.iterdir()) == []
    folder = export_program(EvenRows(), tmp_path, slug="own", title="Own", signature=signature, max_batch=1)
    assert answers(server, folder, [{"width": 2.0, "height": 1.0}]) == [{"value": 2.0}]


def test_a_module_that_does_not_answer_as_it_says_is_not_written(tmp_path: Path) -> None:
    signature = signature_of_numbers(COLUMNS, "Kind", ["a", "b", "c"])
    with pytest.raises(Exception, match=r"shape \(1, 2\); \(1, 3\) was expected"):
        export_program(nn.Linear(2, 2), tmp_path, slug="own", title="Own", signature=signature)
    broken = nn.Linear(2, 3)
    with torch.no_grad():
        broken.bias.fill_(float("nan"))
    with pytest.raises(ValueError, match="not a number from 0 to 1"):
        export_program(broken, tmp_path, slug="own", title="Own", signature=signature)
    assert list(tmp_path.iterdir()) == []


def test_without_golden_inputs_and_examples_nothing_is_written(tmp_path: Path) -> None:
    signature = signature_of_numbers(COLUMNS, "Weight")
    del signature["input"]["examples"]
    with pytest.raises(ValueError, match="neither golden inputs nor examples"):
        export_program(Attentive(), tmp_path, slug="own", title="Own", signature=signature)


@pytest.fixture
def worker(transactional_db: None, settings: Any, stored: Stored, tmp_path: Path) -> Iterator[runtime.Runtime]:
    """A host where programs are allowed, whose worker is this process."""
    settings.ALLOW_EXECUTABLE_ARTIFACTS = True
    stopping.clear()
    with override_settings(MODEL_ARCHITECTURES=["mlmodels.architectures"]):
        made = runtime.Runtime(2, runtime.ArtifactCache(tmp_path / "cache"))
    before, runtime._runtime = runtime._runtime, made
    yield made
    runtime._runtime = before
    made.close()


def readme_example() -> str:
    blocks = re.findall(r"^```python\n(.*?)^```$", (REPOSITORY / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    (example,) = [block for block in blocks if "export_program" in block]
    return str(example)


def test_the_example_of_the_readme_is_served_and_answers_as_its_module_does(
    worker: runtime.Runtime, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(readme_example(), "README.md", "exec"), names)
    version = registry.register(artifacts.take_folder(tmp_path / "irises"), by=None)
    drain(KINDS[VersionCheck])
    version.refresh_from_db()
    assert (version.state, version.is_executable, version.model.slug) == (State.HEALTHY, True, "irises")
    rows = names["iris"].data
    items = [dict(zip(names["columns"], row, strict=True)) for row in rows.tolist()]
    with torch.no_grad():
        expected = names["module"](torch.tensor(rows).float()).softmax(dim=1).tolist()
    outcomes = [one for start in range(0, 150, 50) for one in run(worker, version, items[start : start + 50])]
    assert [list(outcome["probabilities"].values()) for outcome in outcomes] == [
        pytest.approx(row, rel=1e-5, abs=1e-7) for row in expected
    ]


def run(worker: runtime.Runtime, version: ModelVersion, items: Sequence[Item]) -> list[dict[str, Any]]:
    run, _ = worker.predict(version, [dict(item) for item in items], deadline_s=10)
    return [outcome.output for outcome in run.outcomes if isinstance(outcome, ItemOutput)]
