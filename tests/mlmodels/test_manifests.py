"""A manifest is judged field by field, and the sentence names the field or the place at fault."""

import json
from typing import Any

import pytest

from mlmodels import manifests
from mlmodels.manifests import RefusedArtifact
from tests import zoo


def text(**fields: Any) -> bytes:
    manifest = {**zoo.manifest("ok", {}, b"weights"), **fields}
    return json.dumps({name: value for name, value in manifest.items() if value is not ...}).encode()


def test_a_good_manifest_is_what_its_json_says() -> None:
    assert manifests.read(text()) == json.loads(text())


OF_A_ROW = "expected 16 digits of a hash in small hexadecimal, found "


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (b"\xff\xfe{}", "manifest.json is not UTF-8: byte 0."),
        (b'{"format": 1,\n "slug": }', "manifest.json, line 2, column 10: Expecting value."),
        (b"", "manifest.json, line 1, column 1: Expecting value."),
        (b"[1, 2]", "manifest.json must hold one JSON object."),
        (b'{"format": NaN}', "manifest.json: NaN is not a JSON number."),
        (b'{"format": -Infinity}', "manifest.json: -Infinity is not a JSON number."),
        (text(note=1).replace(b'"note": 1', b'"note": 1e400'), "manifest.json holds a number that is too large."),
        (text(note=[{"a": 10**60}]), "manifest.json holds a number that is too large."),
        (b'{"format": ' + b"1" * 5000 + b"}", "manifest.json: Exceeds the limit (4300 digits)"),
        (b"[" * 100_000, "manifest.json is nested too deeply."),
        (text(note="a\0b"), "manifest.json: the text 'a\\x00b' holds a character that cannot be stored."),
        (text(note={"\ud800": 1}), "manifest.json: the text '\\ud800' holds a character that cannot be stored."),
    ],
)
def test_what_is_no_storable_json_is_refused_and_the_place_is_named(given: bytes, sentence: str) -> None:
    with pytest.raises(RefusedArtifact) as refusal:
        manifests.read(given)
    assert str(refusal.value).startswith(sentence)
    assert str(refusal.value).endswith(".")


HASH = "0" * 64


@pytest.mark.parametrize(
    ("field", "value", "found"),
    [
        ("format", ..., "expected 1, found nothing"),
        ("format", 2, "expected 1, found 2"),
        ("format", True, "expected 1, found True"),
        ("slug", ..., "expected a slug, found nothing"),
        ("slug", "Two Words", "expected a slug, found 'Two Words'"),
        ("slug", "../up", "expected a slug, found '../up'"),
        ("slug", "a" * 61, "expected a slug, found 'aaa"),
        ("title", "", "expected a text of at most 120 characters, found ''"),
        ("title", "x" * 121, "expected a text of at most 120 characters, found 'xxx"),
        ("task", "clustering", "expected classification or regression, found 'clustering'"),
        ("task", [], "expected classification or regression, found []"),
        ("architecture", 3, "expected the name of an architecture, found 3"),
        ("params", [], "expected an object, found []"),
        ("max_batch", 0, "expected a whole number from 1 to 4096, found 0"),
        ("max_batch", 1.5, "expected a whole number from 1 to 4096, found 1.5"),
        ("signature", "x", "expected an object, found 'x'"),
        ("files", {}, "and nothing else, found {}"),
        ("files", {"weights.safetensors": {"sha256": "XYZ", "size": 1}}, "and nothing else, found {"),
        ("files", {"weights.safetensors": {"sha256": HASH, "size": -1}}, "and nothing else, found {"),
        ("files", {"weights.safetensors": {"sha256": HASH, "size": 1}, "more": {}}, "and nothing else, found {"),
        ("files", {"../weights.safetensors": {"sha256": HASH, "size": 1}}, "and nothing else, found {"),
        ("golden", [], "expected a list of at least one {input, output}, found []"),
        ("golden", [{"input": {}}], "expected a list of at least one {input, output}, found [{"),
        ("metrics", None, "expected an object whose measures are numbers, found nothing"),
        ("metrics", {"accuracy": "high"}, "expected an object whose measures are numbers, found {"),
        ("metrics", {"rows": None}, "expected an object whose measures are numbers, found {"),
        ("description", 7, "expected a text, found 7"),
        ("dataset", "mine", "expected an object whose counts are numbers, found 'mine'"),
        ("dataset", {"rows": "many"}, "expected an object whose counts are numbers, found {"),
    ],
)
def test_a_wrong_field_is_named_with_what_was_expected_and_found(field: str, value: object, found: str) -> None:
    with pytest.raises(RefusedArtifact) as refusal:
        manifests.read(text(**{field: value}))
    assert str(refusal.value).startswith(f"manifest.json, field {field}: expected ")
    assert found in str(refusal.value)
    assert str(refusal.value).endswith(".")
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize(
    ("dataset", "sentence"),
    [
        ({"row_hashes": {}}, "field dataset.row_hashes: expected a list of at most 2,000,000."),
        ({"row_hashes": ["0" * 16] * 2_000_001}, "field dataset.row_hashes: expected a list of at most 2,000,000."),
        ({"row_hashes": ["0" * 16, "0" * 15]}, "field dataset.row_hashes, entry 2: " + OF_A_ROW + "'000000000000000'."),
        ({"row_hashes": ["0" * 15 + "A"]}, "field dataset.row_hashes, entry 1: " + OF_A_ROW + "'000000000000000A'."),
        (
            {"row_hashes": ["0" * 16 + "\n"]},
            "field dataset.row_hashes, entry 1: " + OF_A_ROW + "'0000000000000000\\n'.",
        ),
        ({"row_hashes": [0]}, "field dataset.row_hashes, entry 1: " + OF_A_ROW + "0."),
        ({"sha256": 7}, "field dataset.sha256: expected a hash, found 7."),
    ],
)
def test_the_hashes_of_the_rows_trained_on_are_judged_strictly(dataset: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RefusedArtifact) as refusal:
        manifests.read(text(dataset=dataset))
    assert str(refusal.value) == f"manifest.json, {sentence}"


def test_a_bad_signature_is_refused_in_its_own_words() -> None:
    bad = zoo.signature()
    del bad["input"]["x-order"]
    with pytest.raises(RefusedArtifact, match=r"^manifest.json, field signature: .*x-order.*\.$"):
        manifests.read(text(signature=bad))


def test_task_and_signature_must_say_the_same() -> None:
    with pytest.raises(RefusedArtifact, match=r"^manifest.json: the task is regression, but the output has no value.$"):
        manifests.read(text(task="regression"))


@pytest.mark.parametrize("missing", ["description", "dataset", "parameters", "torch", "trained_at", "code_commit"])
def test_what_only_describes_a_version_may_be_left_out(missing: str) -> None:
    assert missing not in manifests.read(text(**{missing: ...}))
