"""How running out of memory shows itself: torch raises a plain RuntimeError on a CPU. Child side only."""

from __future__ import annotations

import torch

# What torch and the C library say instead of MemoryError.
OUT_OF_MEMORY_WORDS = ("can't allocate memory", "not enough memory", "cannot allocate memory")


def is_out_of_memory(error: Exception) -> bool:
    """Whether `error` means that there was no memory, whoever raised it."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError | OSError) and any(words in text for words in OUT_OF_MEMORY_WORDS)
