"""The check that a version must pass before anybody may use it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from mlmodels import signature
from mlmodels.executor.client import Executor, ExecutorServer
from mlmodels.executor.outcomes import (
    ExecutorError,
    Item,
    ItemError,
    LoadFailed,
    RunFailed,
)

MOST_GOLDEN = 1000


class Refused(ExecutorError):
    """This version must not serve; the text is one sentence for its operator."""


def check(server: ExecutorServer, manifest: bytes, weights_path: str) -> None:
    """Load the version and let it reproduce its golden examples, or raise Refused.

    Every golden input runs alone, twice, and all run together; alone the two answers must be
    identical, and every answer must agree with the expected output. A host on which nothing can
    be loaded raises ServerFailed instead: that says nothing about the version.
    """
    golden, declared, largest = _golden(manifest)
    items = [_item(declared, entry, number) for number, entry in enumerate(golden, 1)]
    try:
        executor = server.load(manifest, weights_path)
    except LoadFailed as error:
        raise Refused(error.message) from None
    try:
        deadline_s = server.limits.check_s
        for number, (item, entry) in enumerate(zip(items, golden, strict=True), 1):
            _check_alone(executor, item, entry["output"], number, deadline_s)
        for start in range(0, len(items), largest):
            part = slice(start, start + largest)
            _check_together(executor, items[part], golden[part], start, deadline_s)
    finally:
        executor.close()


def _golden(manifest: bytes) -> tuple[list[Mapping[str, Any]], Mapping[str, Any], int]:
    try:
        content = orjson.loads(manifest)
        golden, declared = content["golden"], content["signature"]
        largest = content.get("max_batch", 1)
        signature.check(declared)
        for entry in golden:
            signature.check_output(declared, entry["output"])
            signature.validate(declared, entry["input"])
    except signature.InvalidInput:
        raise Refused("A golden input of the manifest does not fit its signature.") from None
    except signature.InvalidSignature as error:
        raise Refused(str(error)) from None
    except ValueError as error:
        raise Refused(f"A golden output or the manifest itself is malformed: {error}") from None
    except (KeyError, TypeError, AttributeError):
        raise Refused("The manifest has no well-formed signature and golden examples.") from None
    if not isinstance(golden, list) or not 1 <= len(golden) <= MOST_GOLDEN:
        raise Refused(f"The manifest must hold 1 to {MOST_GOLDEN} golden examples.")
    if type(largest) is not int or largest < 1:
        raise Refused("The max_batch of the manifest must be a whole number from 1.")
    return golden, declared, largest


def _item(declared: Mapping[str, Any], entry: Mapping[str, Any], number: int) -> Item:
    """The golden input as an executor takes it: pictures as bytes instead of data URIs."""
    item = dict(entry["input"])
    for field in signature.fields(declared):
        if field.kind == "image" and field.name in item:
            item[field.name] = _picture(item[field.name], number)
    return item


def _picture(uri: str, number: int) -> bytes:
    try:
        return picture_bytes(uri)
    except ValueError:
        raise Refused(f"The picture of golden example {number} is not a base64 data URI.") from None


def picture_bytes(uri: str) -> bytes:
    """The bytes of a picture in a data URI, as an executor takes them. Raises ValueError."""
    start, _, data = uri.partition(";base64,")
    if not start.startswith("data:image/"):
        raise ValueError("not a data URI of a picture")
    return base64.b64decode(data, validate=True)  # its binascii.Error is a ValueError


def _check_alone(executor: Executor, item: Item, expected: Mapping[str, Any], number: int, deadline_s: float) -> None:
    where = f"golden example {number}"
    first, second = (_outputs(executor, [item], where, deadline_s)[0] for _ in range(2))
    if first != second:
        raise Refused(f"The model answers differently when {where} is asked twice.")
    if not signature.agrees(first, expected):
        raise Refused(f"The model does not reproduce {where}.")


def _check_together(
    executor: Executor,
    items: Sequence[Item],
    golden: Sequence[Mapping[str, Any]],
    start: int,
    deadline_s: float,
) -> None:
    outputs = _outputs(executor, items, "the golden examples together", deadline_s)
    for number, (output, entry) in enumerate(zip(outputs, golden, strict=True), start + 1):
        if not signature.agrees(output, entry["output"]):
            raise Refused(f"The model does not reproduce golden example {number} in a batch.")


def _outputs(executor: Executor, items: Sequence[Item], where: str, deadline_s: float) -> list[Mapping[str, Any]]:
    try:
        run = executor.predict(items, deadline_s)
    except RunFailed as error:
        raise Refused(f"The model failed on {where} ({error.kind}): {error.message}") from None
    outputs: list[Mapping[str, Any]] = []
    for outcome in run.outcomes:
        if isinstance(outcome, ItemError):
            raise Refused(f"The model rejects {where}: {outcome.message}")
        outputs.append(outcome.output)
    return outputs
