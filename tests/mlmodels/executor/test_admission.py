"""The admission check: what may serve has reproduced its golden examples, twice, alone and together."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlmodels.executor import ExecutorServer, Refused, check
from tests import zoo
from tests.mlmodels.executor.test_pictures import GREY, encoded

Change = Callable[[dict[str, Any]], object]


def refusal(
    server: ExecutorServer, folder: Path, architecture: str, change: Change = lambda _: None, **params: Any
) -> str:
    manifest, weights = zoo.artifact(folder, architecture, **params)
    content = json.loads(Path(manifest).read_text())
    change(content)
    try:
        check(server, json.dumps(content).encode(), weights)
    except Refused as refused:
        return str(refused)
    return ""


def test_an_honest_version_passes(server: ExecutorServer, tmp_path: Path) -> None:
    assert refusal(server, tmp_path, "ok") == ""
    assert refusal(server, tmp_path, "poison") == ""


def test_more_golden_examples_than_fit_a_batch_are_checked_in_several(server: ExecutorServer, tmp_path: Path) -> None:
    assert refusal(server, tmp_path, "ok", lambda manifest: manifest.update(max_batch=3)) == ""


def test_a_version_that_answers_something_else_is_refused(server: ExecutorServer, tmp_path: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["golden"][2]["output"] = zoo.expected(0.2501)

    assert refusal(server, tmp_path, "ok", change) == "The model does not reproduce golden example 3."


def test_a_version_that_answers_differently_in_a_batch_is_refused(server: ExecutorServer, tmp_path: Path) -> None:
    assert refusal(server, tmp_path, "batch_dependent") == "The model does not reproduce golden example 1 in a batch."


def test_a_version_that_is_not_deterministic_is_refused(server: ExecutorServer, tmp_path: Path) -> None:
    sentence = "The model answers differently when golden example 1 is asked twice."
    assert refusal(server, tmp_path, "random") == sentence


@pytest.mark.parametrize(
    ("architecture", "kind"), [("raises", "raised"), ("nan", "bad_output"), ("segv", "died"), ("oom", "out_of_memory")]
)
def test_a_version_that_fails_is_refused(server: ExecutorServer, tmp_path: Path, architecture: str, kind: str) -> None:
    sentence = refusal(server, tmp_path, architecture)
    assert sentence.startswith(f"The model failed on golden example 1 ({kind}): ")


def test_a_version_that_cannot_be_loaded_is_refused_with_its_reason(server: ExecutorServer, tmp_path: Path) -> None:
    sentence = refusal(server, tmp_path, "ok", lambda manifest: manifest.update(architecture="nothing"))
    assert sentence.startswith("There is no architecture 'nothing'")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda m: m.update(golden=[]), "The manifest must hold 1 to 1000 golden examples."),
        (lambda m: m.pop("golden"), "The manifest has no well-formed signature and golden examples."),
        (lambda m: m.update(golden=7), "The manifest has no well-formed signature and golden examples."),
        (lambda m: m.update(max_batch=0), "The max_batch of the manifest must be a whole number from 1."),
        (
            lambda m: m["golden"][0]["input"].update(x="many"),
            "A golden input of the manifest does not fit its signature.",
        ),
        (
            lambda m: m["golden"][0]["output"].update(label="?"),
            "A golden output or the manifest itself is malformed: The label of the output is not one of the classes.",
        ),
    ],
)
def test_malformed_golden_examples_are_refused(
    server: ExecutorServer, tmp_path: Path, change: Change, sentence: str
) -> None:
    assert refusal(server, tmp_path, "ok", change) == sentence


def test_golden_pictures_are_data_uris(server: ExecutorServer, tmp_path: Path) -> None:
    def golden(uri: str) -> Change:
        output = {"label": "high", "probabilities": {"low": 0.0, "high": 1.0}}
        return lambda manifest: manifest.update(golden=[{"input": {"x": uri}, "output": output}])

    white = base64.b64encode(encoded(GREY.point(lambda _: 255))).decode()
    assert refusal(server, tmp_path, "picture", golden(f"data:image/png;base64,{white}")) == ""
    for bad in ("data:text/html;base64,AAAA", "data:image/png;base64,?", "nothing"):
        sentence = "The picture of golden example 1 is not a base64 data URI."
        assert refusal(server, tmp_path, "picture", golden(bad)) == sentence
