"""What goes into an executor and what can come out of it, in the words of the rest of the code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# One input row: name to value; a picture's value is its raw, untrusted bytes.
Item = Mapping[str, Any]

EXPORTED_PROGRAM = "exported-program"  # the architecture of artifacts that bring their own code

MESSAGE_CHARACTERS = 1900  # with four bytes a character at worst cut further, see safe_text
MESSAGE_BYTES = 2000
TRACE_CHARACTERS = 4000


@dataclass(frozen=True)
class Limits:
    """Every limit of an executor, once, with its unit.

    `start_s` covers the server's `import torch`, `load_s` a load, `check_s` each run of the
    admission check. `output_bytes` and `preview_bytes` bound what one item may answer, so a
    lying child cannot make its parent allocate without bound.
    """

    memory_bytes: int = 2 * 1024**3
    threads: int = 1
    start_s: float = 60.0
    load_s: float = 30.0
    check_s: float = 30.0
    kill_s: float = 5.0
    output_bytes: int = 256 * 1024
    preview_bytes: int = 1024 * 1024
    open_files: int = 256


@dataclass(frozen=True)
class ItemOutput:
    """An output object that fits the signature, and per picture field its re-encoded PNG."""

    output: dict[str, Any]
    previews: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class ItemError:
    """This item alone could not be used; `message` is a sentence for the person who sent it."""

    code: str
    message: str


ItemOutcome = ItemOutput | ItemError


@dataclass(frozen=True)
class Run:
    """One outcome per item, in the order of the items."""

    outcomes: list[ItemOutcome]
    compute_ms: float


class ExecutorError(Exception):
    """Root of what this package raises on purpose."""


class ServerFailed(ExecutorError):
    """The executor server could not be started or no longer answers."""


class LoadFailed(ExecutorError):
    """A version could not be loaded; `message` is one sentence, `code` its reason.

    Codes: bad_manifest, unknown_architecture, bad_parameters, missing_file, bad_weights,
    not_finite, out_of_memory, timeout, died, killed; of an exported program also not_allowed,
    sandbox_needed, bad_program, bad_batch.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = self.reason_code = code
        self.message = message


class RunFailed(ExecutorError):
    """A whole run failed, so it says nothing yet about a single one of its items.

    Kinds: raised, timeout, out_of_memory, died, bad_output, killed. The child is gone after
    all of them but "raised" and "bad_output" (see `Executor.alive`).
    """

    def __init__(self, kind: str, message: str, signal: int | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.signal = signal

    @property
    def killed_on_purpose(self) -> bool:
        return self.kind == "killed"


def safe_text(value: object, limit: int = MESSAGE_CHARACTERS) -> str:
    """`value` as text that any database and page can hold: no NUL or control characters, short.

    Line breaks and tabs stay. At most `limit` characters and MESSAGE_BYTES bytes for messages.
    """
    text = str(value)[: limit + 1]
    kept = "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
    kept = kept.encode("utf-8", "replace").decode("utf-8")
    if len(kept) > limit:
        kept = kept[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"
    if limit <= MESSAGE_CHARACTERS:
        kept = kept.encode()[:MESSAGE_BYTES].decode("utf-8", "ignore")
    return kept
