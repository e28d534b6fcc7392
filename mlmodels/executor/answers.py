"""What a worker asks a child, and what it believes of the answer: nothing that it has not checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from mlmodels import signature
from mlmodels.executor import frames
from mlmodels.executor.outcomes import Item, ItemError, ItemOutcome, ItemOutput, LoadFailed, safe_text


def signature_of(manifest: bytes) -> Mapping[str, Any]:
    try:
        expected = orjson.loads(manifest)["signature"]
        signature.check(expected)
    except signature.InvalidSignature as error:
        raise LoadFailed("bad_manifest", safe_text(error)) from None
    except (ValueError, KeyError, TypeError):
        raise LoadFailed("bad_manifest", "The manifest is not JSON with a signature.") from None
    return dict(expected)


def question_for(items: Sequence[Item]) -> tuple[bytes, int]:
    """The frame that asks for `items`, their pictures as blobs, and how many pictures there are."""
    plain = [{k: v for k, v in item.items() if not isinstance(v, bytes)} for item in items]
    pictures = [
        (index, name, value)
        for index, item in enumerate(items)
        for name, value in item.items()
        if isinstance(value, bytes)
    ]
    header = {"items": plain, "pictures": [picture[:2] for picture in pictures]}
    return frames.pack(header, [picture[2] for picture in pictures]), len(pictures)


def outcomes_in(answer: frames.Frame, count: int, expected: Mapping[str, Any]) -> list[ItemOutcome]:
    """Raises ValueError with a sentence, or what reading malformed JSON raises."""
    told = answer.header["outcomes"]
    if len(told) != count:
        raise ValueError(f"The model gave {len(told)} outputs for {count} items.")
    previews: list[dict[str, bytes]] = [{} for _ in range(count)]
    for (index, name), blob in zip(answer.header["previews"], answer.blobs, strict=True):
        previews[index][safe_text(name, 200)] = blob
    outcomes: list[ItemOutcome] = []
    for one, seen in zip(told, previews, strict=True):
        if "error" in one:
            outcomes.append(ItemError("bad_input", safe_text(one["error"][1], 500)))
        else:
            signature.check_output(expected, one["output"])
            outcomes.append(ItemOutput(one["output"], seen))
    return outcomes


def ended_how(status: Mapping[str, int]) -> str:
    if "signal" in status:
        return f"(signal {status['signal']})"
    return f"(exit status {status['exit']})" if "exit" in status else "(with its server)"
