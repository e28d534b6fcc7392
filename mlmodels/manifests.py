"""The manifest of an artifact: read from untrusted bytes, judged field by field."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mlmodels import signature
from mlmodels.datasets import SHORT
from mlmodels.executor.outcomes import EXPORTED_PROGRAM
from mlmodels.models import SLUG, Task
from mlmodels.signature_rules import is_finite_number

MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
PROGRAM = "program.pt2"
MOST_ROW_HASHES = 2_000_000
ROW_HASH = re.compile(f"[0-9a-f]{{{SHORT}}}")


class RefusedArtifact(ValueError):
    """The artifact cannot be accepted; the message is one sentence for the person who gave it."""


def read(text: bytes) -> dict[str, Any]:
    """The manifest, complete and well-formed. Raises RefusedArtifact naming the field at fault."""
    manifest = _parsed(text)
    if not isinstance(manifest, dict):
        raise RefusedArtifact(f"{MANIFEST} must hold one JSON object.")
    _judge_storable(manifest)
    for name, (holds, expected) in FIELDS.items():
        if not holds(manifest.get(name)):
            raise RefusedArtifact(f"{MANIFEST}, field {name}: expected {expected}, found {_shown(manifest.get(name))}.")
    _judge_dataset(manifest)
    try:
        signature.check(manifest["signature"])
    except signature.InvalidSignature as error:
        raise RefusedArtifact(f"{MANIFEST}, field signature: {error}") from None
    _, large = files_of(manifest)
    if large not in manifest["files"]:
        raise RefusedArtifact(f"{MANIFEST}: the file of the architecture {manifest['architecture'][:80]} is {large}.")
    answers = "label" if manifest["task"] == Task.CLASSIFICATION else "value"
    if answers not in manifest["signature"]["output"]["properties"]:
        raise RefusedArtifact(f"{MANIFEST}: the task is {manifest['task']}, but the output has no {answers}.")
    return manifest


def is_executable(manifest: Mapping[str, Any]) -> bool:
    """Whether loading this artifact runs code of its author: an exported program, the second tier."""
    return bool(manifest.get("architecture") == EXPORTED_PROGRAM)


def files_of(manifest: Mapping[str, Any]) -> tuple[str, str]:
    """The names of the two files that this artifact consists of: the manifest and the large one that it names."""
    return MANIFEST, PROGRAM if is_executable(manifest) else WEIGHTS


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise RefusedArtifact(f"{MANIFEST} is not UTF-8: byte {error.start}.") from None
    except json.JSONDecodeError as error:
        raise RefusedArtifact(f"{MANIFEST}, line {error.lineno}, column {error.colno}: {error.msg}.") from None
    except RecursionError:
        raise RefusedArtifact(f"{MANIFEST} is nested too deeply.") from None
    except ValueError as error:
        raise RefusedArtifact(f"{MANIFEST}: {error}.") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _judge_storable(manifest: dict[str, Any]) -> None:
    """Refuse what JSON can say and a database cannot keep: 1e400, the character NUL, half a surrogate pair."""
    waiting: list[Any] = [manifest]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str) and ("\0" in value or not _is_unicode(value)):
            raise RefusedArtifact(f"{MANIFEST}: the text {_shown(value)} holds a character that cannot be stored.")
        elif type(value) in (int, float) and not is_finite_number(value):
            raise RefusedArtifact(f"{MANIFEST} holds a number that is too large.")


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: object) -> str:
    return "nothing" if value is None else ascii(value)[:60]


def _is_weights_entry(files: object) -> bool:
    if not isinstance(files, dict) or set(files) not in ({WEIGHTS}, {PROGRAM}):
        return False
    (entry,) = files.values()
    if not isinstance(entry, dict):
        return False
    sha256, size = entry.get("sha256"), entry.get("size")
    return isinstance(sha256, str) and bool(re.fullmatch("[0-9a-f]{64}", sha256)) and type(size) is int and size > 0


def _is_golden(golden: object) -> bool:
    return (
        isinstance(golden, list)
        and 1 <= len(golden) <= 1000
        and all(isinstance(one, dict) and set(one) == {"input", "output"} for one in golden)
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 10_000 and "\0" not in value


def _numbers(value: object, names: Iterable[str]) -> bool:
    """An object in which each of `names` is a number or not there."""
    return isinstance(value, Mapping) and all(is_finite_number(value[name]) for name in names if name in value)


def _judge_dataset(manifest: dict[str, Any]) -> None:
    """Each of row_hashes names a row that was trained on: what the server holds out must not be among them."""
    dataset = manifest.get("dataset") or {}
    hashes, sha256 = dataset.get("row_hashes", []), dataset.get("sha256", "")
    if not isinstance(sha256, str) or len(sha256) > 64:
        raise RefusedArtifact(f"{MANIFEST}, field dataset.sha256: expected a hash, found {_shown(sha256)}.")
    if not isinstance(hashes, list) or len(hashes) > MOST_ROW_HASHES:
        raise RefusedArtifact(f"{MANIFEST}, field dataset.row_hashes: expected a list of at most {MOST_ROW_HASHES:,}.")
    for number, one in enumerate(hashes, start=1):
        if not isinstance(one, str) or not ROW_HASH.fullmatch(one):
            raise RefusedArtifact(
                f"{MANIFEST}, field dataset.row_hashes, entry {number:,}: expected {SHORT} digits of a hash in small "
                f"hexadecimal, found {_shown(one)}."
            )


# What pages compute with; anything else in these objects is only shown.
MEASURED = ("accuracy", "balanced_accuracy", "log_loss", "r2", "mae", "rmse", "rows")
COUNTED = ("rows", "holdout_rows")
FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "format": (lambda value: type(value) is int and value == 1, "1"),
    "slug": (lambda value: _is_text(value) and bool(re.fullmatch(SLUG, value)) and len(value) <= 60, "a slug"),
    "title": (lambda value: _is_text(value) and len(value) <= 120, "a text of at most 120 characters"),
    "task": (lambda value: isinstance(value, str) and value in Task.values, "classification or regression"),
    "architecture": (_is_text, "the name of an architecture"),
    "params": (lambda value: isinstance(value, dict), "an object"),
    "max_batch": (lambda value: type(value) is int and 1 <= value <= 4096, "a whole number from 1 to 4096"),
    "signature": (lambda value: isinstance(value, dict), "an object"),
    "files": (_is_weights_entry, f'{{"{WEIGHTS}": {{"sha256": …, "size": …}}}} and nothing else'),
    "golden": (_is_golden, "a list of at least one {input, output}"),
    "metrics": (lambda value: _numbers(value, MEASURED), "an object whose measures are numbers"),
    "description": (lambda value: value is None or value == "" or _is_text(value), "a text"),
    "recipe": (lambda value: value is None or _is_text(value), "the name of a recipe"),
    "dataset": (lambda value: value is None or _numbers(value, COUNTED), "an object whose counts are numbers"),
}
